//! Whether a good answer is the service's own.
//!
//! The answers to puts may have nothing in them, so the SDK takes an HTTP 200 for a good one that
//! anybody gave: a proxy, a load balancer, a hotel's network, whatever listens at a wrong
//! `endpoint_url`. What was put would then count as delivered and be lost. So we ask a good answer for
//! the marks of the service. An imitation of it that sends none is known by what it says.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The members of an answer to `PutLogEvents`.
const MEMBERS: [&str; 3] = [
    "nextSequenceToken",
    "rejectedEntityInfo",
    "rejectedLogEventsInfo",
];

/// Refuses good answers that bear no mark of the service, of which it sends two: the number of the
/// request, and the name of the protocol it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Genuine {
    /// awsJson 1.1, known by its content type; or by a body that is an answer to `PutLogEvents`.
    Json,
    /// rpc-v2-cbor, which has a header for it.
    Cbor,
}

#[dyn_dispatch_hint]
impl Intercept for Genuine {
    fn name(&self) -> &'static str {
        "Genuine"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // What is no good answer says more by its own error.
        match context.output_or_error().is_err() || self.is_marked(context.response()) {
            true => Ok(()),
            false => Err("an answer that is not the service's".into()),
        }
    }
}

impl Genuine {
    fn is_marked(self, response: &HttpResponse) -> bool {
        let headers = response.headers();
        let content_type = headers.get("content-type").unwrap_or_default();
        headers.contains_key("x-amzn-requestid")
            || match self {
                Self::Json => {
                    content_type.starts_with("application/x-amz-json-") || is_answer(response)
                }
                Self::Cbor => headers.contains_key("smithy-protocol"),
            }
    }
}

/// Whether a body is an answer to `PutLogEvents`, which may have no members, and nothing else.
fn is_answer(response: &HttpResponse) -> bool {
    let body = response.body().bytes().unwrap_or_default();
    let members = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
    members.is_ok_and(|members| members.keys().all(|name| MEMBERS.contains(&&**name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which good answers are taken for the service's: its own, those of an imitation without its
    /// headers, and nobody else's.
    #[test]
    fn who_answers() {
        let rows = [
            ("x-amzn-requestid", "0-0-0", "", true),
            ("content-type", "application/x-amz-json-1.1", "", true),
            ("content-type", "application/json", "{}", true),
            ("server", "imitation", r#"{"nextSequenceToken":"1"}"#, true),
            ("server", "balancer", "", false),
            ("content-type", "text/html", "<html>welcome</html>", false),
            (
                "content-type",
                "application/json",
                r#"{"status":"ok"}"#,
                false,
            ),
            ("content-type", "application/json", "[]", false),
        ];
        for (name, value, body, expected) in rows {
            let status = 200.try_into().unwrap();
            let mut response = HttpResponse::new(status, body.into());
            response.headers_mut().insert(name, value);
            assert_eq!(
                Genuine::Json.is_marked(&response),
                expected,
                "{name} {body}"
            );
        }
    }
}
