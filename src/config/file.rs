//! What the user wrote → [`Config`]: one function for each section of the file.
//!
//! Every section is read to its end whatever mistakes it has, so that all of them are reported
//! together; where a value is bad its default stands in, and the whole is thrown away at the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::alarm::{Around, alarms};
use super::events::events;
use super::metric::{BuiltinMetric, Surroundings, metrics};
use super::mistake::{Mistake, Note, Problem, Report};
use super::own::Own;
use super::section::Section;
use super::shipping::Shipping;
use super::source::{builtin_source, user_source};
use super::tree::Table;
use super::value;
use super::{
    AgentConfig, AwsConfig, Builtin, CodeDeployConfig, Compression, Config, LogsConfig, Sink,
    Source,
};

/// Checks the files, laid over each other in their order.
pub(super) fn parse(files: &[(PathBuf, String)]) -> Result<(Config, Vec<Note>), Vec<Mistake>> {
    let report = Report::new(files.iter().map(|(path, _)| path.clone()).collect());
    let table = Table::from_files(files, &report);
    let mut top = Section::top(&table, &report);

    let agent = agent(top.section("agent"));
    let aws = aws(top.section("aws"));
    let (logs, shipping) = logs(top.section("logs"));
    let codedeploy = codedeploy(top.section("codedeploy"), &shipping);
    let own = Own::new(&agent, &logs);
    let (sources, source_names) = sources(top.sections("source"), &shipping, &own);
    let around = Surroundings {
        codedeploy: codedeploy.enabled,
        sources: source_names,
    };
    let mut metrics = metrics(top.section("metrics"), top.sections("metric"), &around);
    let events = events(top.section("events"));
    let around = Around {
        metrics: &metrics,
        codedeploy: codedeploy.enabled,
        region: aws.region.as_deref(),
    };
    let alarms = alarms(top.section("alarms"), top.sections("alarm"), &around);
    if !alarms
        .alarms
        .iter()
        .any(|alarm| alarm.ec2_action().is_some())
    {
        metrics.disable.insert(BuiltinMetric::ActionsSuspended);
    }
    top.finish(&[
        ("sources", "write [[source]]"),
        ("log", "write [logs]"),
        ("cloudwatch", "write [logs] or [aws]"),
    ]);

    let (mistakes, notes) = report.finish();
    if mistakes.is_empty() {
        let config = Config {
            agent,
            aws,
            logs,
            codedeploy,
            sources,
            metrics,
            events,
            alarms,
        };
        Ok((config, notes))
    } else {
        Err(mistakes)
    }
}

fn agent(mut section: Section<'_>) -> AgentConfig {
    let state_dir = section.read("state_dir", |node| {
        value::path(node, "/var/lib/deploywatch")
    });
    let grace = section.read("shutdown_grace", |node| value::duration(node, "1s", "15m"));
    let log_level = section.read("log_level", |node| {
        value::choice(
            node,
            &[
                ("error", tracing::Level::ERROR),
                ("warn", tracing::Level::WARN),
                ("info", tracing::Level::INFO),
                ("debug", tracing::Level::DEBUG),
                ("trace", tracing::Level::TRACE),
            ],
        )
    });
    section.finish(&[]);
    AgentConfig {
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/deploywatch")),
        shutdown_grace: grace.unwrap_or(Duration::from_secs(30)),
        log_level: log_level.unwrap_or(tracing::Level::INFO),
    }
}

fn aws(mut section: Section<'_>) -> AwsConfig {
    let credentials = "remove it: keys never belong into this file; the SDK finds the instance's \
                       role, the environment or a profile by itself";
    let config = AwsConfig {
        region: section.read("region", value::region),
        endpoint_url: section.read("endpoint_url", value::endpoint_url),
        ca_bundle: section.read("ca_bundle", |node| value::path(node, "/etc/ssl/own-ca.pem")),
        use_fips: section.read("use_fips", value::boolean).unwrap_or(false),
        use_dualstack: section
            .read("use_dualstack", value::boolean)
            .unwrap_or(false),
    };
    // The SDK would refuse each call.
    for (key, is_on) in [
        ("use_fips", config.use_fips),
        ("use_dualstack", config.use_dualstack),
    ] {
        if is_on
            && config.endpoint_url.is_some()
            && let Some(place) = section.place_of(key)
        {
            let what = "it chooses among AWS's endpoints, and endpoint_url names another";
            section.complain(key, place, Problem::new(what, "remove one of the two"));
        }
    }
    section.finish(&[
        ("access_key_id", credentials),
        ("secret_access_key", credentials),
        ("session_token", credentials),
        (
            "role_arn",
            "remove it: put role_arn into a profile of the AWS configuration",
        ),
    ]);
    config
}

fn logs(mut section: Section<'_>) -> (LogsConfig, Shipping) {
    /// Which sink, before it is known which directory.
    #[derive(Clone, Copy)]
    enum Kind {
        CloudWatch,
        Directory,
    }
    let kind = section.read("sink", |node| {
        value::choice(
            node,
            &[
                ("cloudwatch", Kind::CloudWatch),
                ("directory", Kind::Directory),
            ],
        )
    });
    let default_directory = "/var/tmp/deploywatch-out";
    let directory = section.read("directory", |node| value::path(node, default_directory));
    let compression = section.read("compression", |node| {
        value::choice(
            node,
            &[("gzip", Compression::Gzip), ("none", Compression::None)],
        )
    });
    let flush = section.read("flush_interval", |node| {
        value::duration(node, "100ms", "1m")
    });
    let shipping = Shipping::default().overridden_by(&mut section);
    if let Some(place) = section.place_of("redact")
        && !shipping.redact.builtin
    {
        let what = "one word here would send the secrets of every source";
        let remedy = "write redact = \"off\" in each source it is meant for";
        section.complain("redact", place, Problem::new(what, remedy));
    }
    section.finish(&[
        ("group", "remove it: every source has its own group"),
        ("stream", "remove it: every source has its own stream"),
    ]);
    let sink = match kind.unwrap_or(Kind::CloudWatch) {
        Kind::CloudWatch => Sink::CloudWatch,
        Kind::Directory => {
            Sink::Directory(directory.unwrap_or_else(|| PathBuf::from(default_directory)))
        }
    };
    let logs = LogsConfig {
        sink,
        compression: compression.unwrap_or(Compression::Gzip),
        flush_interval: flush.unwrap_or(Duration::from_secs(1)),
    };
    (logs, shipping)
}

fn codedeploy(mut section: Section<'_>, shipping: &Shipping) -> CodeDeployConfig {
    let enabled = section.read("enabled", value::boolean).unwrap_or(true);
    let default_file = "/etc/codedeploy-agent/conf/codedeployagent.yml";
    let config_file = section.read("config_file", |node| value::path(node, default_file));
    let sources = Builtin::ALL
        .into_iter()
        .filter_map(|builtin| {
            let source = builtin_source(section.section(builtin.name()), builtin, shipping)?;
            Some((builtin, source))
        })
        .collect();
    section.finish(&[]);
    CodeDeployConfig {
        enabled,
        config_file: config_file.unwrap_or_else(|| PathBuf::from(default_file)),
        sources,
    }
}

/// The sources that are switched on, and the names of all, the CodeDeploy agent's included.
fn sources(
    sections: Vec<Section<'_>>,
    shipping: &Shipping,
    own: &Own,
) -> (Vec<Arc<Source>>, BTreeSet<String>) {
    let mut taken = BTreeSet::new();
    let sources = sections
        .into_iter()
        .filter_map(|section| user_source(section, shipping, own, &mut taken))
        .map(Arc::new)
        .collect();
    taken.extend(Builtin::ALL.map(|builtin| builtin.name().to_owned()));
    (sources, taken)
}
