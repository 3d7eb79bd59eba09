//! Loss markers: events of our own in a file's stream, where its missing bytes would be.

use std::sync::Arc;

use crate::event::{FileOrigin, Loss, Now};
use crate::tail::Lost;

/// A loss whose marker has no number yet.
pub(super) fn loss_of(lost: &Lost, now: Now) -> Loss {
    Loss {
        id: 0,
        source: lost.source.to_string(),
        path: lost.path.clone(),
        bytes: lost.bytes,
        reason: lost.reason.to_owned(),
        at_ms: now.wall_ms,
        family: lost.family.clone(),
    }
}

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
        path: (*loss.path).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_forges_a_line() {
        // A file may be named like a line of the log, or like a command to a terminal; its marker must
        // be one line that shows the name: shown with both.
        let loss = Loss {
            id: 1,
            source: "app".to_owned(),
            path: "/x/a\n2026-11-21 ERROR forged\u{1b}[2J\u{202e}.log".into(),
            family: "/x/a".into(),
            at_ms: 0,
            bytes: 7,
            reason: "gone".to_owned(),
        };
        let text = text(&loss);
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.contains("7 bytes") && text.contains("forged") && text.ends_with("gone"));
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
}
