//! What is to be said of a source besides what it delivered.

use crate::cli::terminal::{Style, bytes, escape, number};
use crate::status::SourceCounts;

/// What did not go the usual way in a source, worst first. Only counts that are not zero.
pub(super) fn notes(counts: &SourceCounts) -> Vec<(Style, String)> {
    let mut notes = Vec::new();
    let refused = &counts.refused;
    for (reason, bytes_lost) in &counts.lost {
        notes.push((
            Style::Bad,
            format!("lost {}: {}", bytes(*bytes_lost), escape(reason)),
        ));
    }
    for (count, reason) in [
        (refused.too_old, "older than 14 days"),
        (refused.too_new, "more than 2 hours in the future"),
        (refused.expired, "older than the group's retention"),
        (refused.invalid, "invalid, in the dead-letter file"),
    ] {
        if count > 0 {
            notes.push((Style::Bad, format!("refused {}: {reason}", number(count))));
        }
    }
    for (reason, skipped) in &counts.skipped {
        notes.push((
            Style::Faint,
            format!("skipped {}: {}", bytes(*skipped), escape(reason)),
        ));
    }
    for (count, what) in [
        (counts.split, "records split because of their length"),
        (counts.not_utf8, "records with bytes that are not UTF-8"),
        (counts.undated, "records without a believable time"),
    ] {
        if count > 0 {
            notes.push((Style::Faint, format!("{} {what}", number(count))));
        }
    }
    for (rule, count) in &counts.redacted {
        notes.push((
            Style::Faint,
            format!("redacted {}: {}", number(*count), escape(rule)),
        ));
    }
    notes
}
