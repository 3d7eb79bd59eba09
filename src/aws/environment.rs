//! Endpoints that the environment spoils, found before the SDK stumbles over them at each call.

use std::io;

use super::http;
use crate::config::{AwsConfig, Config, Sink};

/// A service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// CloudWatch Logs.
    Logs,
    /// CloudWatch: metrics and alarms.
    CloudWatch,
    /// EventBridge.
    EventBridge,
}

impl Service {
    /// Those that an agent with this configuration calls.
    #[must_use]
    pub fn used(config: &Config) -> Vec<Self> {
        let all = [
            (Self::Logs, config.logs.sink == Sink::CloudWatch),
            (
                Self::CloudWatch,
                config.puts_metrics() || !config.alarms.alarms.is_empty(),
            ),
            (Self::EventBridge, config.tells_events()),
        ];
        let used = all.into_iter().filter(|(_, is_used)| *is_used);
        used.map(|(service, _)| service).collect()
    }

    /// Where the SDK looks for its endpoint before it looks for that of all.
    fn variable(self) -> &'static str {
        match self {
            Self::Logs => "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
            Self::CloudWatch => "AWS_ENDPOINT_URL_CLOUDWATCH",
            Self::EventBridge => "AWS_ENDPOINT_URL_EVENTBRIDGE",
        }
    }
}

const OF_ALL: &str = "AWS_ENDPOINT_URL";

/// Refuses an endpoint that every call to one of these services would fail for. Quotes none: a password
/// may stand in it.
///
/// # Errors
/// For the first one, which it names.
pub fn check(aws: &AwsConfig, used: &[Service]) -> io::Result<()> {
    let choice = [
        (aws.use_fips, "use_fips"),
        (aws.use_dualstack, "use_dualstack"),
        (is_true("AWS_USE_FIPS_ENDPOINT"), "AWS_USE_FIPS_ENDPOINT"),
        (
            is_true("AWS_USE_DUALSTACK_ENDPOINT"),
            "AWS_USE_DUALSTACK_ENDPOINT",
        ),
    ];
    let choice = choice.into_iter().find(|(is_made, _)| *is_made);
    for service in used {
        let text = match (in_force(aws, *service), choice) {
            (Some((name, url)), _) if !http::is_url(&url) => {
                format!("{name}: neither http://host nor https://host; unset it")
            }
            (Some((name, _)), Some((_, choice))) => format!(
                "{name}: {choice} chooses among AWS's endpoints, and this names another; remove one of \
                 the two"
            ),
            _ => continue,
        };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// The endpoint that the SDK takes, and what it is called there.
fn in_force(aws: &AwsConfig, service: Service) -> Option<(&'static str, String)> {
    if let Some(url) = &aws.endpoint_url {
        return Some(("endpoint_url", url.clone()));
    }
    let read = |name| Some((name, std::env::var(name).ok()?));
    let names = [service.variable(), OF_ALL];
    let mut names = names
        .into_iter()
        .filter(|_| !is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"));
    names.find_map(read)
}

/// Whether a variable of the SDK's switches something on.
pub(super) fn is_true(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}
