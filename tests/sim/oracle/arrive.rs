//! What the service got: nothing alien, nothing twice without a reason, each content in order.

use deploywatch::ports::CallId;

use super::{Breach, Clockwork, Home, Oracle, View};
use crate::text::{Dating, LineId, Proof, Run, clip};
use crate::world::service::{Arrival, Taking};

/// How far ahead of the machine's date a line's date is believed at most.
const FUTURE_MAX_MS: i64 = 2 * 3_600_000;
/// So many NULs in a row are what a power cut leaves, not text.
const NULS: &str = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// How many unfinished pieces per target are remembered.
const OPEN_MAX: usize = 64;

impl Oracle {
    /// Takes what arrived since the last time.
    pub(crate) fn arrived(&mut self, arrivals: Vec<Arrival>) -> Result<(), Breach> {
        for arrival in arrivals {
            self.arrived += 1;
            match arrival.marker {
                Some(number) => self.take_marker(number, &arrival)?,
                None => self.take(&arrival)?,
            }
        }
        Ok(())
    }

    /// The agent has the answers to these calls.
    pub(crate) fn answered(&mut self, calls: Vec<CallId>) {
        for call in calls {
            for run in self.unanswered.remove(&call).unwrap_or_default() {
                let answered = &mut self.fame[run.line.0 as usize].answered;
                answered.push(((run.from, run.to), self.now_ms));
            }
        }
    }

    /// A marker says how many bytes were lost, of which file and why. A killed process may have
    /// forgotten that it sent one, or given its number to another loss; each counts once.
    fn take_marker(&mut self, number: u64, arrival: &Arrival) -> Result<(), Breach> {
        let told = arrival.message.strip_prefix("deploywatch: ");
        let (bytes, rest) = told.and_then(|told| told.split_once(" bytes of /")).unzip();
        let bytes = bytes.and_then(|bytes| bytes.parse::<u64>().ok());
        match (bytes, rest) {
            (Some(bytes), Some(rest)) if rest.contains(" were lost: ") => {
                self.told_lost
                    .insert((number, arrival.message.clone()), bytes);
                Ok(())
            }
            _ => Err(Breach(format!("a strange marker: {:?}", arrival.message))),
        }
    }

    fn take(&mut self, arrival: &Arrival) -> Result<(), Breach> {
        let target = arrival.target;
        let mut newly_refused = false;
        for (row, text) in arrival.message.split('\n').enumerate() {
            let bare;
            if text.contains(NULS) {
                return Err(Breach(format!("a run of NULs: {:?}", clip(text))));
            }
            let text = if text.contains('\0') {
                bare = text.replace('\0', "");
                bare.as_str()
            } else {
                text
            };
            let open = self.open.get(&target).map_or(&[][..], Vec::as_slice);
            let runs = self.lines.explain(text, open).map_err(|what| {
                Breach(format!(
                    "{what} in a message to target {target}: {:?}",
                    clip(&arrival.message)
                ))
            })?;
            for (nth, run) in runs.into_iter().enumerate() {
                newly_refused |= !self.fame[run.line.0 as usize].refused;
                let whole = self.lines.get(run.line).text.as_bytes();
                let begins = text.as_bytes().starts_with(&whole[..run.to as usize]);
                if self.take_run(arrival, run)? && (nth, row, begins) == (0, 0, true) {
                    self.check_order(arrival, run)?;
                }
            }
        }
        if arrival.taking == Taking::Refused && newly_refused {
            self.refused += 1;
        }
        Ok(())
    }

    /// Takes one run; whether it is the first arrival of a line's beginning.
    fn take_run(&mut self, arrival: &Arrival, run: Run) -> Result<bool, Breach> {
        let text_bytes = self.lines.get(run.line).text.len();
        self.remember_end(arrival.target, run, text_bytes);
        if run.proof == Proof::Certain {
            self.lines.read_until(run.line, run.to as usize);
        }
        let fame = &mut self.fame[run.line.0 as usize];
        if arrival.taking == Taking::Refused {
            fame.refused = true;
            return Ok(false);
        }
        // A piece that fits many lines does not say which of them was answered for.
        if arrival.taking == Taking::Stored && run.proof == Proof::Certain {
            let runs = self.unanswered.entry(arrival.call).or_default();
            runs.push(run);
        }
        let new = !fame
            .runs
            .iter()
            .any(|(from, to)| *from <= run.from && run.to <= *to);
        if new {
            merge(&mut fame.runs, (run.from, run.to));
        }
        if run.from == 0 && run.proof == Proof::Certain {
            fame.times += 1;
            self.duplicates += u64::from(fame.times > 1);
            if fame.times > fame.allowed {
                let what = format!("arrived {} times, {} allowed", fame.times, fame.allowed);
                return Err(Breach(format!("{what}: {}", self.name(run.line))));
            }
            if arrival.taking == Taking::StoredInDoubt {
                fame.allowed = fame.allowed.max(fame.times + 1);
            }
        }
        // The rest of a line may stand in another file than its beginning. What was refused before
        // is answered for: what a power cut left of it is a repetition, even if it is taken now.
        Ok(new && !fame.refused && run.from == 0 && run.proof == Proof::Certain)
    }

    /// Who reads the stream sees it in the order of the events' times, and of equal times in the
    /// order of arrival. In this order each file's lines keep theirs: those that bear dates as far
    /// as the dates do, those of a file without dates among themselves. (The rest of a record that
    /// is read alone is dated by when it was read, so it may stand among later records. A line that
    /// is glued to what a power cut left of the one before has that one's date. A date that lies too
    /// far ahead of one that the machine had since is not believed.)
    fn check_order(&mut self, arrival: &Arrival, run: Run) -> Result<(), Breach> {
        let Some(home) = self.fame[run.line.0 as usize].home else {
            return Err(Breach(format!("never written: {}", self.name(run.line))));
        };
        let Home { life, offset, .. } = home;
        if self.lives[&life].ragged.contains(&offset) {
            return Ok(());
        }
        let date_ms = match self.lines.get(run.line).dating {
            Dating::Own(_) if home.skew_ms - self.skew_ms_min >= FUTURE_MAX_MS => return Ok(()),
            Dating::Own(date_ms) => Some(date_ms),
            Dating::OfReading if self.expect.clock == Clockwork::Steady => None,
            Dating::OfReading | Dating::OfRecord => return Ok(()),
        };
        let kind = (arrival.target, life, date_ms.is_some());
        let view = View {
            seen: (arrival.time_ms, self.arrived),
            date_ms,
            line: run.line,
        };
        let views = self.views.entry(kind).or_default();
        let before = views.range(..offset).next_back().map(|(_, view)| *view);
        let after = views.range(offset + 1..).next().map(|(_, view)| *view);
        views.entry(offset).or_insert(view);
        for (one, two) in [(before, Some(view)), (Some(view), after)] {
            if let (Some(one), Some(two)) = (one, two)
                && one.date_ms <= two.date_ms
                && one.seen > two.seen
            {
                return Err(Breach(format!(
                    "out of order in target {}: {} seen at {:?}, then {} seen at {:?}",
                    arrival.target,
                    self.name(one.line),
                    one.seen,
                    self.name(two.line),
                    two.seen,
                )));
            }
        }
        Ok(())
    }

    /// A piece that ends before its line does may be continued by the next one.
    fn remember_end(&mut self, target: usize, run: Run, text_bytes: usize) {
        let open = self.open.entry(target).or_default();
        open.retain(|(line, _)| *line != run.line);
        if (run.to as usize) < text_bytes {
            open.push((run.line, run.to));
            if open.len() > OPEN_MAX {
                open.remove(0);
            }
        }
    }

    fn name(&self, line: LineId) -> String {
        let what = self.lines.get(line);
        format!(
            "stream {} line {}: {}",
            what.stream,
            what.number,
            clip(&what.text)
        )
    }
}

/// Adds a run to a sorted set of disjoint runs.
pub(super) fn merge(runs: &mut Vec<(u32, u32)>, run: (u32, u32)) {
    runs.push(run);
    runs.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        match merged.last_mut() {
            Some(last) if run.0 <= last.1 => last.1 = last.1.max(run.1),
            _ => merged.push(run),
        }
    }
    *runs = merged;
}

/// Runs merge into the set of bytes they cover.
#[test]
fn runs_merge() {
    let mut runs = vec![(0, 5), (10, 20)];
    merge(&mut runs, (4, 7));
    assert_eq!(runs, [(0, 7), (10, 20)]);
    merge(&mut runs, (7, 10));
    assert_eq!(runs, [(0, 20)]);
}
