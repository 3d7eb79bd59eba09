//! What was not delivered and never will be, counted by reason.

use std::collections::BTreeMap;

/// Why a number or a datum is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// Infinite, not a number, or beyond 2^360; or the text of a group `value` that is no number.
    NotANumber,
    /// Older than two weeks, when it was counted or before it could be sent.
    TooOld,
    /// Dated ahead of now.
    TooNew,
    /// A line said nothing for a dimension of the set.
    NoLabel,
    /// A metric has as many series as it may have.
    Crowded,
    /// More waits than there is room for: the oldest went.
    NoRoom,
    /// The service said that this very datum is invalid.
    Invalid,
    /// It waited when the machine was booted: old news.
    BeforeBoot,
    /// An alarm could have acted on it while actions are to be suspended.
    HeldBack,
    /// It was counted on another instance, of which this one is a copy.
    OtherInstance,
}

impl Refusal {
    /// Its name in the status.
    fn name(self) -> &'static str {
        match self {
            Self::NotANumber => "not_a_number",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::NoLabel => "no_label",
            Self::Crowded => "too_many_series",
            Self::NoRoom => "no_room",
            Self::Invalid => "invalid",
            Self::BeforeBoot => "before_boot",
            Self::HeldBack => "held_back",
            Self::OtherInstance => "other_instance",
        }
    }
}

/// The counts since the state directory was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(super) fn restore(counts: BTreeMap<String, u64>) -> Self {
        Self(counts)
    }

    /// Counts; the first of a kind is said.
    pub(super) fn refuse(&mut self, why: Refusal, count: u64) {
        if count == 0 {
            return;
        }
        let name = why.name();
        let total = self.0.entry(name.to_owned()).or_default();
        if *total == 0 {
            tracing::warn!(reason = name, "numbers for metrics were refused");
        }
        *total = total.saturating_add(count);
    }

    pub(super) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}
