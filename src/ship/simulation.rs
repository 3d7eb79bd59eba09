//! The shipper against a service with moods, under a clock of our own: thousands of seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;

use crate::event::{Event, FileId, FileOrigin, Now, Offset, Origin, Span, Target};
use crate::ports::{
    Accepted, CallId, ErrorClass, GroupOptions, LogAnswer, LogCall, LogService, ServiceError,
};

use super::buffers::Buffers;
use super::ledger::{Ledger, Noted};
use super::{LIMIT_BYTES_MIN, Limits, Poison, Push, Shipper, Tally, TargetId};

/// Each event stands for so many bytes of its file.
const STRIDE: u64 = 10;

/// How a target is treated for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Fails(ErrorClass),
    /// Takes the events, then says it timed out.
    Doubtful,
    /// Events beyond the middle are refused one by one.
    Choosy,
}

struct Call {
    answer_at_ms: u64,
    id: CallId,
    call: LogCall,
    mood: Mood,
}

/// A log service in memory, strict about what it is asked.
struct Fake {
    now_ms: u64,
    rng: Rng,
    latency_ms: Range<u64>,
    calls: Vec<Call>,
    groups: BTreeSet<String>,
    streams: BTreeSet<Target>,
    moods: BTreeMap<Target, Mood>,
    /// What arrived, in order: target → texts.
    arrived: BTreeMap<Target, Vec<String>>,
    /// When which put was made, and of how many events.
    puts: Vec<(u64, Target, usize)>,
    creates: Vec<LogCall>,
}

impl Fake {
    fn new(seed: u64) -> Self {
        Self {
            now_ms: 0,
            rng: Rng::with_seed(seed),
            latency_ms: 1..60,
            calls: Vec::new(),
            groups: BTreeSet::new(),
            streams: BTreeSet::new(),
            moods: BTreeMap::new(),
            arrived: BTreeMap::new(),
            puts: Vec::new(),
            creates: Vec::new(),
        }
    }

    fn mood(&self, target: &Target) -> Mood {
        self.moods.get(target).copied().unwrap_or(Mood::Well)
    }

    fn exists(&mut self, target: &Target) {
        self.groups.insert(target.group.clone());
        self.streams.insert(target.clone());
    }

    fn put(&mut self, target: &Target, events: &[(i64, String)], mood: Mood) -> Answer {
        if let Mood::Fails(class) = mood {
            return Err(error(class));
        }
        if !self.streams.contains(target) {
            return Err(error(ErrorClass::MissingTarget));
        }
        if events.iter().any(|(_, text)| text.starts_with("poison")) {
            return Err(error(ErrorClass::Invalid));
        }
        let taken = match mood {
            Mood::Choosy => events.len() / 2,
            _ => events.len(),
        };
        let texts = events[..taken].iter().map(|(_, text)| text.clone());
        self.arrived
            .entry(target.clone())
            .or_default()
            .extend(texts);
        match mood {
            Mood::Doubtful => Err(error(ErrorClass::RetrySoon)),
            Mood::Choosy => Ok(Accepted {
                too_new_from: Some(taken),
                ..Accepted::default()
            }),
            _ => Ok(Accepted::default()),
        }
    }

    fn create(&mut self, call: &LogCall, mood: Mood) -> Answer {
        if let Mood::Fails(class) = mood {
            return Err(error(class));
        }
        let new = match call {
            LogCall::CreateStream(target) if !self.groups.contains(&target.group) => {
                return Err(error(ErrorClass::MissingTarget));
            }
            LogCall::CreateStream(target) => self.streams.insert(target.clone()),
            LogCall::CreateGroup(group, _) => self.groups.insert(group.clone()),
            LogCall::Put { .. } => unreachable!(),
        };
        match new {
            true => Ok(Accepted::default()),
            false => Err(error(ErrorClass::AlreadyExists)),
        }
    }

    fn next_answer_ms(&self) -> Option<u64> {
        self.calls.iter().map(|call| call.answer_at_ms).min()
    }
}

type Answer = Result<Accepted, ServiceError>;

fn error(class: ErrorClass) -> ServiceError {
    ServiceError {
        class,
        code: format!("{class:?}"),
        message: "for the test".to_owned(),
    }
}

fn target_of(call: &LogCall) -> Option<Target> {
    match call {
        LogCall::Put { batch, .. } => Some(Target::clone(&batch.target)),
        LogCall::CreateStream(target) => Some(target.clone()),
        LogCall::CreateGroup(..) => None,
    }
}

/// The events of a request; it must be legal.
fn events_of(body: &[u8]) -> Vec<(i64, String)> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let events: Vec<(i64, String)> = body["logEvents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let text = event["message"].as_str().unwrap().to_owned();
            (event["timestamp"].as_i64().unwrap(), text)
        })
        .collect();
    assert!((1..=10_000).contains(&events.len()));
    assert!(events.iter().map(|event| event.1.len() + 26).sum::<usize>() <= 1_048_576);
    assert!(events.is_sorted_by_key(|event| event.0));
    assert!(events[events.len() - 1].0 - events[0].0 < 86_400_000);
    events
}

impl LogService for Fake {
    fn submit(&mut self, id: CallId, call: LogCall) {
        let target = target_of(&call);
        if let Some(target) = &target {
            let busy = self
                .calls
                .iter()
                .any(|call| target_of(&call.call).as_ref() == Some(target));
            assert!(!busy, "two calls under way for one target");
        }
        match &call {
            LogCall::Put { batch, range } => {
                self.puts
                    .push((self.now_ms, Target::clone(&batch.target), range.len()));
            }
            LogCall::CreateStream(target) => {
                self.creates.push(LogCall::CreateStream(target.clone()));
            }
            LogCall::CreateGroup(group, options) => {
                let twice = self.calls.iter().any(
                    |call| matches!(&call.call, LogCall::CreateGroup(other, _) if other == group),
                );
                assert!(!twice, "one group is being created twice");
                self.creates
                    .push(LogCall::CreateGroup(group.clone(), options.clone()));
            }
        }
        let mood = target.map_or(Mood::Well, |target| self.mood(&target));
        let answer_at_ms = self.now_ms + self.rng.u64(self.latency_ms.clone());
        self.calls.push(Call {
            answer_at_ms,
            id,
            call,
            mood,
        });
        let creates = self
            .calls
            .iter()
            .filter(|call| !matches!(call.call, LogCall::Put { .. }));
        assert!(creates.count() <= 2);
        assert!(self.calls.len() <= 8);
    }

    fn answer(&mut self) -> Option<LogAnswer> {
        let at = self
            .calls
            .iter()
            .position(|call| call.answer_at_ms <= self.now_ms)?;
        let Call { id, call, mood, .. } = self.calls.remove(at);
        Some(match call {
            LogCall::Put { batch, range } => {
                let events = match mood {
                    Mood::Fails(class) if class != ErrorClass::Invalid => Vec::new(),
                    _ => events_of(&batch.body_of(range)),
                };
                let result = self.put(&Target::clone(&batch.target), &events, mood);
                LogAnswer {
                    id,
                    batch: Some(batch),
                    result,
                }
            }
            create => LogAnswer {
                id,
                batch: None,
                result: self.create(&create, mood),
            },
        })
    }
}

/// A file whose events go to one target.
struct Log {
    id: TargetId,
    target: Target,
    file: FileId,
    origin: Arc<FileOrigin>,
    /// Time and text; the n-th stands for the n-th [`STRIDE`] of bytes.
    events: Vec<(i64, String)>,
}

/// The shipper and all around it, as the agent would drive it.
struct World {
    limits: Limits,
    shipper: Shipper,
    ledger: Ledger,
    fake: Fake,
    now: Now,
    logs: Vec<Log>,
    tallies: BTreeMap<Arc<str>, Tally>,
    rejected: Vec<Poison>,
    /// Most events pushed of one file in one turn.
    turn_max: usize,
    given_back: usize,
    /// Whether a turn ended with more to read at once.
    more: bool,
    /// Logs that wait for memory: they are not read before their target is woken.
    asleep: BTreeSet<usize>,
    /// Logs that were woken and not read since.
    woken: BTreeSet<usize>,
    /// Events taken, calls under way, and calls made.
    done: (u64, usize, usize),
    /// Turns in a row that asked for the next at once and did nothing.
    vain: u32,
}

impl World {
    fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            shipper: Shipper::new(limits, seed),
            ledger: Ledger::new(),
            fake: Fake::new(seed),
            now: Now {
                mono_ms: 10_000,
                wall_ms: 1_700_000_000_000,
            },
            logs: Vec::new(),
            tallies: BTreeMap::new(),
            rejected: Vec::new(),
            turn_max: 1_000,
            given_back: 0,
            more: false,
            asleep: BTreeSet::new(),
            woken: BTreeSet::new(),
            done: (0, 0, 0),
            vain: 0,
        }
    }

    /// A file with these events, of a target of its own or of one that others have too.
    fn log(&mut self, target: Target, events: Vec<(i64, String)>) {
        let file = FileId(self.logs.len() as u32);
        self.ledger.open(file, Offset(0));
        self.logs.push(Log {
            id: self.shipper.target(target.clone(), GroupOptions::default()),
            target,
            file,
            origin: Arc::new(FileOrigin {
                source: format!("source-{}", file.0).into(),
                path: std::path::Path::new("/var/log/x").into(),
            }),
            events,
        });
    }

    /// The same, of a target that exists.
    fn existing_log(&mut self, nth: usize, events: Vec<(i64, String)>) {
        self.fake.exists(&target(nth));
        self.log(target(nth), events);
    }

    /// One turn of the loop: the agent's order.
    fn turn(&mut self) {
        self.fake.now_ms = self.now.mono_ms;
        self.shipper.step(self.now, &mut self.fake);
        for settled in self.shipper.take_settled() {
            for ack in settled.acks {
                let noted = self.ledger.settle(ack);
                assert!(matches!(noted, Noted::File(_)));
            }
            for tally in settled.tallies {
                let sum = self
                    .tallies
                    .entry(Arc::clone(&tally.source))
                    .or_insert_with(|| Tally {
                        source: Arc::clone(&tally.source),
                        events: 0,
                        bytes: 0,
                        refused: crate::event::Refusals::default(),
                    });
                sum.events += tally.events;
                sum.bytes += tally.bytes;
                sum.refused.too_new += tally.refused.too_new;
                sum.refused.invalid += tally.refused.invalid;
            }
        }
        for origin in self.shipper.take_returned() {
            let Origin::File(span) = origin else {
                panic!("no markers here")
            };
            self.given_back += 1;
            let read = self.ledger.read(span.file).unwrap();
            self.ledger.rewind(span.file, span.start.min(read));
        }
        self.rejected.extend(self.shipper.take_rejected());
        self.more = false;
        let before = self.done;
        self.wake();
        for nth in 0..self.logs.len() {
            if !self.asleep.contains(&nth) {
                self.woken.remove(&nth);
                self.read(nth);
                self.pass_on(&self.logs[nth].id.clone());
                // Who had its turn already is woken for another.
                self.more |= self.wake().is_some_and(|first| first <= nth);
            }
        }
        assert!(self.shipper.held_bytes() <= self.limits.batch_bytes_max.max(LIMIT_BYTES_MIN));
        self.done.1 = self.fake.calls.len();
        self.done.2 = self.fake.puts.len() + self.fake.creates.len();
        self.vain = match self.more && self.done == before {
            true => self.vain + 1,
            false => 0,
        };
        assert!(
            self.vain < 20,
            "a busy loop: {:?} {:?} due {:?} now {} asleep {:?} more {}",
            self.shipper.memory,
            self.shipper
                .lanes
                .iter()
                .flatten()
                .map(|l| (l.weight, l.step, l.flight, l.expected))
                .collect::<Vec<_>>(),
            self.shipper.next_due(),
            self.now.mono_ms,
            self.asleep,
            self.more
        );
    }

    /// Wakes the logs whose target may ask again; the first of them.
    fn wake(&mut self) -> Option<usize> {
        let mut first = None;
        while let Some(target) = self.shipper.next_woken(self.now) {
            let sleeping = self.asleep.iter().copied();
            let woken = sleeping.filter(|nth| self.logs[*nth].id == target);
            for nth in woken.collect::<Vec<_>>() {
                self.asleep.remove(&nth);
                self.woken.insert(nth);
                first = first.into_iter().chain([nth]).min();
            }
            self.pass_on(&target);
        }
        first
    }

    fn pass_on(&mut self, target: &TargetId) {
        if !self.woken.iter().any(|nth| self.logs[*nth].id == *target) {
            self.shipper.decline(target);
        }
    }

    fn read(&mut self, nth: usize) {
        let log = &self.logs[nth];
        for _ in 0..self.turn_max {
            let at = (self.ledger.read(log.file).unwrap().0 / STRIDE) as usize;
            let Some((time_ms, text)) = log.events.get(at) else {
                return self.shipper.reached_end(&log.id);
            };
            let unread = (log.events.len() - at) as u64 * text.len() as u64;
            if self.shipper.room(&log.id, unread, self.now).is_none() {
                return self.wait(nth);
            }
            let start = Offset(at as u64 * STRIDE);
            let span = Span {
                file: log.file,
                start,
                end: Offset(start.0 + STRIDE),
            };
            self.ledger.enter(span);
            let event = Event {
                time_ms: *time_ms,
                text: text.as_str().into(),
                origin: Origin::File(span),
            };
            match self.shipper.push(&log.id, event, &log.origin, self.now) {
                Push::Taken => self.done.0 += 1,
                Push::Full(event) => {
                    assert_eq!(event.origin, Origin::File(span));
                    self.ledger.rewind(log.file, start);
                    return self.wait(nth);
                }
            }
        }
        self.more = true;
    }

    fn wait(&mut self, nth: usize) {
        if self.shipper.waits(&self.logs[nth].id) {
            self.asleep.insert(nth);
        }
    }

    /// Goes to the next moment at which anything can happen, at most `most_ms` on.
    fn advance(&mut self, most_ms: u64) {
        let next = self
            .shipper
            .next_due()
            .into_iter()
            .chain(self.fake.next_answer_ms())
            .min();
        let most_ms = if self.more { 1 } else { most_ms };
        let next_ms = next
            .unwrap_or(u64::MAX)
            .clamp(self.now.mono_ms + 1, self.now.mono_ms + most_ms);
        self.now.wall_ms += (next_ms - self.now.mono_ms) as i64;
        self.now.mono_ms = next_ms;
    }

    fn is_done(&self) -> bool {
        self.logs.iter().all(|log| {
            self.ledger.settled(log.file) == Some(Offset(log.events.len() as u64 * STRIDE))
        })
    }

    /// Runs until all is settled. It must come to that by itself: time goes only from one moment
    /// the shipper asked for to the next, or to the next answer.
    fn drain(&mut self) {
        let end_ms = self.now.mono_ms + 3_600_000;
        self.turn();
        while !self.is_done() {
            assert!(
                self.now.mono_ms < end_ms,
                "stuck: {:?}",
                self.shipper.problems()
            );
            self.advance(3_600_000);
            self.turn();
        }
    }

    fn set_mood(&mut self, nth: usize, mood: Mood) {
        self.fake.moods.insert(self.logs[nth].target.clone(), mood);
    }
}

fn target(nth: usize) -> Target {
    Target {
        group: format!("/group/{}", nth % 3),
        stream: format!("stream-{nth}"),
    }
}

fn lines(nth: usize, count: usize, bytes: usize) -> Vec<(i64, String)> {
    let line = |at| {
        (
            1_700_000_000_000 + at as i64,
            format!("{nth}-{at}-{}", "x".repeat(bytes)),
        )
    };
    (0..count).map(line).collect()
}

const MOODS: [Mood; 9] = [
    Mood::Well,
    Mood::Well,
    Mood::Fails(ErrorClass::RetrySoon),
    Mood::Fails(ErrorClass::Throttled),
    Mood::Fails(ErrorClass::RetrySlowly),
    Mood::Fails(ErrorClass::AlreadyAccepted),
    Mood::Fails(ErrorClass::MissingTarget),
    Mood::Doubtful,
    Mood::Choosy,
];

/// Builds a world out of a seed, lets moods change for a while, then lets all be well and drains.
fn live(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let limits = Limits {
        batch_bytes_max: LIMIT_BYTES_MIN,
        calls_max: rng.usize(1..=8),
        flush_interval_ms: rng.u64(0..2_000),
        linger_ms: rng.u64(0..50),
        ..Limits::default()
    };
    let mut world = World::new(limits, seed);
    world.turn_max = rng.usize(1..200);
    world.fake.latency_ms = 1..rng.u64(2..3_000);
    for nth in 0..rng.usize(1..12) {
        let mut time_ms = 1_700_000_000_000_i64;
        let events = (0..rng.usize(0..150)).map(|at| {
            time_ms += match rng.u8(0..20) {
                0 => rng.i64(-100_000_000..100_000_000),
                1 => rng.i64(-9..0),
                _ => rng.i64(0..9),
            };
            let kind = if rng.u8(0..60) == 0 { "poison" } else { "line" };
            (
                time_ms,
                format!("{kind}-{nth}-{at}-{}", "\t".repeat(rng.usize(0..300))),
            )
        });
        let events = events.collect();
        // Now and then two files share a target.
        let place = if rng.u8(0..4) == 0 { nth / 2 } else { nth };
        world.log(target(place), events);
        if rng.bool() {
            world.fake.exists(&target(place));
        }
    }
    for _ in 0..rng.usize(0..60) {
        let (nth, mood) = (
            rng.usize(0..world.logs.len()),
            MOODS[rng.usize(0..MOODS.len())],
        );
        world.set_mood(nth, mood);
        for _ in 0..rng.usize(1..10) {
            world.turn();
            world.advance(rng.u64(1..5_000));
        }
    }
    world.fake.moods.clear();
    world.drain();
    world
}

/// Whatever the service does, in the end every event is settled exactly once: delivered, refused
/// and counted, or in the dead letter; the memory bound holds at every step, no target has two
/// calls, requests are legal (all asserted on the way); and nothing waits for a wake-up that never
/// comes, since time only goes where the shipper asked to be called.
#[test]
fn everything_is_settled_once() {
    for seed in 0..300 {
        let world = live(seed);
        assert!(world.shipper.is_idle(), "seed {seed}");
        for log in &world.logs {
            let Some(tally) = world.tallies.get(&log.origin.source) else {
                assert!(log.events.is_empty());
                continue;
            };
            let counted = tally.events + tally.refused.total();
            assert_eq!(counted, log.events.len() as u64, "seed {seed}");
            let poison = log
                .events
                .iter()
                .filter(|event| event.1.starts_with("poison"))
                .count();
            let dead = world
                .rejected
                .iter()
                .filter(|poison| poison.file == log.origin)
                .count();
            assert!(dead <= poison, "seed {seed}: {dead} of {poison}");
            assert_eq!(dead as u64, tally.refused.invalid, "seed {seed}");
        }
    }
}

/// Same seed, same life: two runs make the same calls at the same times.
#[test]
fn it_is_deterministic() {
    for seed in 0..15 {
        assert_eq!(live(seed).fake.puts, live(seed).fake.puts);
    }
}

/// Order is kept per file and each line arrives exactly once when no answer is in doubt: files
/// with rising times under failures of all kinds that lose nothing and refuse nothing.
#[test]
fn order_is_kept_and_nothing_comes_twice() {
    for seed in 0..150 {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(Limits::default(), seed);
        for nth in 0..rng.usize(1..8) {
            world.log(target(nth), lines(nth, rng.usize(1..400), 10));
        }
        world.turn_max = rng.usize(1..100);
        for _ in 0..rng.usize(0..40) {
            let mood = Mood::Fails(match rng.u8(0..4) {
                0 => ErrorClass::RetrySoon,
                1 => ErrorClass::Throttled,
                2 => ErrorClass::RetrySlowly,
                _ => ErrorClass::MissingTarget,
            });
            let nth = rng.usize(0..world.logs.len());
            world.set_mood(nth, if rng.bool() { mood } else { Mood::Well });
            world.turn();
            world.advance(2_000);
        }
        world.fake.moods.clear();
        world.drain();
        for log in &world.logs {
            let texts: Vec<String> = log.events.iter().map(|event| event.1.clone()).collect();
            assert_eq!(world.fake.arrived[&log.target], texts, "seed {seed}");
        }
    }
}

/// The same under want of memory: more targets than fit, many of them failing, so that batches
/// are dissolved and read again. Each line still arrives once and in order.
#[test]
fn dissolved_batches_lose_nothing() {
    let mut given_back = 0;
    for seed in 0..2 {
        let limits = Limits {
            batch_bytes_max: LIMIT_BYTES_MIN,
            ..Limits::default()
        };
        let mut world = World::new(limits, seed);
        for nth in 0..150 {
            // Days lie between some lines, so that a target has many small batches.
            let mut events = lines(nth, 400, 200);
            for (at, event) in events.iter_mut().enumerate() {
                event.0 += (at / 40) as i64 * 100_000_000;
            }
            world.existing_log(nth, events);
        }
        let mut rng = Rng::with_seed(seed);
        for _ in 0..20 {
            for _ in 0..50 {
                let mood = match rng.bool() {
                    true => Mood::Fails(ErrorClass::RetrySoon),
                    false => Mood::Well,
                };
                world.set_mood(rng.usize(0..150), mood);
            }
            for _ in 0..6 {
                world.turn();
                world.advance(500);
            }
        }
        world.fake.moods.clear();
        world.drain();
        given_back += world.given_back;
        for log in &world.logs {
            let texts: Vec<String> = log.events.iter().map(|event| event.1.clone()).collect();
            assert_eq!(world.fake.arrived[&log.target], texts, "seed {seed}");
        }
    }
    assert!(given_back > 0, "this test needs want of memory");
}

/// A target gives back its newest batch first, so that what is left is still a beginning without a
/// gap; and what is under way is never given back.
#[test]
fn the_newest_batch_is_given_back_first() {
    let mut world = World::new(Limits::default(), 1);
    let mut events = lines(0, 200, 5);
    for (at, event) in events.iter_mut().enumerate() {
        event.0 += (at / 40) as i64 * 100_000_000;
    }
    world.log(target(0), events);
    world.fake.latency_ms = 500..501;
    world.turn();
    world.advance(100);
    world.turn();
    assert_eq!(world.fake.calls.len(), 1);
    let lane = world.shipper.lanes[0].as_mut().unwrap();
    let mut starts = Vec::new();
    while let Some((origins, _)) = lane.dissolve_newest() {
        let Origin::File(span) = origins[0] else {
            panic!()
        };
        starts.push(span.start.0 / STRIDE);
    }
    assert_eq!(starts, [160, 120, 80, 40]);
    assert!(lane.dissolvable_bytes().is_none() && !lane.is_empty());
}

/// A small batch that waits for its time is not given back to those who wait for a full one's memory:
/// it would not help them, and its bytes would be read and given back again and again.
#[test]
fn what_helps_nobody_is_not_given_back() {
    let mut world = World::new(Limits::default(), 1);
    world.existing_log(0, lines(0, 1, 20));
    world.set_mood(0, Mood::Fails(ErrorClass::Throttled));
    for _ in 0..10 {
        world.turn();
        world.advance(1_000);
    }
    world.fake.moods.clear();
    world.drain();
    world.fake.latency_ms = 20_000..20_001;
    for nth in 1..9 {
        world.existing_log(nth, lines(nth, 5_000, 200));
    }
    world.logs[0].events = lines(0, 5, 20);
    for _ in 0..20 {
        world.turn();
        world.advance(10);
    }
    let waits = world.shipper.lanes[0]
        .as_ref()
        .and_then(|lane| lane.waits_until_ms(&world.limits, world.now));
    assert!(waits.is_some() && world.shipper.memory.is_short());
    assert_eq!(world.given_back, 0);
    world.drain();
}

/// While nothing can be delivered, backlogs are not read over and over: what is given back to make room
/// for another's try is less than what is tried. Few and many targets, long and short files, calls that
/// end late and at once.
#[test]
fn an_outage_is_waited_out_at_rest() {
    for (targets, count, bytes, latency_ms) in [
        (6, 5_000, 200, 10_000),
        (20, 500, 200, 10_000),
        (20, 5_000, 200, 50),
        (60, 50, 1_000, 30_000),
        (300, 5_000, 200, 5_000),
    ] {
        let mut world = World::new(Limits::default(), 7);
        world.fake.latency_ms = latency_ms..latency_ms + 1;
        for nth in 0..targets {
            world.existing_log(nth, lines(nth, count, bytes));
            world.set_mood(nth, Mood::Fails(ErrorClass::RetrySoon));
        }
        let mut before = (0, 0);
        let work = |world: &World| (world.given_back, world.fake.puts.len());
        while world.now.mono_ms < 90_000 {
            if world.now.mono_ms < 60_000 {
                before = work(&world);
            }
            world.turn();
            world.advance(1_000);
        }
        let after = work(&world);
        let (given_back, tried) = (after.0 - before.0, after.1 - before.1);
        assert!(tried > 0, "{targets} targets: nothing is tried");
        assert!(
            given_back <= tried,
            "{targets} targets of {count} lines: {given_back} given back for {tried} tries"
        );
    }
}

/// A target whose trouble has ended is served when its next try is due, however many others have
/// backlogs: it need not wait until they are done.
#[test]
fn a_mended_target_is_served_beside_backlogs() {
    for class in [
        ErrorClass::RetrySoon,
        ErrorClass::RetrySlowly,
        ErrorClass::Throttled,
    ] {
        let mut world = World::new(Limits::default(), 7);
        world.turn_max = 10_000;
        world.fake.latency_ms = 4_000..5_000;
        world.existing_log(0, lines(0, 5_000, 200));
        world.set_mood(0, Mood::Fails(class));
        for nth in 1..=20 {
            world.existing_log(nth, lines(nth, 33_000, 200));
        }
        while world.now.mono_ms < 20_000 {
            world.turn();
            world.advance(10);
        }
        world.fake.moods.clear();
        for call in &mut world.fake.calls {
            call.mood = Mood::Well;
        }
        let pace = &world.shipper.lanes[0].as_ref().unwrap().pace;
        let due_ms = pace.retry_at_ms().unwrap().max(world.now.mono_ms);
        while !world.fake.arrived.contains_key(&target(0)) {
            assert!(world.now.mono_ms < due_ms + 10_000, "{class:?}: {due_ms}");
            world.turn();
            world.advance(100);
        }
        assert!(!world.is_done(), "this test needs others that are not done");
    }
}

/// Targets that throttling slowed down hold a little each, more than there is room for: it is not taken
/// from one that must wait for another that must.
#[test]
fn the_slow_do_not_rob_the_slow() {
    for backlogs in [0, 10] {
        let slow = if backlogs == 0 { 6_000 } else { 400 };
        let mut world = World::new(Limits::default(), 7);
        for nth in 0..slow {
            world.existing_log(nth, lines(nth, 1, 20));
        }
        world.drain();
        world.fake.latency_ms = 20_000..20_001;
        for nth in slow..slow + backlogs {
            world.existing_log(nth, lines(nth, 5_000, 200));
        }
        for _ in 0..20 {
            world.turn();
            world.advance(10);
        }
        for nth in 0..slow {
            let lane = world.shipper.lanes[nth].as_mut().unwrap();
            lane.pace.put(world.now);
            (0..4).for_each(|_| lane.pace.slow_down());
            world.logs[nth].events.extend(lines(nth, 1, 1_500));
        }
        let start_ms = world.now.mono_ms;
        while world.now.mono_ms < start_ms + 3_000 {
            world.turn();
            world.advance(1_000);
        }
        assert!(
            world.shipper.memory.is_short(),
            "this test needs want of memory"
        );
        assert_eq!(world.given_back, 0, "{slow} slow ones, {backlogs} backlogs");
    }
}

/// A target that can send keeps at least 9 tenths of its throughput beside a hundred that cannot
/// and whose files are long too, once it is known that they cannot.
#[test]
fn failing_targets_cost_others_nothing() {
    let run = |failing: usize| {
        let mut world = World::new(Limits::default(), 7);
        world.fake.latency_ms = 90..110;
        world.log(target(0), lines(0, 8_000, 10_000));
        for nth in 1..=failing {
            world.log(target(nth), lines(nth, 200, 10_000));
            let class = [ErrorClass::RetrySoon, ErrorClass::RetrySlowly][nth % 2];
            world.set_mood(nth, Mood::Fails(class));
        }
        for nth in 0..=failing {
            world.fake.exists(&target(nth));
        }
        let arrived = |world: &World| world.fake.arrived.get(&target(0)).map_or(0, Vec::len);
        let mut before = 0;
        while world.now.mono_ms < 18_000 {
            if world.now.mono_ms < 13_000 {
                before = arrived(&world);
            }
            world.turn();
            world.advance(10);
        }
        arrived(&world) - before
    };
    let (alone, beside) = (run(0), run(100));
    assert!(alone > 4_000, "{alone}");
    assert!(beside * 10 >= alone * 9, "{beside} of {alone}");
}

/// After quiet the first event leaves within the linger; while events keep coming there is at most
/// one request an interval.
#[test]
fn first_at_once_then_one_an_interval() {
    let mut world = World::new(Limits::default(), 1);
    world.fake.exists(&target(0));
    world.turn_max = 1;
    world.log(target(0), lines(0, 1_000, 20));
    let start_ms = world.now.mono_ms;
    for _ in 0..1_000 {
        world.turn();
        world.advance(10);
    }
    let puts: Vec<u64> = world.fake.puts.iter().map(|put| put.0).collect();
    assert!(puts[0] <= start_ms + 30, "{puts:?}");
    assert!(
        puts.windows(2).all(|pair| pair[1] >= pair[0] + 1_000),
        "{puts:?}"
    );
    let span_ms = world.now.mono_ms - start_ms;
    assert!(
        puts.len() as u64 >= span_ms / 1_100,
        "{puts:?} in {span_ms}"
    );
}

/// A long file leaves in full batches, one after the other without waiting for the interval.
#[test]
fn a_backlog_leaves_in_full_batches() {
    let mut world = World::new(Limits::default(), 1);
    world.existing_log(0, lines(0, 50_000, 200));
    world.drain();
    let put: usize = world.fake.puts.iter().map(|put| put.2).sum();
    let full = (1_048_576 / (200 + 26 + 8)) * 9 / 10;
    assert_eq!(put, 50_000);
    let small = world.fake.puts.iter().filter(|put| put.2 < full).count();
    assert!(small <= 2, "{:?}", world.fake.puts);
    let last_ms = world.fake.puts.iter().map(|put| put.0).max();
    assert!(last_ms < Some(10_000 + 3_000), "{:?}", world.fake.puts);
}

/// The ends of many files do not wait for each other: what is left of each when it has been read
/// would, one after the other, take up memory for an interval that the next ones need. Shown by
/// the time for files with half-full ends, with smaller ones, and for many with small ones.
#[test]
fn many_ends_leave_together() {
    for (files, count) in [(64, 7_000), (64, 5_500), (300, 5_500)] {
        let mut world = World::new(Limits::default(), 1);
        for nth in 0..files {
            world.existing_log(nth, lines(nth, count, 200));
        }
        world.drain();
        let took_ms = world.now.mono_ms - 10_000;
        let most_ms = files as u64 * 1_500 / 64 + 2_000;
        assert!(took_ms < most_ms, "{files} files of {count}: {took_ms} ms");
    }
}

/// Hundreds of backlogs leave in as few requests as each would alone, none waits for ever, and none
/// waits while there is memory: five at a time have a full batch's. Files of one batch and a rest.
#[test]
fn many_backlogs_leave_in_full_batches() {
    let mut world = World::new(Limits::default(), 1);
    for nth in 0..200 {
        world.existing_log(nth, lines(nth, 5_000, 200));
    }
    world.turn_max = 100_000;
    world.drain();
    assert_eq!(world.fake.puts.len(), 400);
    let full = world.fake.puts.iter().filter(|put| put.2 > 4_000).count();
    assert_eq!(full, 200);
}

/// The same where batches have many pieces, since two files of a target take turns: the little more
/// that a batch needs for them is there, whoever waits.
#[test]
fn many_pieces_leave_in_full_batches() {
    let mut world = World::new(Limits::default(), 1);
    for nth in 0..100 {
        world.existing_log(nth / 2, lines(nth, 2_500, 200));
    }
    world.turn_max = 100;
    world.drain();
    let puts = world.fake.puts.len();
    assert!((100..=150).contains(&puts), "{puts} requests");
}

/// Two files of a target, of which one asks for more than its target may have and the other for what
/// others have: neither costs the other its place, and both sleep until something changes.
#[test]
fn files_of_a_target_wait_beside_each_other() {
    let limits = Limits {
        target_bytes_max: 1_000_000,
        ..Limits::default()
    };
    let mut world = World::new(limits, 1);
    world.fake.latency_ms = 20_000..20_001;
    for nth in 0..8 {
        world.existing_log(nth, lines(nth, 5_000, 200));
    }
    for _ in 0..10 {
        world.turn();
        world.advance(1_000);
    }
    world.existing_log(8, lines(8, 10, 50));
    world.turn();
    world.advance(100);
    world.logs[8].events = lines(8, 100, 100);
    world.log(target(8), lines(9, 5_000, 200));
    for _ in 0..100 {
        world.turn();
        world.advance(10);
    }
    assert!([8, 9].iter().all(|nth| world.asleep.contains(nth)));
    world.drain();
}

/// Beside hundreds of backlogs a new line leaves within a second.
#[test]
fn a_new_line_does_not_wait_for_backlogs() {
    let mut world = World::new(Limits::default(), 1);
    for nth in 0..300 {
        world.existing_log(nth, lines(nth, 5_000, 200));
    }
    let nth = world.logs.len();
    world.existing_log(nth, Vec::new());
    for _ in 0..40 {
        world.turn();
        world.advance(10);
    }
    let at_ms = world.now.mono_ms;
    world.logs[nth].events = lines(nth, 1, 20);
    while !world.fake.arrived.contains_key(&target(nth)) {
        world.turn();
        world.advance(10);
    }
    let took_ms = world.now.mono_ms - at_ms;
    assert!(took_ms < 500, "{took_ms} ms");
    assert!(!world.is_done(), "the backlogs are still there");
}

/// Many targets of one missing group: the group is created once, each stream once, never more than
/// two creations at a time (the fake asserts that), and all arrives.
#[test]
fn a_group_is_created_once() {
    let mut world = World::new(Limits::default(), 3);
    for nth in 0..60 {
        world.log(
            Target {
                group: "/new".to_owned(),
                stream: nth.to_string(),
            },
            lines(nth, 3, 5),
        );
    }
    world.drain();
    let groups = world
        .fake
        .creates
        .iter()
        .filter(|call| matches!(call, LogCall::CreateGroup(..)));
    assert_eq!(groups.count(), 1);
    assert!(world.fake.arrived.values().all(|texts| texts.len() == 3));
}

/// When creating is forbidden and somebody else creates the target, events go there: the next try
/// begins with them.
#[test]
fn somebody_else_may_create_the_target() {
    let mut world = World::new(Limits::default(), 3);
    world.log(target(0), lines(0, 3, 5));
    world.fake.groups.insert(target(0).group);
    for _ in 0..30 {
        let creating = world
            .fake
            .calls
            .iter()
            .any(|call| matches!(call.call, LogCall::CreateStream(_)));
        if creating {
            for call in &mut world.fake.calls {
                call.mood = Mood::Fails(ErrorClass::RetrySlowly);
            }
        }
        world.turn();
        world.advance(1_000);
    }
    assert_eq!(world.shipper.problems().len(), 1);
    world.fake.exists(&target(0));
    world.drain();
    assert_eq!(world.fake.arrived[&target(0)].len(), 3);
}

/// Guilty events are found and rejected, the others arrive: a row longer than the suspicion's
/// first bound among good events takes a slow retry or two, and is got over.
#[test]
fn a_row_of_poison_is_got_over() {
    for row in [1, 7, 8, 9, 30] {
        let mut world = World::new(Limits::default(), 5);
        let mut events = lines(0, 200, 5);
        for event in &mut events[20..20 + row] {
            event.1 = format!("poison \"{}\"", event.1);
        }
        let good = events.iter().filter(|event| !event.1.starts_with("poison"));
        let good: Vec<String> = good.map(|event| event.1.clone()).collect();
        world.log(target(0), events);
        world.drain();
        assert_eq!(world.fake.arrived[&target(0)], good, "row of {row}");
        assert_eq!(world.rejected.len(), row);
        assert!(world.rejected[0].message.starts_with("poison \\\"0-20"));
        assert!(world.shipper.problems().is_empty());
    }
}

/// A target that refuses everything is suspected, not its events: nothing is rejected, it is said,
/// the calls are few, and once it is mended all arrives.
#[test]
fn a_misconfigured_target_keeps_its_events() {
    let mut world = World::new(Limits::default(), 5);
    world.existing_log(0, lines(0, 500, 5));
    world.set_mood(0, Mood::Fails(ErrorClass::Invalid));
    for _ in 0..3_000 {
        world.turn();
        world.advance(1_000);
    }
    assert!(world.rejected.is_empty());
    let problems = world.shipper.problems();
    assert!(problems[0].contains("suspected"), "{problems:?}");
    let minutes = (world.now.mono_ms - 10_000) / 60_000 + 1;
    let calls = world.fake.puts.len() as u64;
    assert!(
        calls < 1_000 + 600 * minutes,
        "{calls} calls in {minutes} min"
    );
    world.fake.moods.clear();
    world.drain();
    assert_eq!(world.fake.arrived[&target(0)].len(), 500);
}

/// The same with events that come one at a time: at most 63 are rejected in all, ever.
#[test]
fn a_trickle_to_a_misconfigured_target_is_kept() {
    let mut world = World::new(
        Limits {
            flush_interval_ms: 0,
            ..Limits::default()
        },
        5,
    );
    world.fake.exists(&target(0));
    world.turn_max = 1;
    world.log(target(0), lines(0, 300, 5));
    world.set_mood(0, Mood::Fails(ErrorClass::Invalid));
    for _ in 0..20_000 {
        world.turn();
        world.advance(1_000);
    }
    assert!(world.rejected.len() <= 63, "{}", world.rejected.len());
}

/// When an outage ends, targets in long backoff are served within seconds, not after it.
#[test]
fn an_outage_ends_for_all_at_once() {
    let mut world = World::new(Limits::default(), 9);
    for nth in 0..40 {
        world.existing_log(nth, lines(nth, 5, 5));
        world.set_mood(nth, Mood::Fails(ErrorClass::RetrySoon));
    }
    while world.now.mono_ms < 600_000 {
        world.turn();
        world.advance(1_000);
    }
    assert!(
        !world.shipper.problems().is_empty(),
        "a long outage is told"
    );
    world.fake.moods.clear();
    while world.fake.arrived.is_empty() {
        world.turn();
        world.advance(1_000);
    }
    let back_ms = world.now.mono_ms;
    world.drain();
    assert!(
        world.now.mono_ms - back_ms < 5_000,
        "{} ms",
        world.now.mono_ms - back_ms
    );
}

/// A world in which an open batch waits for a minute; five lines have gone.
fn with_long_interval() -> World {
    let limits = Limits {
        flush_interval_ms: 60_000,
        ..Limits::default()
    };
    let mut world = World::new(limits, 9);
    world.existing_log(0, lines(0, 1, 5));
    world.drain();
    world
}

/// Stopping does not wait for the interval: what is open leaves at once.
#[test]
fn closing_sends_what_is_open() {
    let mut world = with_long_interval();
    world.logs[0].events = lines(0, 5, 5);
    world.turn();
    world.shipper.close_open();
    let at_ms = world.now.mono_ms;
    world.drain();
    assert!(world.now.mono_ms - at_ms < 200);
    assert!(world.shipper.is_idle());
}

/// Ten thousand streams one after the other leave nothing behind but those still held, and an id
/// that is held works for ever.
#[test]
fn streams_of_the_past_are_forgotten() {
    let mut world = World::new(
        Limits {
            flush_interval_ms: 0,
            ..Limits::default()
        },
        9,
    );
    world.existing_log(0, lines(0, 1, 5));
    for nth in 1..10_000 {
        let id = world.shipper.target(target(nth), GroupOptions::default());
        assert!(world.shipper.room(&id, 9, world.now).is_some());
        drop(id);
        world.now.mono_ms += 1_000;
        if nth % 10 == 0 {
            world.turn();
        }
    }
    assert!(
        world.shipper.lanes.len() < 200,
        "{}",
        world.shipper.lanes.len()
    );
    assert!(world.shipper.statuses(world.now).len() < 200);
    world.logs[0].events = lines(0, 9, 5);
    world.drain();
    assert_eq!(world.fake.arrived[&target(0)].len(), 9);
}

/// A marker is acknowledged, given back when its batch is dissolved, and counted for no source.
#[test]
fn markers_come_back_too() {
    let mut world = World::new(Limits::default(), 1);
    world.existing_log(0, Vec::new());
    let log = &world.logs[0];
    let push = |shipper: &mut Shipper, now| {
        let event = Event {
            time_ms: 5,
            text: "9 bytes were lost".into(),
            origin: Origin::Marker(3),
        };
        assert!(matches!(
            shipper.push(&log.id, event, &log.origin, now),
            Push::Taken
        ));
    };
    push(&mut world.shipper, world.now);
    let open = world.shipper.lanes[0].as_mut().unwrap();
    let (origins, weight) = open.dissolve_newest().unwrap();
    world.shipper.memory.give_back(weight, Buffers::default());
    assert_eq!(
        (origins, world.shipper.held_bytes()),
        (vec![Origin::Marker(3)], 0)
    );
    push(&mut world.shipper, world.now);
    let settled = loop {
        world.now.mono_ms += 10;
        world.fake.now_ms = world.now.mono_ms;
        world.shipper.step(world.now, &mut world.fake);
        if let Some(settled) = world.shipper.take_settled().pop() {
            break settled;
        }
        assert!(world.now.mono_ms < 60_000);
    };
    assert_eq!(settled.acks[0].origin(), Origin::Marker(3));
    assert!(settled.tallies.is_empty());
}

/// An idle shipper holds nothing, not even buffers, and asks for no wake-up.
#[test]
fn idle_is_idle() {
    let mut world = World::new(Limits::default(), 1);
    world.existing_log(0, lines(0, 20_000, 200));
    world.drain();
    for _ in 0..3 {
        world.advance(60_000);
        world.turn();
    }
    assert_eq!(
        (world.shipper.held_bytes(), world.shipper.next_due()),
        (0, None)
    );
}

/// Another interval holds at once, also for a target that has sent already: shown with a line behind
/// one that left by an interval of a minute.
#[test]
fn another_interval_holds_at_once() {
    let mut world = with_long_interval();
    world.shipper.set_flush_interval_ms(1_000);
    world.logs[0].events = lines(0, 5, 5);
    let at_ms = world.now.mono_ms;
    world.drain();
    let took_ms = world.now.mono_ms - at_ms;
    assert!(took_ms < 2_000, "{took_ms} ms");
}
