//! What to do about a bad answer: the one table from what went wrong to [`ErrorClass`].
//!
//! | code, status or cause | class |
//! |---|---|
//! | `ThrottlingException` (HTTP 400!), `Throttling`, `ThrottledException`, `RequestThrottled(Exception)`, `TooManyRequestsException`, `RequestLimitExceeded`, `LimitExceededException`, `SlowDown`, `BandwidthLimitExceeded`, HTTP 429 | throttled |
//! | `RequestTimeTooSkewed`, `RequestExpired`, `RequestInTheFuture`; `InvalidSignatureException` or `SignatureDoesNotMatch` that says "expired" or "not yet current" | clock corrected from the answer's `Date`, retry soon |
//! | `ServiceUnavailable(Exception)`, `InternalFailure`, `InternalServerError`, `InternalError`, `RequestTimeout(Exception)`, `OperationAbortedException`, `InvalidSequenceTokenException`, HTTP 408 and 5xx | retry soon |
//! | timeout, refused or reset connection, name not found, answer cut off | retry soon |
//! | TLS that does not trust the other side | retry slowly |
//! | `ResourceNotFoundException` of a put or of CreateLogStream | missing target |
//! | `ResourceNotFound(Exception)` of a call about alarms: there is none of that name | missing target |
//! | `ResourceNotFoundException` of CreateLogGroup or PutRetentionPolicy | retry slowly |
//! | `ResourceAlreadyExistsException` | already exists |
//! | `DataAlreadyAcceptedException` | already accepted |
//! | any code that begins with `KMS`; `InvalidParameterException` about a KMS key | retry slowly |
//! | `InvalidParameterException`, `ValidationException`, `RequestEntityTooLarge`, HTTP 413, of a put (of log events, metrics or events) | invalid |
//! | `InvalidParameterValue(Exception)`, `InvalidParameterCombination(Exception)`, `MissingParameter`, `MissingRequiredParameterException`, `ValidationError` of PutMetricData or about an alarm, `InvalidFormatFault` | invalid |
//! | `InvalidArgument(Exception)`, `MalformedDetail` of PutEvents, of one entry or of all | invalid |
//! | `InternalException` of PutEvents | retry soon |
//! | `NotAuthorizedForSource(Exception)`, `NotAuthorizedForDetailType(Exception)`, `ResourceNotFoundException` (no such bus) of PutEvents | retry slowly |
//! | any of these of a create call: no event is guilty | retry slowly |
//! | `ExpiredToken(Exception)`, `InvalidClientTokenId`, `UnrecognizedClientException`, `AccessDenied(Exception)`, `InvalidSignatureException` and `SignatureDoesNotMatch` otherwise, `MissingAuthenticationToken(Exception)`, `InvalidAccessKeyId`, `AuthFailure`, `NotAuthorized`, `OptInRequired`, no credentials | credentials loaded anew, retry slowly |
//! | any other 4xx, redirects, answers that cannot be read or that bear no mark of the service | retry slowly |
//!
//! Codes beat statuses. There is no row that gives up: what is unknown is retried slowly and the
//! data kept. Texts are cut to [`MESSAGE_CHARS_MAX`] and anything that looks like a key is taken
//! out: a signature error quotes the request, session token and all.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::ports::{ErrorClass, ServiceError};

/// Longest service text that is passed on, in characters. An IAM refusal with its ARNs fits.
pub(crate) const MESSAGE_CHARS_MAX: usize = 400;

/// Longest error code that is passed on, in characters. The longest real one has 34.
const CODE_CHARS_MAX: usize = 64;

/// What services call it when there are too many calls.
const THROTTLES: [&str; 10] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "BandwidthLimitExceeded",
];

/// What was asked: the same code can mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    PutLogEvents,
    CreateLogStream,
    CreateLogGroup,
    PutRetentionPolicy,
    PutMetricData,
    PutEvents,
    /// Any of those about alarms.
    Alarms,
}

/// What went wrong, in our words: everything the table looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Where it went wrong.
    pub(crate) cause: Cause,
    /// The service's error code, empty where it gave none.
    pub(crate) code: String,
    /// The HTTP status, where there was an answer.
    pub(crate) status: Option<u16>,
    /// The service's text or the chain of ours, cut and cleaned.
    pub(crate) message: String,
    /// The answer's `Date`.
    pub(crate) date: Option<String>,
}

/// Where a call went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The service said so.
    #[default]
    Answer,
    /// An answer came that is not the service's language.
    Unreadable,
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Connection,
    /// The other side is not trusted.
    Untrusted,
    /// There is nothing to sign with.
    Credentials,
    /// The request could not be made: a bug or a setting of ours.
    Request,
}

impl Failure {
    /// Reads an SDK error.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let raw = error.raw_response();
        let status = raw.map(|raw| raw.status().as_u16());
        let date = raw
            .and_then(|raw| raw.headers().get("date"))
            .map(str::to_owned);
        let code = error.code().unwrap_or_default();
        let cause = cause_of(error, code);
        let message = match (error.message(), cause) {
            (Some(message), _) => clean(message),
            (None, Cause::Answer) => String::new(),
            (None, _) => clean(&chain(error)),
        };
        Self {
            cause,
            code: code.chars().take(CODE_CHARS_MAX).collect(),
            status,
            message,
            date,
        }
    }

    /// The table.
    pub(crate) fn class(&self, operation: Operation) -> ErrorClass {
        match self.cause {
            Cause::Timeout | Cause::Connection => ErrorClass::RetrySoon,
            Cause::Untrusted | Cause::Credentials | Cause::Request => ErrorClass::RetrySlowly,
            Cause::Answer | Cause::Unreadable => self
                .class_by_code(operation)
                .unwrap_or_else(|| self.class_by_status(operation)),
        }
    }

    fn class_by_code(&self, operation: Operation) -> Option<ErrorClass> {
        use ErrorClass::{
            AlreadyAccepted, AlreadyExists, Invalid, MissingTarget, RetrySlowly, RetrySoon,
            Throttled,
        };
        if self.is_about_the_clock() {
            return Some(RetrySoon);
        }
        if self.is_about_credentials() || self.is_about_a_key() {
            return Some(RetrySlowly);
        }
        let class = match (self.code.as_str(), operation) {
            (code, _) if THROTTLES.contains(&code) => Throttled,
            (
                "ServiceUnavailable"
                | "ServiceUnavailableException"
                | "InternalFailure"
                | "InternalServerError"
                | "InternalError"
                | "RequestTimeout"
                | "RequestTimeoutException"
                | "OperationAbortedException"
                | "InvalidSequenceTokenException",
                _,
            ) => RetrySoon,
            ("ResourceNotFoundException", Operation::PutLogEvents | Operation::CreateLogStream) => {
                MissingTarget
            }
            ("ResourceAlreadyExistsException", _) => AlreadyExists,
            ("DataAlreadyAcceptedException", _) => AlreadyAccepted,
            // Of one entry, or of all.
            ("InternalException", Operation::PutEvents) => RetrySoon,
            (code, operation) if is_invalid(code, operation) => Invalid,
            ("ResourceNotFound" | "ResourceNotFoundException", Operation::Alarms) => MissingTarget,
            _ => return None,
        };
        Some(class)
    }

    fn class_by_status(&self, operation: Operation) -> ErrorClass {
        match (self.status, operation) {
            (Some(429), _) => ErrorClass::Throttled,
            (
                Some(413),
                Operation::PutLogEvents | Operation::PutMetricData | Operation::PutEvents,
            ) => ErrorClass::Invalid,
            (Some(408 | 500..=599), _) => ErrorClass::RetrySoon,
            _ => ErrorClass::RetrySlowly,
        }
    }

    /// Whether the service found our signature's time wrong.
    pub(crate) fn is_about_the_clock(&self) -> bool {
        match self.code.as_str() {
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => true,
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                let message = self.message.to_ascii_lowercase();
                message.contains("signature expired") || message.contains("not yet current")
            }
            _ => false,
        }
    }

    /// Whether other credentials might help, so that cached ones must not be used again. That
    /// holds for a refused permission too: another role may have been attached meanwhile.
    pub(crate) fn is_about_credentials(&self) -> bool {
        self.cause == Cause::Credentials
            || matches!(
                self.code.as_str(),
                "ExpiredToken"
                    | "ExpiredTokenException"
                    | "InvalidClientTokenId"
                    | "UnrecognizedClientException"
                    | "InvalidAccessKeyId"
                    | "AccessDenied"
                    | "AccessDeniedException"
                    | "AuthFailure"
                    | "NotAuthorized"
                    | "OptInRequired"
                    | "MissingAuthenticationToken"
                    | "MissingAuthenticationTokenException"
            )
            || (matches!(
                self.code.as_str(),
                "InvalidSignatureException" | "SignatureDoesNotMatch"
            ) && !self.is_about_the_clock())
    }

    /// Whether the keys are good, and only do not permit what was asked.
    pub(crate) fn is_denied(&self) -> bool {
        self.code.starts_with("AccessDenied") || self.code == "NotAuthorized"
    }

    /// Whether the group's KMS key is at fault. A text that quotes an event does not count: what
    /// stands in a log line must not turn its refusal into an endless retry.
    fn is_about_a_key(&self) -> bool {
        self.code.starts_with("KMS")
            || (self.code == "InvalidParameterException"
                && self.message.contains("KMS")
                && !self.message.contains("logEvents"))
    }

    /// What the middle is told.
    pub(crate) fn into_service_error(self, operation: Operation) -> ServiceError {
        let class = self.class(operation);
        let code = match (self.code.is_empty(), self.cause, self.status) {
            (false, ..) => self.code,
            (true, Cause::Answer | Cause::Unreadable, Some(status)) => format!("Http{status}"),
            (true, Cause::Timeout, _) => "Timeout".to_owned(),
            (true, Cause::Connection, _) => "Connection".to_owned(),
            (true, Cause::Untrusted, _) => "Tls".to_owned(),
            (true, Cause::Credentials, _) => "Credentials".to_owned(),
            (true, ..) => "Request".to_owned(),
        };
        ServiceError {
            class,
            code,
            message: self.message,
        }
    }
}

/// Whether a code says that something in this put is wrong. Of a create call nothing is.
fn is_invalid(code: &str, operation: Operation) -> bool {
    use Operation::{Alarms, PutEvents, PutLogEvents, PutMetricData};
    match code {
        "InvalidParameterException" | "RequestEntityTooLarge" => {
            matches!(operation, PutLogEvents | PutMetricData | PutEvents)
        }
        "ValidationException" => {
            matches!(operation, PutLogEvents | PutMetricData | PutEvents | Alarms)
        }
        "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidParameterCombination"
        | "InvalidParameterCombinationException"
        | "MissingParameter"
        | "MissingRequiredParameterException"
        | "ValidationError" => matches!(operation, PutMetricData | Alarms),
        "InvalidFormatFault" => operation == Alarms,
        "InvalidArgument" | "InvalidArgumentException" | "MalformedDetail" => {
            operation == PutEvents
        }
        _ => false,
    }
}

fn cause_of<E>(error: &SdkError<E, HttpResponse>, code: &str) -> Cause
where
    E: Error + 'static,
{
    if in_chain::<CredentialsError>(error) {
        return Cause::Credentials;
    }
    match error {
        SdkError::ServiceError(_) if code.is_empty() => Cause::Unreadable,
        SdkError::ServiceError(_) => Cause::Answer,
        SdkError::TimeoutError(_) => Cause::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Cause::Timeout,
        SdkError::DispatchFailure(_) if in_chain::<rustls::Error>(error) => Cause::Untrusted,
        SdkError::DispatchFailure(failure) if failure.is_user() => Cause::Request,
        SdkError::DispatchFailure(_) => Cause::Connection,
        SdkError::ResponseError(_) if in_chain::<http_body_util::LengthLimitError>(error) => {
            Cause::Unreadable
        }
        SdkError::ResponseError(response) if !response.raw().status().is_success() => {
            Cause::Unreadable
        }
        SdkError::ResponseError(_) if in_chain::<std::io::Error>(error) => Cause::Connection,
        SdkError::ResponseError(_) => Cause::Unreadable,
        _ => Cause::Request,
    }
}

fn in_chain<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    links(error).any(|link| link.is::<T>())
}

/// The error and what lies under it. An `io::Error`'s own content is not among its sources.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&link| {
        match link.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => link.source(),
        }
    })
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for link in links(error) {
        let words = link.to_string();
        if text.ends_with(&words) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&words);
    }
    text
}

/// One line of bounded length without anything that looks like a key, a token or a signature:
/// access key ids, and long words of digits and letters.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().take(MESSAGE_CHARS_MAX) {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-' | '%') {
            word.push(c);
            continue;
        }
        flush(&mut word, &mut out);
        out.push(if c.is_control() { ' ' } else { c });
    }
    flush(&mut word, &mut out);
    out.trim().to_owned()
}

fn flush(word: &mut String, out: &mut String) {
    if looks_secret(word) {
        out.push_str("[redacted]");
    } else {
        out.push_str(word);
    }
    word.clear();
}

/// Key ids, long runs of hexadecimal digits (signatures) and of mixed case with digits (tokens).
/// Role and instance names in an ARN are separated by `/` and `-`, so they stay readable.
fn looks_secret(word: &str) -> bool {
    let key_id = word.len() >= 16 && (word.contains("AKIA") || word.contains("ASIA"));
    key_id
        || (word.len() >= 100 && is_mixed(word))
        || word
            .split(['/', '-', '_', '='])
            .any(|part| part.len() >= 32 && is_mixed(part))
}

fn is_mixed(word: &str) -> bool {
    let has = |wanted: fn(&u8) -> bool| word.as_bytes().iter().any(wanted);
    has(u8::is_ascii_digit)
        && (word.bytes().all(|b| b.is_ascii_hexdigit())
            || (has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Operation; 4] = [
        Operation::PutLogEvents,
        Operation::CreateLogStream,
        Operation::CreateLogGroup,
        Operation::PutRetentionPolicy,
    ];

    fn said(code: &str, status: u16, message: &str) -> Failure {
        Failure {
            code: code.to_owned(),
            status: Some(status),
            message: message.to_owned(),
            ..Failure::default()
        }
    }

    /// Rows that hold for every operation: each code, also under a status that says otherwise.
    #[test]
    fn codes_beat_statuses() {
        use ErrorClass::{AlreadyAccepted, AlreadyExists, RetrySlowly, RetrySoon, Throttled};
        let rows = [
            ("ThrottlingException", Throttled),
            ("Throttling", Throttled),
            ("ThrottledException", Throttled),
            ("RequestThrottled", Throttled),
            ("RequestThrottledException", Throttled),
            ("TooManyRequestsException", Throttled),
            ("RequestLimitExceeded", Throttled),
            ("LimitExceededException", Throttled),
            ("SlowDown", Throttled),
            ("BandwidthLimitExceeded", Throttled),
            ("RequestTimeTooSkewed", RetrySoon),
            ("RequestExpired", RetrySoon),
            ("RequestInTheFuture", RetrySoon),
            ("ServiceUnavailable", RetrySoon),
            ("ServiceUnavailableException", RetrySoon),
            ("InternalFailure", RetrySoon),
            ("InternalServerError", RetrySoon),
            ("InternalError", RetrySoon),
            ("RequestTimeout", RetrySoon),
            ("RequestTimeoutException", RetrySoon),
            ("OperationAbortedException", RetrySoon),
            ("InvalidSequenceTokenException", RetrySoon),
            ("ResourceAlreadyExistsException", AlreadyExists),
            ("DataAlreadyAcceptedException", AlreadyAccepted),
            ("KMSDisabledException", RetrySlowly),
            ("ExpiredToken", RetrySlowly),
            ("ExpiredTokenException", RetrySlowly),
            ("InvalidClientTokenId", RetrySlowly),
            ("UnrecognizedClientException", RetrySlowly),
            ("AccessDenied", RetrySlowly),
            ("AccessDeniedException", RetrySlowly),
            ("MissingAuthenticationToken", RetrySlowly),
            ("MissingAuthenticationTokenException", RetrySlowly),
            ("InvalidAccessKeyId", RetrySlowly),
            ("AuthFailure", RetrySlowly),
            ("NotAuthorized", RetrySlowly),
            ("OptInRequired", RetrySlowly),
            ("InvalidSignatureException", RetrySlowly),
            ("SignatureDoesNotMatch", RetrySlowly),
        ];
        for (code, class) in rows {
            for operation in ALL {
                for status in [400, 403, 413, 429, 500, 503] {
                    let failure = said(code, status, "some text");
                    assert_eq!(failure.class(operation), class, "{code} {status}");
                }
            }
        }
    }

    /// Rows that depend on what was asked.
    #[test]
    fn operations_differ() {
        use ErrorClass::{Invalid, MissingTarget, RetrySlowly};
        let rows = [
            (
                "ResourceNotFoundException",
                [MissingTarget, MissingTarget, RetrySlowly, RetrySlowly],
            ),
            (
                "InvalidParameterException",
                [Invalid, RetrySlowly, RetrySlowly, RetrySlowly],
            ),
            (
                "ValidationException",
                [Invalid, RetrySlowly, RetrySlowly, RetrySlowly],
            ),
            (
                "RequestEntityTooLarge",
                [Invalid, RetrySlowly, RetrySlowly, RetrySlowly],
            ),
            ("SomethingNew", [RetrySlowly; 4]),
        ];
        for (code, classes) in rows {
            for (operation, class) in ALL.into_iter().zip(classes) {
                let failure = said(code, 400, "some text");
                assert_eq!(failure.class(operation), class, "{code} {operation:?}");
            }
        }
        assert_eq!(said("", 413, "").class(ALL[0]), Invalid);
        assert_eq!(said("", 413, "").class(ALL[1]), RetrySlowly);
    }

    /// Rows without a code: the status, or how it failed, decides.
    #[test]
    fn statuses_and_causes() {
        use ErrorClass::{RetrySlowly, RetrySoon, Throttled};
        for (status, class) in [
            (429, Throttled),
            (408, RetrySoon),
            (500, RetrySoon),
            (503, RetrySoon),
            (599, RetrySoon),
            (200, RetrySlowly),
            (301, RetrySlowly),
            (400, RetrySlowly),
            (403, RetrySlowly),
            (404, RetrySlowly),
        ] {
            let failure = said("", status, "");
            assert_eq!(failure.class(Operation::PutLogEvents), class, "{status}");
        }
        for (cause, class, code) in [
            (Cause::Timeout, RetrySoon, "Timeout"),
            (Cause::Connection, RetrySoon, "Connection"),
            (Cause::Untrusted, RetrySlowly, "Tls"),
            (Cause::Credentials, RetrySlowly, "Credentials"),
            (Cause::Request, RetrySlowly, "Request"),
        ] {
            let failure = Failure {
                cause,
                ..Failure::default()
            };
            let error = failure.into_service_error(Operation::PutLogEvents);
            assert_eq!((error.class, error.code.as_str()), (class, code));
        }
    }

    /// A signature refused for its time is a matter of the clock; refused otherwise, of the keys.
    #[test]
    fn tells_clock_from_keys() {
        for code in ["InvalidSignatureException", "SignatureDoesNotMatch"] {
            for text in [
                "Signature expired: 20240101T000000Z is now earlier than 20240101T000500Z",
                "Signature not yet current: 20240101T001000Z is still later than 20240101T000500Z",
            ] {
                let failure = said(code, 400, text);
                assert!(failure.is_about_the_clock() && !failure.is_about_credentials());
                assert_eq!(
                    failure.class(Operation::PutLogEvents),
                    ErrorClass::RetrySoon
                );
            }
            let failure = said(
                code,
                400,
                "The request signature we calculated does not match",
            );
            assert!(!failure.is_about_the_clock() && failure.is_about_credentials());
        }
    }

    /// A disabled key is not an event's fault; an event that speaks of KMS is still its own.
    #[test]
    fn tells_a_key_from_an_event() {
        let failure = |text| said("InvalidParameterException", 400, text);
        let key = failure("The specified KMS Key Id could not be found.");
        assert_eq!(key.class(Operation::PutLogEvents), ErrorClass::RetrySlowly);
        let event = failure("Value 'KMS down' at 'logEvents.1.member.message' failed");
        assert_eq!(event.class(Operation::PutLogEvents), ErrorClass::Invalid);
    }

    /// What looks like a secret goes, what a person needs to read stays.
    #[test]
    fn cleans_texts() {
        let rows = [
            ("a\nb\tc", "a b c"),
            ("key AKIAIOSFODNN7EXAMPLE.", "key [redacted]."),
            (
                "id 7f9c2ba4-1b2c-4d5e-8f90-aabbccddeeff",
                "id 7f9c2ba4-1b2c-4d5e-8f90-aabbccddeeff",
            ),
            (
                "arn:aws:logs:eu-west-1:1:log-group:/codedeploy/AgentsOfTheProductionFleet2026:*",
                "arn:aws:logs:eu-west-1:1:log-group:/codedeploy/AgentsOfTheProductionFleet2026:*",
            ),
            (
                "s=0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0,x",
                "[redacted],x",
            ),
        ];
        for (text, want) in rows {
            assert_eq!(clean(text), want);
        }
        assert_eq!(
            clean(&"é ".repeat(5_000)).chars().count(),
            MESSAGE_CHARS_MAX - 1
        );
    }
}
