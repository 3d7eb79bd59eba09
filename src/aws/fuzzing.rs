//! Answers as bytes, for fuzzers and tests: whatever the service (or who stands in its place) says,
//! the middle is told something bounded that it can act on.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use tokio::sync::watch;

use super::client::{Ambient, Gateway, Machine, Metadata, RegionState, Settings};
use super::clock_skew::Clock;
use super::errors::MESSAGE_CHARS_MAX;
use super::logs::{Carried, Logs};
use super::{http, identity};
use crate::config::{AwsConfig, Compression};
use crate::event::{Batch, Slot, Target};
use crate::ports::{Accepted, ServiceError};

/// Events of the batch that is answered for.
const EVENTS: usize = 3;

/// The key that requests are signed with, which no answer can know.
const SECRET: &str = "q7ZpX9vK2mB4nT6w";

/// Longest error code that the middle is told, in characters.
const CODE_CHARS_MAX: usize = 64;

/// One answer for every request.
#[derive(Clone, Debug)]
struct Canned {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl HttpClient for Canned {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let status = StatusCode::try_from(self.status).expect("between 200 and 599");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body.clone()));
        for (name, value) in &self.headers {
            response.headers_mut().insert(*name, value.clone());
        }
        HttpConnectorFuture::ready(Ok(http::bounded(response)))
    }
}

/// Answers a put with these bytes: two choose the status, one the headers, the rest is the body (and
/// the identity document). Panics where what the middle is told breaks a rule.
pub fn answer(data: &[u8]) {
    let [high, low, choice, body @ ..] = data else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok((instance, region, account)) = identity::parse_document(text)
    {
        let fields = [instance, region, account];
        let is_bounded = |field: &String| field.len() <= identity::VALUE_BYTES_MAX;
        assert!(fields.iter().flatten().all(is_bounded));
    }
    let status = 200 + u16::from_be_bytes([*high, *low]) % 400;
    let head = String::from_utf8_lossy(&body[..body.len().min(60)]);
    let head: String = head.chars().filter(|c| c.is_ascii_graphic()).collect();
    let headers = match choice % 4 {
        0 => vec![("content-type", "application/x-amz-json-1.1".to_owned())],
        1 => vec![("x-amzn-errortype", head)],
        2 => vec![
            ("location", "http://169.254.169.254/latest/".to_owned()),
            ("date", head),
        ],
        _ => vec![],
    };
    let canned = Canned {
        status,
        headers,
        body: body.to_vec(),
    };
    check(&put(canned), body);
}

/// What the middle is told must be of use and bounded, and tell nothing that `body` did not know.
fn check(result: &Result<Accepted, ServiceError>, body: &[u8]) {
    match result {
        Ok(accepted) => {
            let indexes = [
                accepted.too_new_from,
                accepted.too_old_until,
                accepted.expired_until,
            ];
            assert!(indexes.into_iter().flatten().all(|index| index <= EVENTS));
        }
        Err(error) => {
            assert!(!error.code.is_empty() && error.code.chars().count() <= CODE_CHARS_MAX);
            // What is taken out leaves a word behind that can be longer.
            assert!(
                error.message.chars().count() <= 4 * MESSAGE_CHARS_MAX,
                "{error}"
            );
            assert!(!error.message.contains(char::is_control), "{error:?}");
            let is_ours = error.message.contains(SECRET);
            let is_known = memchr::memmem::find(body, SECRET.as_bytes()).is_some();
            assert!(!is_ours || is_known, "a key of ours");
        }
    }
}

fn put(canned: Canned) -> Result<Accepted, ServiceError> {
    let (_told, region) = watch::channel(RegionState::Known("eu-west-1".to_owned()));
    let keys = Credentials::new("AKIDTESTKEY", SECRET, None, None, "fuzzing");
    let settings = Settings {
        aws: AwsConfig {
            region: Some("eu-west-1".to_owned()),
            ca_bundle: None::<PathBuf>,
            ..AwsConfig::default()
        },
        ambient: Ambient::Keys(SharedCredentialsProvider::new(keys)),
        metadata: Metadata::Disabled,
        machine: Machine::Ec2,
        call_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        client_age_min: Duration::ZERO,
        region_wait: Duration::from_secs(5),
        identity_pauses: (Duration::from_millis(2), Duration::from_millis(10)),
    };
    let http = SharedHttpClient::new(canned);
    let gateway = Gateway::new(settings, http, Clock::default(), region);
    let logs = Logs::new(std::rc::Rc::new(gateway), Compression::None);
    let carried = RefCell::new(Some(Carried::new(batch())));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(logs.put(&carried, 0..EVENTS))
}

fn batch() -> Batch {
    let slot = |_| Slot {
        time_ms: 0,
        body_end: 0,
        message_bytes: 0,
        piece: 0,
    };
    Batch {
        target: Arc::new(Target {
            group: "/g".to_owned(),
            stream: "s".to_owned(),
        }),
        body: b"{}".to_vec(),
        body_head: 0,
        slots: (0..EVENTS).map(slot).collect(),
        pieces: Vec::new(),
        counted_bytes: 0,
    }
}
