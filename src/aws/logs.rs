//! PutLogEvents, CreateLogStream, CreateLogGroup: one call each, one answer each.
//!
//! The body of a put was written while the lines arrived; the SDK gets an empty request whose
//! body is replaced before it is signed. A whole batch goes out without being copied: its buffer
//! is lent to the request and taken back afterwards.
//!
//! # When an endpoint does not take gzip
//!
//! CloudWatch Logs takes it; another endpoint may not. A refusal of a packed body that could mean
//! that (HTTP 415, a code with `UnsupportedMediaType` or `ContentEncoding`, `Serialization…`, an
//! unreadable HTTP 400, and, as long as no packed body was ever accepted, also
//! `InvalidParameterException`) is settled on the spot: the same events go again, plain. If
//! they are accepted, packing is off for this process and a warning says so. If not, gzip was not
//! to blame and the second answer counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::LogGroupClass;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::client::Gateway;
use super::errors::{Failure, Operation};
use super::genuine::Genuine;
use super::gzip::Packer;
use crate::config::Compression;
use crate::event::{Batch, Target};
use crate::ports::{Accepted, ErrorClass, GroupOptions, ServiceError};

/// Tries to give a new group its retention before the group is reported without it.
const RETENTION_TRIES: u32 = 4;

/// How long a group that is there is taken for our own, after a call to create it had no answer: longer
/// than the tries that follow are apart.
const DOUBT: Duration = Duration::from_secs(120);

/// Pause before the second of these tries; doubles.
const RETENTION_PAUSE: Duration = Duration::from_millis(250);

/// The three calls.
pub(crate) struct Logs {
    gateway: Rc<Gateway>,
    packer: Packer,
    gzip: Cell<Gzip>,
    /// Groups that were asked for, may be there since, and when that was.
    doubtful: RefCell<BTreeMap<String, Instant>>,
}

/// What is known about packed bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gzip {
    /// Sent, but never answered for.
    Untried,
    /// Accepted once, or shown to be innocent of a refusal.
    Proven,
    /// Not wanted, by the user or by the endpoint.
    Off,
}

/// A batch on its journey: kept outside the call's future, so that it comes back also from a call
/// that panics or is cut off.
pub(crate) struct Carried {
    batch: Batch,
    lent: Option<Bytes>,
}

impl Carried {
    /// Takes the batch in.
    pub(crate) fn new(batch: Batch) -> Self {
        Self { batch, lent: None }
    }

    /// The batch as it was. Without a copy unless the connection still holds the body.
    pub(crate) fn unpack(mut self) -> Batch {
        if let Some(lent) = self.lent.take() {
            self.batch.body = Vec::from(lent);
        }
        self.batch
    }

    /// The plain request body of these events.
    fn plain(&mut self, range: &Range<usize>) -> Bytes {
        let whole = *range == (0..self.batch.slots.len());
        match &self.lent {
            Some(lent) if whole => lent.clone(),
            _ if whole => {
                let lent = Bytes::from(std::mem::take(&mut self.batch.body));
                self.lent = Some(lent.clone());
                lent
            }
            _ => Bytes::from(self.batch.body_of(range.clone()).into_owned()),
        }
    }

    /// The same as gzip, where that is smaller. Only before the body is lent.
    fn packed(&self, range: &Range<usize>, packer: &Packer) -> Option<Bytes> {
        packer
            .pack(&self.batch.body_of(range.clone()))
            .map(Bytes::from)
    }
}

/// A body on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
}

impl Logs {
    /// Ready to call.
    pub(crate) fn new(gateway: Rc<Gateway>, compression: Compression) -> Self {
        Self {
            gateway,
            packer: Packer::new(),
            doubtful: RefCell::default(),
            gzip: Cell::new(match compression {
                Compression::Gzip => Gzip::Untried,
                Compression::None => Gzip::Off,
            }),
        }
    }

    /// Gives back the memory that it can do without while nothing is sent.
    pub(crate) fn rest(&self) {
        self.packer.rest();
    }

    /// PutLogEvents with these events of the batch.
    pub(crate) async fn put(
        &self,
        carried: &RefCell<Option<Carried>>,
        range: Range<usize>,
    ) -> Result<Accepted, ServiceError> {
        let (target, body, encoding) = {
            let mut there = carried.borrow_mut();
            let Some(there) = there.as_mut() else {
                return Err(broken("the batch of a put is not there"));
            };
            if range.is_empty() || range.end > there.batch.slots.len() {
                return Err(broken("a put names events its batch does not have"));
            }
            let (body, encoding) = self.encode(there, &range);
            (Arc::clone(&there.batch.target), body, encoding)
        };
        let first = self.send(&target, body, encoding).await;
        let answer = match first {
            Err(failure) if encoding == Encoding::Gzip && self.may_be_gzip(&failure) => {
                let Some(plain) = carried.borrow_mut().as_mut().map(|c| c.plain(&range)) else {
                    return Err(broken("the batch of a put is not there"));
                };
                let second = self.send(&target, plain, Encoding::Plain).await;
                self.judge_gzip(&failure, &second);
                second
            }
            Ok(output) => {
                if encoding == Encoding::Gzip && self.gzip.get() == Gzip::Untried {
                    self.gzip.set(Gzip::Proven);
                }
                Ok(output)
            }
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(output) => Ok(accepted(&output, range.len())),
            Err(failure) => Err(failure.into_service_error(Operation::PutLogEvents)),
        }
    }

    fn encode(&self, there: &mut Carried, range: &Range<usize>) -> (Bytes, Encoding) {
        let packed = match self.gzip.get() {
            Gzip::Off => None,
            Gzip::Untried | Gzip::Proven => there.packed(range, &self.packer),
        };
        match packed {
            Some(body) => (body, Encoding::Gzip),
            None => (there.plain(range), Encoding::Plain),
        }
    }

    async fn send(
        &self,
        target: &Target,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<PutLogEventsOutput, Failure> {
        self.gateway
            .call(|connection| {
                let length = body.len().to_string();
                let body = body.clone();
                connection
                    .client
                    .put_log_events()
                    .log_group_name(&target.group)
                    .log_stream_name(&target.stream)
                    .customize()
                    .interceptor(Genuine::Json)
                    .mutate_request(move |request| {
                        *request.body_mut() = SdkBody::from(body.clone());
                        let headers = request.headers_mut();
                        headers.insert("content-length", length.clone());
                        if encoding == Encoding::Gzip {
                            headers.insert("content-encoding", "gzip");
                        }
                    })
                    .send()
            })
            .await
    }

    fn may_be_gzip(&self, failure: &Failure) -> bool {
        let code = failure.code.as_str();
        let untried = self.gzip.get() == Gzip::Untried;
        failure.status == Some(415)
            || code.contains("UnsupportedMediaType")
            || code.contains("ContentEncoding")
            || code.starts_with("Serialization")
            || (failure.status == Some(400) && code.is_empty())
            || (untried && code == "InvalidParameterException")
    }

    fn judge_gzip(&self, first: &Failure, second: &Result<PutLogEventsOutput, Failure>) {
        match second {
            Ok(_) => {
                if self.gzip.replace(Gzip::Off) != Gzip::Off {
                    tracing::warn!(
                        code = %first.code,
                        status = first.status,
                        "the endpoint refuses gzip; bodies go uncompressed from now on"
                    );
                }
            }
            Err(second) if second.code == first.code && self.gzip.get() == Gzip::Untried => {
                self.gzip.set(Gzip::Proven);
            }
            Err(_) => {}
        }
    }

    /// CreateLogStream.
    pub(crate) async fn create_stream(&self, target: &Target) -> Result<Accepted, ServiceError> {
        self.gateway
            .call(|connection| {
                connection
                    .client
                    .create_log_stream()
                    .log_group_name(&target.group)
                    .log_stream_name(&target.stream)
                    .send()
            })
            .await
            .map(|_| Accepted::default())
            .map_err(|failure| failure.into_service_error(Operation::CreateLogStream))
    }

    /// CreateLogGroup; then its retention, which only a group just created here is given: one also that
    /// is there behind a call of ours that had no answer. A group that is there without the retention it
    /// should have is an error that says why, and as good as done.
    pub(crate) async fn create_group(
        &self,
        name: &str,
        options: &GroupOptions,
    ) -> Result<Accepted, ServiceError> {
        let tags = (!options.tags.is_empty()).then(|| options.tags.clone().into_iter().collect());
        let created = self
            .gateway
            .call(|connection| {
                connection
                    .client
                    .create_log_group()
                    .log_group_name(name)
                    .set_kms_key_id(options.kms_key_id.clone())
                    .set_tags(tags.clone())
                    .set_log_group_class(options.class.as_deref().map(LogGroupClass::from))
                    .send()
            })
            .await
            .map(drop)
            .map_err(|failure| failure.into_service_error(Operation::CreateLogGroup));
        if !self.is_ours(name, &created) {
            return created.map(|()| Accepted::default());
        }
        tracing::info!(group = name, "log group created");
        if let Some(days) = options.retention_days {
            self.put_retention(name, days).await?;
        }
        created.map(|()| Accepted::default())
    }

    /// Whether an answer says that a group is there by our doing. Only the first call without an answer
    /// counts: who has asked in vain for longer may find a group that others have made meanwhile.
    fn is_ours(&self, name: &str, created: &Result<(), ServiceError>) -> bool {
        let mut doubtful = self.doubtful.borrow_mut();
        // Others make it at this moment.
        let is_aborted = |error: &ServiceError| error.code == "OperationAbortedException";
        match created.as_ref().map_err(|error| error.class) {
            Err(_) if created.as_ref().is_err_and(is_aborted) => false,
            Err(ErrorClass::RetrySoon) => {
                doubtful.entry(name.to_owned()).or_insert_with(Instant::now);
                false
            }
            Err(ErrorClass::Throttled) => false,
            Err(ErrorClass::AlreadyExists) => {
                let asked = doubtful.remove(name);
                asked.is_some_and(|asked| asked.elapsed() < DOUBT)
            }
            answer => {
                doubtful.remove(name);
                answer.is_ok()
            }
        }
    }

    /// The group is there and takes events, so a retention that cannot be set is only reported.
    async fn put_retention(&self, name: &str, days: u16) -> Result<(), ServiceError> {
        let mut pause = RETENTION_PAUSE;
        for left in (0..RETENTION_TRIES).rev() {
            let result = self
                .gateway
                .call(|connection| {
                    connection
                        .client
                        .put_retention_policy()
                        .log_group_name(name)
                        .retention_in_days(i32::from(days))
                        .send()
                })
                .await;
            let Err(failure) = result else {
                return Ok(());
            };
            let error = failure.into_service_error(Operation::PutRetentionPolicy);
            let passing = matches!(error.class, ErrorClass::RetrySoon | ErrorClass::Throttled);
            if left == 0 || !passing {
                tracing::error!(
                    group = name, days, %error,
                    "log group created without its retention: set it by hand"
                );
                let text = format!(
                    "made without its retention, set it by hand: {}",
                    error.message
                );
                return Err(ServiceError {
                    class: ErrorClass::AlreadyExists,
                    message: text,
                    ..error
                });
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

/// The refused events by index. Numbers that name no event of ours are ignored, larger ones cut.
fn accepted(output: &PutLogEventsOutput, events: usize) -> Accepted {
    let Some(refused) = output.rejected_log_events_info() else {
        return Accepted::default();
    };
    let until = |index: Option<i32>| {
        let index = usize::try_from(index?).ok()?;
        (index > 0).then_some(index.min(events))
    };
    Accepted {
        too_new_from: refused
            .too_new_log_event_start_index()
            .and_then(|index| usize::try_from(index).ok())
            .filter(|&index| index < events),
        too_old_until: until(refused.too_old_log_event_end_index()),
        expired_until: until(refused.expired_log_event_end_index()),
    }
}

/// An answer to a call that should not exist. Kept and said, never a crash.
pub(crate) fn broken(what: &str) -> ServiceError {
    tracing::error!(what, "a bug in deploywatch");
    ServiceError {
        class: ErrorClass::RetrySlowly,
        code: "Internal".to_owned(),
        message: what.to_owned(),
    }
}

/// Shared by the tasks of one thread.
pub(crate) type SharedLogs = Rc<Logs>;
