//! A line counts once, whatever happens to the process: what the metric service was told adds up
//! to the events that the log service was told.
//!
//! Holds where nobody touches what is written (no copies, no damage, no partial lines), which is
//! what [`crate::plan::Plan::counting`] makes. A request that was taken without the agent learning
//! of it is sent again just as it was, and counts here once.

use std::collections::BTreeMap;

use deploywatch::ports::{CallId, Datum};

use super::Breach;
use super::duty::Ending;
use crate::world::metrics::Take;
use crate::world::service::Arrival;

/// The metric that counts the application's lines.
pub(crate) const LINES: &str = "Lines";

/// A call that nobody will be told of.
const NO_CALL: CallId = CallId(u64::MAX);

/// What was counted, and what there was to count.
#[derive(Default)]
pub(crate) struct Counts {
    /// The application's events, by stream and text, and when each happened.
    events: BTreeMap<(usize, String), i64>,
    /// Lines, as the metric service knows them.
    told: f64,
    /// The last call that was taken, and whether the agent knows.
    last: Option<(CallId, Vec<Datum>, bool)>,
}

impl Counts {
    /// Events of the application reached the log service.
    pub(crate) fn arrived<'a>(&mut self, arrivals: impl Iterator<Item = &'a Arrival>) {
        for arrival in arrivals.filter(|arrival| arrival.marker.is_none()) {
            let event = (arrival.target, arrival.message.clone());
            // One without a date is dated anew when it is read again.
            let time_ms = self.events.entry(event).or_insert(arrival.time_ms);
            *time_ms = arrival.time_ms.max(*time_ms);
        }
    }

    /// The metric service took calls, and the agent learned of some.
    pub(crate) fn took(&mut self, takes: Vec<Take>, answered: &[CallId]) {
        for take in takes {
            let again = self
                .last
                .as_ref()
                .is_some_and(|(_, data, known)| !known && *data == take.data);
            if !again {
                self.tell(&take.data);
            }
            // One in doubt is answered, too, but by an error.
            let known = !take.in_doubt && answered.contains(&take.call);
            let call = if take.in_doubt { NO_CALL } else { take.call };
            self.last = Some((call, take.data, known));
        }
        if let Some((call, _, known)) = &mut self.last {
            *known |= answered.contains(call);
        }
    }

    /// The process is gone, and with it what it knew of answers and had not saved.
    pub(crate) fn process_ended(&mut self, ending: Ending) {
        if let Some((call, _, known)) = &mut self.last {
            *known &= ending == Ending::Orderly;
            // The next one numbers its calls anew.
            *call = NO_CALL;
        }
    }

    fn tell(&mut self, data: &[Datum]) {
        for datum in data.iter().filter(|datum| datum.name == LINES) {
            self.told += datum.numbers.summary().sum;
        }
    }

    /// All is drained: each line was counted once, but for those that are older than the agent.
    /// When it happened is left out: a line without a date of its own that is read again after a
    /// kill is dated anew. `destroyed` lines never reached the log service, since their file went
    /// while it was away and then the process, too: whether they were counted before is open. So it
    /// is of the `forgotten`, which reached it just before a kill, and their file went then.
    pub(crate) fn check(
        &self,
        since_ms: i64,
        destroyed: usize,
        forgotten: usize,
    ) -> Result<(), Breach> {
        let owed = self.events.values().filter(|time_ms| **time_ms >= since_ms);
        let owed = owed.count();
        let told = self.total();
        let least = owed.saturating_sub(forgotten);
        if (least as f64..=(owed + destroyed) as f64).contains(&told) {
            return Ok(());
        }
        Err(Breach(format!(
            "lines were miscounted: {told} for {owed}, {forgotten} of them forgotten, and \
             {destroyed} that were destroyed"
        )))
    }

    /// How many lines were counted.
    pub(crate) fn total(&self) -> f64 {
        self.told
    }
}
