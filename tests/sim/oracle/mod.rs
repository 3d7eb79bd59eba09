//! What must hold, whatever happened.
//!
//! The oracle knows every line, every place in every content where it stands ([`Place`]), and what
//! became of that content. From this it derives what must arrive, what may arrive twice, in which
//! order, and how far a checkpoint may have moved. It never asks the agent what it did.

mod arrive;
pub(crate) mod counts;
pub(crate) mod duty;
pub(crate) mod incidents;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use deploywatch::ports::{CallId, FileKey};

use crate::subject::Checkpoint;
use crate::text::{LineId, Lines, Run, clip};
use crate::world::files::{Ending, Fate, FreedBy, LifeId};

/// Whether the agent was told to read a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its configuration names it.
    Named,
    /// Where a named file goes when it is rotated: to be followed when the content was known.
    Sibling,
    /// None of its business.
    No,
}

/// What is expected beyond the promises' letter, in virtual milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    /// A running agent has found and opened a file with unread bytes after so long.
    pub(crate) found_ms: u64,
    /// An answer is in the checkpoint after so long, when the disk is not full.
    pub(crate) saved_ms: u64,
    /// Whether the machine's date may go back.
    pub(crate) clock: Clockwork,
}

/// How the machine's date behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clockwork {
    /// It goes on.
    Steady,
    /// It is set now and then.
    Jumping,
}

/// How a line is seen by who reads the stream.
#[derive(Clone, Copy, Debug)]
struct View {
    /// Its event's time, and which arrival it was.
    seen: (i64, u64),
    /// The date it bears.
    date_ms: Option<i64>,
    line: LineId,
}

/// Bytes of a line at a place in a content.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In the content, line end included.
    start: u64,
    end: u64,
    line: LineId,
    /// Which part of the line's text.
    from: u32,
    to: u32,
    written_ms: u64,
    /// Decided when the content went away: whether it has to arrive nevertheless.
    owed: bool,
}

/// Whether a content is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// A name leads to it.
    Linked,
    /// Only the agent's handle leads to it.
    Held,
    /// It is gone.
    Gone,
}

/// One content of one inode.
#[derive(Debug)]
struct Life {
    key: FileKey,
    path: PathBuf,
    presence: Presence,
    places: Vec<Place>,
    /// Copied from this one.
    origin: Option<LifeId>,
    /// The agent knows this content, so that it has to follow it under a rotated name.
    known: bool,
    /// When the running process looked at it first.
    seen_ms: Option<u64>,
    /// Since when it may be read under a name the agent is told to read.
    offered_ms: Option<u64>,
    /// It could be read at some time under such a name.
    was_offered: bool,
    readable: bool,
    /// The agent let go of it unread and has to have kept the rest in its own directory.
    rescued: bool,
    /// It went while no process ran.
    went_unseen: bool,
    /// So far into the content every checkpoint was found right.
    verified: usize,
    length: u64,
    /// Heads of lines that power cuts tore: where they begin and end, and whose they are. They need
    /// not arrive, but may do so as often as what stands around them.
    heads: Vec<(u64, u64, LineId)>,
    /// Where it ended within a line at some time: what was written there next is glued to that.
    ragged: BTreeSet<u64>,
    /// The first checkpoint that was written since the agent looked at this content. What an older
    /// one says beyond `inherited` speaks of what stood here before.
    recorded: Option<u64>,
    /// So much power cuts left of the content that was recorded before.
    inherited: u64,
    /// What the checkpoint said of its inode when a power cut made this content.
    former: Option<u64>,
    /// What that had settled of the line in which the power cut ended the content, or what had arrived
    /// of the line with which the content before this one began. If the same bytes are written there
    /// again, nobody can tell, and they have an answer.
    twin: Option<(u64, Vec<u8>)>,
}

/// What is known of a line's arrival.
#[derive(Debug, Default)]
struct Fame {
    /// Runs of its text the service has, merged.
    runs: Vec<(u32, u32)>,
    /// The service refused it for what it is.
    refused: bool,
    /// How often its beginning arrived.
    times: u32,
    /// How often it may arrive.
    allowed: u32,
    /// What the last process left on disk does not know of it.
    is_unsaved: bool,
    /// For which runs of it the agent was answered, and when, as far as it can still know.
    answered: Vec<((u32, u32), u64)>,
    /// Where it was written first.
    home: Option<Home>,
}

/// Where and when a line was written first.
#[derive(Clone, Copy, Debug)]
struct Home {
    life: LifeId,
    offset: u64,
    /// How far the machine's date was off.
    skew_ms: i64,
}

/// The agent saw a content cut.
#[derive(Clone, Copy, Debug)]
struct CutSeen {
    life: LifeId,
    /// So much of it the agent had seen.
    shown: u64,
    seen_ms: u64,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Breach(pub(crate) String);

/// See the module.
pub(crate) struct Oracle {
    /// Every line there is.
    pub(crate) lines: Lines,
    expect: Expect,
    told: Box<dyn Fn(&Path) -> Told>,
    lives: BTreeMap<LifeId, Life>,
    by_key: HashMap<FileKey, Vec<LifeId>>,
    fame: Vec<Fame>,
    /// Ends of pieces per target, which the next piece may continue.
    open: HashMap<usize, Vec<(LineId, u32)>>,
    /// First arrivals per target, home content and kind (dated or not), by place in the content.
    views: HashMap<(usize, LifeId, bool), BTreeMap<u64, View>>,
    unanswered: HashMap<CallId, Vec<Run>>,
    /// Since when the running process could work on everything (started, identity known).
    up_since_ms: Option<u64>,
    /// Since when no process runs.
    died_ms: Option<u64>,
    /// What the last process left on disk.
    left: Checkpoint,
    /// Before this the disk was full, or the process not there.
    saves_fail_until_ms: u64,
    /// When which checkpoint was written, as far back as the disk knows.
    saves: BTreeMap<u64, u64>,
    /// Content was destroyed which the agent had seen and could see destroyed.
    loss_to_count: Vec<CutSeen>,
    /// Markers that arrived, and the lost bytes they told of.
    told_lost: BTreeMap<(u64, String), u64>,
    /// Events the service refused.
    pub(crate) refused: u64,
    /// Events that arrived, duplicates included.
    pub(crate) arrived: u64,
    /// Arrivals beyond the first.
    pub(crate) duplicates: u64,
    now_ms: u64,
    /// How far the machine's date is off, and how far back it ever was.
    skew_ms: i64,
    skew_ms_min: i64,
}

impl Oracle {
    pub(crate) fn new(expect: Expect, told: Box<dyn Fn(&Path) -> Told>) -> Self {
        Self {
            lines: Lines::default(),
            expect,
            told,
            lives: BTreeMap::new(),
            by_key: HashMap::new(),
            fame: Vec::new(),
            open: HashMap::new(),
            views: HashMap::new(),
            unanswered: HashMap::new(),
            up_since_ms: None,
            died_ms: None,
            left: Checkpoint::default(),
            saves_fail_until_ms: 0,
            saves: BTreeMap::new(),
            loss_to_count: Vec::new(),
            told_lost: BTreeMap::new(),
            refused: 0,
            arrived: 0,
            duplicates: 0,
            now_ms: 0,
            skew_ms: 0,
            skew_ms_min: 0,
        }
    }

    /// The machine's date is set: by so much away from the truth.
    pub(crate) fn date_set(&mut self, skew_ms: i64) {
        self.skew_ms = skew_ms;
        self.skew_ms_min = self.skew_ms_min.min(skew_ms);
    }

    /// Time goes on.
    pub(crate) fn advance_to(&mut self, ms: u64) {
        self.now_ms = ms;
    }

    /// A writer wrote a line, or the part `from..to` of its text, with whatever ends it.
    pub(crate) fn written(
        &mut self,
        (life, offset): (LifeId, u64),
        bytes: u64,
        line: LineId,
        (from, to): (u32, u32),
    ) {
        if self.fame.len() < self.lines.count() {
            self.fame.resize_with(self.lines.count(), Fame::default);
        }
        let skew_ms = self.skew_ms;
        let fame = &mut self.fame[line.0 as usize];
        fame.home.get_or_insert(Home {
            life,
            offset,
            skew_ms,
        });
        fame.allowed = fame.allowed.max(1);
        if from != 0 || (to as usize) < self.lines.get(line).text.len() {
            self.lines.tear(line, from as usize);
            self.lines.tear(line, to as usize);
        }
        let now_ms = self.now_ms;
        if let Some((_, twin)) = self.life(life).twin.take_if(|(at, _)| *at == offset) {
            let text = self.lines.get(line).text.as_bytes();
            if text[from as usize..].starts_with(&twin) {
                let end = from + u32::try_from(twin.len()).expect("a line is short");
                arrive::merge(&mut self.fame[line.0 as usize].runs, (from, end));
            }
        }
        self.life(life).places.push(Place {
            start: offset,
            end: offset + bytes,
            line,
            from,
            to,
            written_ms: now_ms,
            owed: false,
        });
    }

    /// Follows the contents.
    pub(crate) fn files_changed(&mut self, fates: Vec<Fate>) {
        for fate in fates {
            match fate {
                Fate::Born { life, key, path } => self.born(life, key, path),
                Fate::Copied { from, to, bytes } => self.copied(from, to, bytes),
                Fate::Grown {
                    life,
                    bytes,
                    ending,
                } => {
                    let life = self.life(life);
                    life.length = bytes;
                    if ending == Ending::Ragged {
                        life.ragged.insert(bytes);
                    }
                }
                Fate::Cut(life) => self.gone(life, |_| false),
                Fate::CutSeen { life, shown } => self.loss_to_count.push(CutSeen {
                    life,
                    shown,
                    seen_ms: self.now_ms,
                }),
                Fate::Seen(life) => self.seen(life),
                Fate::Renamed { life, path } => {
                    self.life(life).path = path;
                    self.offer(life);
                }
                Fate::Readable { life, readable } => {
                    self.life(life).readable = readable;
                    self.offer(life);
                }
                Fate::Held(life) => self.life(life).presence = Presence::Held,
                Fate::Freed { life, by } => self.freed(life, by),
                Fate::Damaged { life, next, keep } => self.damaged(life, next, keep),
            }
        }
    }

    /// Nothing may be missing any more. Says what is.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (id, life) in &self.lives {
            for place in &life.places {
                if !self.is_settled(place) && self.is_owed(life, place) {
                    let line = self.lines.get(place.line);
                    missing.push(format!(
                        "stream {} line {} text {}..{} of {} at {}..{} of {} (life {}, {:?}, known {}), has {:?}: {}",
                        line.stream, line.number, place.from, place.to, line.text.len(), place.start,
                        place.end, life.path.display(), id.0, life.presence, life.known,
                        self.fame[place.line.0 as usize].runs, clip(&line.text),
                    ));
                }
            }
        }
        missing
    }

    /// Lines that stood below a directory, never arrived and are gone.
    pub(crate) fn destroyed(&self, below: &Path) -> usize {
        self.gone_from(below, |_, place| !self.is_settled(place))
    }

    /// Lines that stood below a directory and arrived, of which the next process knew nothing, since
    /// the last one was killed before it saved that, and they were gone by then.
    pub(crate) fn forgotten(&self, below: &Path) -> usize {
        let is_unsaved = |place: &Place| self.fame[place.line.0 as usize].is_unsaved;
        self.gone_from(below, |life, place| {
            life.went_unseen && self.is_settled(place) && is_unsaved(place)
        })
    }

    fn gone_from(&self, below: &Path, counts: impl Fn(&Life, &Place) -> bool) -> usize {
        let gone = self
            .lives
            .values()
            .filter(|life| life.presence == Presence::Gone && life.path.starts_with(below));
        let places = gone.flat_map(|life| life.places.iter().map(move |place| (life, place)));
        let counting = places.filter(|(life, place)| counts(life, place));
        let lines: BTreeSet<_> = counting.map(|(_, place)| place.line).collect();
        lines.len()
    }

    /// Bytes that were destroyed and that the agent must have counted as lost by now, and where they
    /// stood. What several contents held was lost once. `away`: a source's root that is not there.
    /// What the agent had found a copy of below it, and what went unseen with it, may come back with
    /// it (as a file system that is not mounted does): nothing can be concluded of that.
    pub(crate) fn countable_loss(&self, away: Option<&Path>) -> (u64, String) {
        let is_away = |life: &&Life| {
            let is_below = away.is_some_and(|root| life.path.starts_with(root));
            is_below && life.known && life.went_unseen
        };
        let away = self.lives.values().filter(is_away);
        let away = away.flat_map(|life| &life.places);
        let away: BTreeSet<_> = away.map(|place| (place.line, place.from)).collect();
        let mut lost = BTreeMap::new();
        let mut where_lost = String::new();
        for CutSeen {
            life: id,
            shown,
            seen_ms,
        } in &self.loss_to_count
        {
            let life = &self.lives[id];
            let seen = life.places.iter().filter(|place| place.end <= *shown);
            let is_lost = |place: &&Place| {
                !self.is_settled(place) && !away.contains(&(place.line, place.from))
            };
            let mut gone = seen.filter(is_lost).peekable();
            let Some(first) = gone.peek().copied() else {
                continue;
            };
            let mut total = 0;
            for place in gone {
                let bytes = place.end - place.start;
                lost.insert((place.line, place.from), bytes);
                total += bytes;
            }
            let line = self.lines.get(first.line);
            write!(
                where_lost,
                "\n  {total} of {} (life {}, seen with {shown} at {seen_ms} ms) from {} on (stream {} line {})",
                life.path.display(),
                id.0,
                first.start,
                line.stream,
                line.number
            )
            .expect("a string takes all");
        }
        (lost.values().sum(), where_lost)
    }

    /// Lost bytes that markers told of.
    pub(crate) fn told_lost(&self) -> u64 {
        self.told_lost.values().sum()
    }

    /// The persisted checkpoint never passes a byte the service has not answered for.
    pub(crate) fn check_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Breach> {
        let number = checkpoint.number;
        self.saves.insert(number, self.now_ms);
        // A record that is as it was before a power cut, beyond what that left, still speaks of what
        // stood there before: the agent has not looked inside.
        let is_former = |life: &Life| {
            let mut records = checkpoint.records.iter();
            let former = |settled| settled > life.inherited && life.former == Some(settled);
            records.any(|record| record.key == life.key && former(record.settled))
        };
        for life in self.lives.values_mut() {
            if life.seen_ms.is_some() && life.recorded.is_none() && !is_former(life) {
                life.recorded = Some(number);
            }
        }
        for record in &checkpoint.records {
            let Some(lives) = self.by_key.get(&record.key).cloned() else {
                return Err(Breach(format!(
                    "checkpoint of a file that never was: {record:?}"
                )));
            };
            let mut wrong = None;
            let fits = lives.iter().rev().any(|life| {
                let found = self.first_unsettled(*life, record.settled);
                wrong = wrong.take().or(found.clone());
                found.is_none()
            });
            if !fits && !record.rescued {
                return Err(Breach(format!(
                    "checkpoint passes an unsettled line: {} is at {} but {}",
                    record.path.display(),
                    record.settled,
                    wrong.unwrap_or_default()
                )));
            }
        }
        Ok(())
    }

    /// Why a checkpoint of this content at `settled` is wrong, if it is.
    fn first_unsettled(&mut self, id: LifeId, settled: u64) -> Option<String> {
        let life = &self.lives[&id];
        if settled > life.length && settled > 0 {
            return Some(format!("life {} has only {} bytes", id.0, life.length));
        }
        let mut at = life.verified;
        while let Some(place) = life.places.get(at)
            && place.end <= settled
        {
            if !self.is_settled(place) {
                let line = self.lines.get(place.line);
                return Some(format!(
                    "stream {} line {} at {}..{} has not arrived (life {})",
                    line.stream, line.number, place.start, place.end, id.0
                ));
            }
            at += 1;
        }
        self.life(id).verified = at;
        None
    }

    fn is_settled(&self, place: &Place) -> bool {
        let fame = &self.fame[place.line.0 as usize];
        let text = &self.lines.get(place.line).text.as_bytes();
        // A line of blanks is as good as an empty one.
        let blank = text[place.from as usize..place.to as usize]
            .trim_ascii()
            .is_empty();
        fame.refused
            || blank
            || fame
                .runs
                .iter()
                .any(|(from, to)| *from <= place.from && place.to <= *to)
    }

    fn life(&mut self, life: LifeId) -> &mut Life {
        self.lives.get_mut(&life).expect("the files told its birth")
    }

    fn freed(&mut self, life: LifeId, by: FreedBy) {
        match by {
            FreedBy::Unlink => {
                self.life(life).went_unseen = self.died_ms.is_some();
                let (now_ms, found_ms) = (self.now_ms, self.expect.found_ms);
                let since = self.up_since_ms.zip(self.life(life).offered_ms);
                self.gone(life, |place| {
                    since.is_some_and(|(up, offered)| {
                        up.max(offered).max(place.written_ms) + found_ms <= now_ms
                    })
                });
            }
            FreedBy::Agent => {
                let known = self.life(life).known;
                self.gone(life, |_| known);
                self.life(life).rescued = true;
            }
            // Decided in `process_ended`, which knows how it ended.
            FreedBy::Exit => {}
        }
    }

    fn gone(&mut self, id: LifeId, owed: impl Fn(&Place) -> bool) {
        let life = self.life(id);
        let told = life.offered_ms.is_some();
        life.presence = Presence::Gone;
        for place in &mut life.places {
            place.owed = told && owed(place);
        }
    }
}
