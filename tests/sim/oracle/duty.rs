//! What the agent owes for each content: births, names, copies, power cuts, ends of processes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use deploywatch::ports::FileKey;

use super::{Breach, Life, Oracle, Place, Presence, Told};
use crate::subject::{Checkpoint, Record};
use crate::text::LineId;
use crate::world::files::LifeId;

/// How the agent's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It saved and rescued, and everything it wrote was taken.
    Orderly,
    /// It was killed, or could not save.
    Abrupt,
    /// The machine went, and with it what was not synced.
    PowerCut,
}

impl Oracle {
    /// The agent started. `ready_ms`: from when on it can work on everything.
    pub(crate) fn process_started(&mut self, ready_ms: u64) {
        self.up_since_ms = Some(ready_ms);
        self.died_ms = None;
        self.saves_fail_until_ms = self.saves_fail_until_ms.max(self.now_ms);
    }

    /// The disk is full just now.
    pub(crate) fn saves_fail(&mut self) {
        self.saves_fail_until_ms = self.now_ms;
    }

    /// The agent's process is gone; `left` is what it left on disk.
    pub(crate) fn process_ended(
        &mut self,
        ending: Ending,
        left: &Checkpoint,
    ) -> Result<(), Breach> {
        let records = &left.records;
        self.check_freshness(records)?;
        self.forget_saves_after(left.number);
        self.allow_repetition(records);
        self.up_since_ms = None;
        self.died_ms.get_or_insert(self.now_ms);
        self.left = left.clone();
        self.unanswered.clear();
        let last_save_ms = self.saves.values().next_back().copied().unwrap_or(0);
        let known: Vec<LifeId> = self
            .lives
            .iter()
            .filter(|(_, life)| self.stays_known(life, records, last_save_ms))
            .map(|(id, _)| *id)
            .collect();
        for (id, life) in &mut self.lives {
            if life.presence == Presence::Held {
                life.presence = Presence::Gone;
                life.rescued = ending == Ending::Orderly;
                for place in &mut life.places {
                    place.owed = ending == Ending::Orderly;
                }
            }
            life.known = known.contains(id);
            life.seen_ms = None;
        }
        match ending {
            Ending::Orderly => {}
            // What was seen before the last checkpoint is in it.
            Ending::Abrupt => {
                self.loss_to_count.retain(|cut| cut.seen_ms < last_save_ms);
            }
            // It may take what was still to be read elsewhere.
            Ending::PowerCut => self.loss_to_count.clear(),
        }
        Ok(())
    }

    /// A power cut tore what was kept of nameless files: it need not arrive any more.
    pub(crate) fn rescue_torn(&mut self) {
        for life in self.lives.values_mut() {
            if life.presence == Presence::Gone {
                for place in &mut life.places {
                    place.owed = false;
                }
            }
        }
    }

    /// Whether a place has to arrive.
    pub(super) fn is_owed(&self, life: &Life, place: &Place) -> bool {
        match life.presence {
            Presence::Gone => place.owed,
            Presence::Held => life.known,
            Presence::Linked => match (self.told)(&life.path) {
                Told::Named => true,
                Told::Sibling => life.known,
                Told::No => false,
            },
        }
    }

    pub(super) fn born(&mut self, id: LifeId, key: FileKey, path: PathBuf) {
        let before = self.by_key.get(&key).and_then(|lives| lives.last());
        let twin = before.and_then(|before| self.begun(*before));
        self.lives.insert(
            id,
            Life {
                key,
                path,
                presence: Presence::Linked,
                places: Vec::new(),
                origin: None,
                known: false,
                seen_ms: None,
                offered_ms: None,
                was_offered: false,
                readable: true,
                rescued: false,
                went_unseen: false,
                verified: 0,
                length: 0,
                heads: Vec::new(),
                ragged: BTreeSet::new(),
                recorded: None,
                inherited: 0,
                former: None,
                twin,
            },
        );
        self.by_key.entry(key).or_default().push(id);
        self.offer(id);
    }

    /// The name or the permission changed: since when is it offered to the agent?
    pub(super) fn offer(&mut self, id: LifeId) {
        let (readable, known) = (self.lives[&id].readable, self.lives[&id].known);
        let told = match (self.told)(&self.lives[&id].path) {
            Told::Named => true,
            Told::Sibling => known,
            Told::No => false,
        };
        let now_ms = self.now_ms;
        let life = self.life(id);
        life.offered_ms = match (told && readable, life.offered_ms) {
            (false, since) => {
                life.was_offered |= since.is_some_and(|since| since < now_ms);
                None
            }
            (true, None) => Some(now_ms),
            (true, since) => since,
        };
    }

    pub(super) fn seen(&mut self, id: LifeId) {
        let now_ms = self.now_ms;
        let named = (self.told)(&self.lives[&id].path) == Told::Named;
        let life = self.life(id);
        life.known |= named && life.presence == Presence::Linked;
        life.seen_ms.get_or_insert(now_ms);
    }

    pub(super) fn copied(&mut self, from: LifeId, to: LifeId, bytes: u64) {
        let places: Vec<Place> = self.lives[&from]
            .places
            .iter()
            .filter(|place| place.end <= bytes)
            .copied()
            .collect();
        let known = self.lives[&from].known;
        let heads = self.lives[&from].heads.clone();
        let life = self.life(to);
        life.heads = heads;
        life.places = places;
        life.length = bytes;
        life.known = known;
        life.origin = Some(from);
        self.offer(to);
    }

    /// A power cut left `keep` bytes: the rest of the places is gone, and where less than the
    /// agent had settled is left, it may begin again.
    pub(super) fn damaged(&mut self, id: LifeId, next: LifeId, keep: u64) {
        let life = self.life(id);
        let (key, path) = (life.key, life.path.clone());
        let (mut known, readable, origin) = (life.known, life.readable, life.origin);
        // A record from before this content speaks of the one before.
        let inherited = match life.recorded {
            Some(_) => keep,
            None => keep.min(life.inherited),
        };
        let mut heads = life.heads.clone();
        let mut kept: Vec<Place> = Vec::new();
        let mut torn = Vec::new();
        for place in &life.places {
            if place.end <= keep {
                kept.push(*place);
                continue;
            }
            torn.push((place.line, place.from as usize));
            if place.start < keep {
                heads.push((place.start, keep, place.line));
            }
        }
        // The next power cut may leave less of a head.
        heads.retain(|(start, ..)| *start < keep);
        heads.iter_mut().for_each(|head| head.1 = head.1.min(keep));
        let places = life.places.iter().map(|place| place.line);
        let repeated: BTreeSet<_> = places.chain(heads.iter().map(|head| head.2)).collect();
        self.gone(id, |_| false);
        for (line, from) in torn {
            self.lines.tear(line, from);
        }
        let records = self.left.records.iter();
        let former = records.filter(|record| record.key == key);
        let former = former.map(|record| record.settled).max();
        // Of what could never be read only the size is known, and a torn copy has another.
        let is_unread = origin.is_some_and(|origin| {
            let origin = &self.lives[&origin];
            !origin.was_offered && origin.offered_ms.is_none()
        });
        known &= former.is_some() || !is_unread;
        let twin = former.and_then(|former| self.settled_behind(id, keep, former));
        self.born(next, key, path);
        let life = self.life(next);
        life.former = former;
        life.twin = twin;
        life.places = kept;
        life.heads = heads;
        life.inherited = inherited;
        life.length = keep;
        (life.known, life.readable) = (known, readable);
        self.offer(next);
        let elsewhere = self.lines_beside(next);
        for line in repeated {
            let fame = &mut self.fame[line.0 as usize];
            fame.allowed = fame.allowed.max(fame.times + 1);
            // It cannot be known any more that the two were one: both are read.
            fame.allowed += u32::from(elsewhere.contains(&line));
        }
    }

    /// What lies between `keep` and `former` of a content, if that is all of one line and was settled.
    fn settled_behind(&self, id: LifeId, keep: u64, former: u64) -> Option<(u64, Vec<u8>)> {
        let mut places = self.lives[&id].places.iter();
        let place = places.find(|place| place.start <= keep && keep < place.end)?;
        let from = place.from + u32::try_from(keep - place.start).ok()?;
        let to = from + u32::try_from(former.checked_sub(keep)?).ok()?;
        let text = self.lines.get(place.line).text.as_bytes();
        let bytes = text.get(from as usize..to.min(place.to) as usize)?;
        Some((keep, bytes.to_vec())).filter(|_| former <= place.end)
    }

    /// What arrived of the line with which a content begins. Of a head nobody can say whether that did.
    fn begun(&self, id: LifeId) -> Option<(u64, Vec<u8>)> {
        let life = &self.lives[&id];
        let place = life.places.first().filter(|place| place.start == 0);
        let (line, from, to) = if let Some(place) = place {
            let mut runs = self.fame[place.line.0 as usize].runs.iter();
            let (_, to) = runs.find(|(from, to)| *from <= place.from && place.from < *to)?;
            (place.line, place.from as usize, *to as usize)
        } else {
            let (_, end, line) = life.heads.iter().find(|(start, ..)| *start == 0)?;
            (*line, 0, usize::try_from(*end).ok()?)
        };
        let text = self.lines.get(line).text.as_bytes();
        Some((0, text.get(from..to)?.to_vec()))
    }

    /// Lines that are there in another content than this one.
    fn lines_beside(&self, id: LifeId) -> BTreeSet<LineId> {
        let there = |life: &&Life| life.presence != Presence::Gone;
        let others = self.lives.iter().filter(|(other, _)| **other != id);
        let others = others.map(|(_, life)| life).filter(there);
        let places = others.flat_map(|life| &life.places);
        places.map(|place| place.line).collect()
    }

    /// Whether the next process will know this content.
    fn stays_known(&self, life: &Life, records: &[Record], last_save_ms: u64) -> bool {
        let has = |key: FileKey| records.iter().any(|record| record.key == key);
        let saved_since = life.seen_ms.is_none_or(|seen| seen < last_save_ms);
        let origin = life.origin.map(|origin| self.lives[&origin].key);
        life.known && saved_since && (has(life.key) || origin.is_some_and(has))
    }

    /// What was noted last and not synced is gone with the power.
    fn forget_saves_after(&mut self, number: u64) {
        self.saves.retain(|save, _| *save <= number);
        for life in self.lives.values_mut() {
            life.recorded = life.recorded.filter(|save| *save <= number);
        }
    }

    /// What arrived and is not in the checkpoint may arrive once more.
    fn allow_repetition(&mut self, records: &[Record]) {
        let settled = |key: FileKey| {
            let of_key = records.iter().filter(|record| record.key == key);
            of_key.map(|record| record.settled).max()
        };
        for life in self.lives.values() {
            let settled = settled(life.key)
                .filter(|settled| life.recorded.is_some() || *settled <= life.inherited)
                .unwrap_or(0);
            let places = life.places.iter().map(|place| (place.end, place.line));
            let heads = life.heads.iter().map(|(_, end, line)| (*end, *line));
            for (end, line) in places.chain(heads) {
                let is_open = end > settled;
                let fame = &mut self.fame[line.0 as usize];
                fame.is_unsaved = is_open;
                if is_open && life.presence != Presence::Gone || life.rescued {
                    fame.allowed = fame.allowed.max(fame.times + 1);
                }
                if is_open {
                    // Who was answered is gone; the next one has to ask again.
                    fame.answered.clear();
                }
            }
        }
    }

    /// What was answered long ago is in the checkpoint.
    fn check_freshness(&self, records: &[Record]) -> Result<(), Breach> {
        // Who is dead writes nothing.
        let lived_ms = self.died_ms.unwrap_or(self.now_ms);
        let Some(limit) = lived_ms.checked_sub(self.expect.saved_ms) else {
            return Ok(());
        };
        if self.saves_fail_until_ms > limit {
            return Ok(());
        }
        for life in self.lives.values() {
            if life.presence != Presence::Linked || (self.told)(&life.path) != Told::Named {
                continue;
            }
            // What was answered for in another content says nothing of this one, nor what was
            // answered for another piece of its line.
            let offered_ms = life.offered_ms.unwrap_or(u64::MAX);
            let old = life.places.iter().take_while(|place| {
                let mut answered = self.fame[place.line.0 as usize].answered.iter();
                let is_old = |(run, ms): &((u32, u32), u64)| {
                    run.0 <= place.from
                        && place.to <= run.1
                        && offered_ms.max(place.written_ms) < *ms
                        && *ms < limit
                };
                self.is_settled(place) && answered.any(is_old)
            });
            let Some(last) = old.last() else {
                continue;
            };
            let mut of_key = records.iter().filter(|record| record.key == life.key);
            if !of_key.any(|record| record.settled >= last.end) {
                return Err(Breach(format!(
                    "checkpoint is stale: {} is answered up to {} since {} ms, records {:?}",
                    life.path.display(),
                    last.end,
                    self.expect.saved_ms,
                    records.iter().find(|record| record.key == life.key),
                )));
            }
        }
        Ok(())
    }
}
