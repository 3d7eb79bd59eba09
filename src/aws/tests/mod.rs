//! The edge against a stand-in on loopback: the real SDK, the real thread, real sockets.

#[path = "../../../tests/support/bus.rs"]
mod bus;
mod calls;
#[path = "../../../tests/support/cbor.rs"]
mod cbor;
mod environment;
mod events;
mod hostile;
mod identity;
mod metrics;
mod stand_in;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use super::client::{Ambient, Machine, Metadata, Settings};
use super::{
    CloudWatchAlarms, CloudWatchLogs, CloudWatchMetrics, EventBridge, IdentityFeed, start_with,
};
use crate::config::{AwsConfig, Compression, Identity};
use crate::event::{Batch, FileId, FileOrigin, Offset, Origin, Piece, Slot, Span, Target};
use crate::ports::{Accepted, CallId, LogAnswer, LogCall, LogService, ServiceError};

const KEY_ID: &str = "AKIDTESTKEY";
const SECRET: &str = "not-a-real-secret";
const REGION: &str = "eu-west-1";

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The edge with its waker as a channel, so that tests wait for news instead of sleeping.
struct Edge {
    logs: CloudWatchLogs,
    metrics: CloudWatchMetrics,
    events: EventBridge,
    alarms: CloudWatchAlarms,
    feed: IdentityFeed,
    rings: Receiver<()>,
    next: u64,
}

impl Edge {
    fn start(settings: Settings, compression: Compression, wanted: &[&str]) -> Self {
        let (ring, rings) = channel();
        let wanted = wanted.iter().map(|&name| name.to_owned()).collect();
        let services = start_with(settings, compression, wanted, move || {
            // The test may be over.
            let _heard = ring.send(());
        })
        .unwrap();
        Self {
            logs: services.logs,
            metrics: services.metrics,
            events: services.events,
            alarms: services.alarms,
            feed: services.identity,
            rings,
            next: 0,
        }
    }

    fn to(url: &str, compression: Compression) -> Self {
        Self::start(settings(url), compression, &[])
    }

    fn call(&mut self, call: LogCall) -> LogAnswer {
        let id = CallId(self.next);
        self.next += 1;
        self.logs.submit(id, call);
        let answer = self.answer();
        assert_eq!(answer.id, id);
        answer
    }

    fn answer(&mut self) -> LogAnswer {
        loop {
            if let Some(answer) = self.logs.answer() {
                return answer;
            }
            self.rings.recv_timeout(PATIENCE).expect("an answer");
        }
    }

    /// Puts a whole batch and checks that it comes back as it was.
    fn put(&mut self, batch: Batch) -> Result<Accepted, ServiceError> {
        let before = format!("{batch:?}");
        let range = 0..batch.slots.len();
        let answer = self.call(LogCall::Put { batch, range });
        assert_eq!(format!("{:?}", answer.batch.expect("the batch")), before);
        answer.result
    }

    fn identity(&mut self, until: impl Fn(&Identity) -> bool) -> Identity {
        loop {
            if let Some(identity) = self.feed.take()
                && until(&identity)
            {
                return identity;
            }
            self.rings.recv_timeout(PATIENCE).expect("an identity");
        }
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        aws: AwsConfig {
            region: Some(REGION.to_owned()),
            endpoint_url: Some(url.to_owned()),
            ca_bundle: None::<PathBuf>,
            ..AwsConfig::default()
        },
        ambient: Ambient::Keys(SharedCredentialsProvider::new(Credentials::new(
            KEY_ID, SECRET, None, None, "test",
        ))),
        metadata: Metadata::Disabled,
        machine: Machine::Ec2,
        call_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        client_age_min: Duration::ZERO,
        region_wait: Duration::from_secs(5),
        identity_pauses: (Duration::from_millis(2), Duration::from_millis(10)),
    }
}

fn target() -> Target {
    Target {
        group: "/codedeploy/agent".to_owned(),
        stream: "i-0123456789abcdef0".to_owned(),
    }
}

/// A batch with these messages, encoded as `ship/batch` does.
fn batch(messages: &[&str]) -> Batch {
    let target = Arc::new(target());
    let mut body = format!(
        "{{\"logGroupName\":\"{}\",\"logStreamName\":\"{}\",\"logEvents\":[",
        target.group, target.stream
    )
    .into_bytes();
    let body_head = body.len() as u32;
    let mut slots = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        let time_ms = 1_700_000_000_000 + n as i64;
        let event = serde_json::json!({"timestamp": time_ms, "message": message});
        body.extend_from_slice(event.to_string().as_bytes());
        slots.push(Slot {
            time_ms,
            body_end: body.len() as u32,
            message_bytes: message.len() as u32,
            piece: 0,
        });
    }
    body.extend_from_slice(b"]}");
    let counted_bytes = messages.iter().map(|m| m.len() + 26).sum();
    let file = Arc::new(FileOrigin {
        source: "agent".into(),
        path: std::path::Path::new("/var/log/x.log").into(),
    });
    let span = Span {
        file: FileId(1),
        start: Offset(0),
        end: Offset(100),
    };
    let origin = Origin::File(span);
    Batch {
        target,
        body,
        body_head,
        slots,
        pieces: vec![Piece { origin, file }],
        counted_bytes,
    }
}
