//! Loss markers: events of our own in a file's stream, where its missing bytes would be.

use std::sync::Arc;

use crate::event::{FileOrigin, Loss};

/// The text of a loss marker.
pub(super) fn text(loss: &Loss) -> String {
    if loss.bytes == 0 {
        return format!("deploywatch: {}", loss.reason);
    }
    format!(
        "deploywatch: {} bytes of {} were lost: {}",
        loss.bytes,
        loss.path.display().to_string().escape_debug(),
        loss.reason
    )
}

/// The file a marker speaks of, for the batch.
pub(super) fn origin(loss: &Loss) -> Arc<FileOrigin> {
    Arc::new(FileOrigin {
        source: loss.source.as_str().into(),
        path: loss.path.clone(),
    })
}
