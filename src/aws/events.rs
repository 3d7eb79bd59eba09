//! PutEvents: one call, one answer of its own for every entry.
//!
//! HTTP 200 says little here: each entry has its event id or its error, by its index.

use std::rc::Rc;

use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use aws_smithy_types::DateTime;

use super::client::Gateway;
use super::errors::{Failure, Operation, clean};
use crate::ports::{EventCall, EventEntry, ServiceError};

/// The call.
pub(super) struct Bus {
    gateway: Rc<Gateway>,
}

impl Bus {
    /// Ready to call.
    pub(super) fn new(gateway: Rc<Gateway>) -> Self {
        Self { gateway }
    }

    /// PutEvents with all entries of the call.
    pub(super) async fn put(
        &self,
        call: &EventCall,
    ) -> Result<Vec<Result<(), ServiceError>>, ServiceError> {
        let entries = call.entries.iter().map(|entry| encoded(&call.bus, entry));
        let entries: Vec<PutEventsRequestEntry> = entries.collect();
        let output = self
            .gateway
            .call(|connection| {
                connection
                    .bus()
                    .put_events()
                    .set_entries(Some(entries))
                    .send()
            })
            .await
            .map_err(|failure| failure.into_service_error(Operation::PutEvents))?;
        Ok(output.entries().iter().map(judged).collect())
    }
}

fn encoded(bus: &str, entry: &EventEntry) -> PutEventsRequestEntry {
    PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .time(DateTime::from_millis(entry.time_ms))
        .source(entry.source)
        .detail_type(entry.detail_type)
        .detail(&entry.detail)
        .set_resources((!entry.resources.is_empty()).then(|| entry.resources.clone()))
        .build()
}

/// What was said of one entry, by the table that holds for whole calls too.
fn judged(entry: &PutEventsResultEntry) -> Result<(), ServiceError> {
    let Some(code) = entry.error_code() else {
        return Ok(());
    };
    let failure = Failure {
        code: code.to_owned(),
        message: clean(entry.error_message().unwrap_or_default()),
        ..Failure::default()
    };
    Err(failure.into_service_error(Operation::PutEvents))
}
