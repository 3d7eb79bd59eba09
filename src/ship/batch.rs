//! Fills batches: events are encoded as they arrive, straight into a whole request body.
//!
//! A [`Builder`] is the open batch of a target. It knows the service's limits exactly and says
//! when an event must go into another batch ([`Builder::admits`]) and how much memory it needs
//! before it can take one ([`Builder::growth`]); memory is the [`Shipper`](super::Shipper)'s to
//! give. A batch doubles up to 32 KB and then gets a whole request's memory, so that a thousand
//! quiet targets stay small and a busy one is not copied more than 6 % of it.
//!
//! Invariants: a closed batch obeys every limit below, whatever came in (an event that alone is
//! over one gets a batch of its own, and the service's refusal finds it); its body is valid JSON
//! in the order of time, events of the same time in the order of arrival; its pieces are exactly
//! the origins that were pushed.

use std::ops::Range;
use std::sync::Arc;

use crate::event::{Batch, EpochMs, Event, FileOrigin, Origin, Piece, Slot, Span, Target};

use super::buffers::{Buffers, Growth, LARGE_BYTES, SPARE_BYTES, likely_body, size_for};
use super::encode::{
    ESCAPE_FACTOR_MAX, EVENT_OVERHEAD_BYTES_MAX, EventHead, escaped_len, message_of, push_escaped,
};

/// Most bytes of a batch: the messages as UTF-8 plus [`EVENT_BYTES`] for each (PutLogEvents,
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>).
pub const BATCH_BYTES_MAX: usize = 1_048_576;
/// What the service adds to each message when it counts (same page).
pub const EVENT_BYTES: usize = 26;
/// Most events of a batch (same page).
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// Longest message: it must fit a batch alone.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX - EVENT_BYTES;
/// Events of a batch lie closer together than 24 hours (same page: "cannot span more than").
pub const BATCH_SPAN_MS: i64 = 24 * 60 * 60 * 1000;

/// The body's first bytes, up to the group's name.
const GROUP_KEY: &[u8] = b"{\"logGroupName\":\"";
/// What stands between the group's and the stream's name.
const STREAM_KEY: &[u8] = b"\",\"logStreamName\":\"";
/// What stands between the stream's name and the first event.
const EVENTS_KEY: &[u8] = b"\",\"logEvents\":[";
/// What closes the body.
const TAIL: &[u8] = b"]}";

/// How a batch that is still empty begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the memory that what is known to come needs.
    Small,
    /// With a full batch's memory at once: the batch before was full, so this one will be.
    Large,
}

/// The open batch of a target.
#[derive(Debug)]
pub(crate) struct Builder {
    target: Arc<Target>,
    buffers: Buffers,
    body_head: u32,
    event_head: EventHead,
    pieces: Vec<Piece>,
    counted_bytes: usize,
    oldest_ms: EpochMs,
    newest_ms: EpochMs,
    order: Order,
    /// When it was opened, on the monotonic clock.
    pub(crate) opened_ms: u64,
}

/// Whether the events came in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Chronological,
    Mixed,
}

impl Builder {
    /// An empty batch, still without memory.
    pub(crate) fn new(target: Arc<Target>, opened_ms: u64) -> Self {
        Self {
            target,
            buffers: Buffers::default(),
            body_head: 0,
            event_head: EventHead::new(),
            pieces: Vec::new(),
            counted_bytes: 0,
            oldest_ms: EpochMs::MAX,
            newest_ms: 0,
            order: Order::Chronological,
            opened_ms,
        }
    }

    /// Memory held.
    pub(crate) fn weight(&self) -> usize {
        self.buffers.weight() + self.pieces.capacity() * size_of::<Piece>()
    }

    /// Whether no event has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffers.slots.is_empty()
    }

    /// Size so far, as the service counts it.
    pub(crate) fn counted_bytes(&self) -> usize {
        self.counted_bytes
    }

    /// How the next batch begins when this one closes because nothing more went in: another full
    /// one is likely, unless it was the span of time that was full.
    pub(crate) fn begin_of_next(&self) -> Begin {
        match self.counted_bytes >= BATCH_BYTES_MAX / 2
            || self.buffers.slots.len() >= BATCH_EVENTS_MAX / 2
        {
            true => Begin::Large,
            false => Begin::Small,
        }
    }

    /// Whether an event of usual size is likely to fit without more memory.
    pub(crate) fn has_spare(&self) -> bool {
        self.buffers.slots.len() < self.buffers.slots.capacity()
            && self.buffers.body.capacity() - self.buffers.body.len()
                >= EVENT_OVERHEAD_BYTES_MAX * 4
    }

    /// Whether the service's limits allow this event in this batch. An empty batch takes any.
    pub(crate) fn admits(&self, event: &Event<'_>) -> bool {
        let time_ms = sendable(event.time_ms);
        let span_ms = self.newest_ms.max(time_ms) - self.oldest_ms.min(time_ms);
        self.is_empty()
            || self.buffers.slots.len() < BATCH_EVENTS_MAX
                && self.counted_bytes + event.text.len() + EVENT_BYTES <= BATCH_BYTES_MAX
                && span_ms < BATCH_SPAN_MS
    }

    /// What memory is needed before this event fits; `None` when it fits now. So many bytes of the
    /// log are expected from here on.
    pub(crate) fn growth(
        &self,
        event: &Event<'_>,
        file: &Arc<FileOrigin>,
        expected: usize,
    ) -> Option<Growth> {
        let Buffers { body, slots } = &self.buffers;
        let room = body.capacity() - body.len();
        let fixed = EVENT_OVERHEAD_BYTES_MAX + TAIL.len();
        let slot_free = slots.len() < slots.capacity();
        let piece_free = self.pieces.len() < self.pieces.capacity();
        if slot_free && piece_free && room >= event.text.len() * ESCAPE_FACTOR_MAX + fixed {
            return None;
        }
        let head = if self.is_empty() {
            head_bytes(&self.target)
        } else {
            0
        };
        let exact = head + escaped_len(&event.text) + fixed;
        let pieces = self.pieces.len() + usize::from(self.joined(event, file).is_none());
        if slot_free && room >= exact && pieces <= self.pieces.capacity() {
            return None;
        }
        Some(self.grown(body.len() + exact, slots.len() + 1, pieces, expected))
    }

    /// How much more memory is needed to go on, when so many bytes of the log are expected.
    pub(crate) fn next_bytes(&self, expected: usize) -> usize {
        let Buffers { body, slots } = &self.buffers;
        if self.has_spare() && body.capacity() >= likely_body(body.len(), expected).min(LARGE_BYTES)
        {
            return 0;
        }
        let body = body.len() + head_bytes(&self.target) + SPARE_BYTES;
        self.grown(body, slots.len() + 1, self.pieces.len() + 1, expected)
            .bytes
    }

    /// About how many bytes of the log this batch will still take.
    pub(crate) fn log_room(&self) -> usize {
        let events = self.buffers.slots.len();
        if events == 0 {
            return BATCH_BYTES_MAX;
        }
        let log_bytes = self.counted_bytes - events * EVENT_BYTES + events;
        let by_bytes = BATCH_BYTES_MAX.saturating_sub(self.counted_bytes) * log_bytes;
        let by_events = (BATCH_EVENTS_MAX - events) * log_bytes;
        (by_bytes / self.counted_bytes).min(by_events / events)
    }

    /// What holds so much, and is likely to hold what is expected.
    fn grown(&self, body: usize, slots: usize, pieces: usize, expected: usize) -> Growth {
        let likely = likely_body(self.buffers.body.len(), expected);
        let (size_body, size_slots) = size_for(body, slots, likely);
        let pieces_now = self.pieces.capacity();
        let mut growth = Growth {
            body: size_body.max(self.buffers.body.capacity()),
            slots: size_slots.max(self.buffers.slots.capacity()),
            pieces: pieces_now,
            bytes: 0,
        };
        if pieces > pieces_now {
            growth.pieces = (pieces_now * 2).clamp(4, BATCH_EVENTS_MAX);
        }
        growth.bytes = growth.weight() - self.weight();
        growth
    }

    /// Takes the memory: the large buffers given, or new ones.
    pub(crate) fn grow(&mut self, growth: Growth, given: Option<Buffers>) {
        let old = &mut self.buffers;
        if growth.body > old.body.capacity() || growth.slots > old.slots.capacity() {
            let mut new =
                given.unwrap_or_else(|| Buffers::with_capacity(growth.body, growth.slots));
            new.body.extend_from_slice(&old.body);
            new.slots.extend_from_slice(&old.slots);
            *old = new;
        }
        self.pieces.reserve_exact(growth.pieces - self.pieces.len());
        debug_assert_eq!(
            self.weight(),
            growth.weight(),
            "memory is what was asked for"
        );
    }

    /// Keeps no more memory than its events need; what it gives up.
    pub(crate) fn shrink(&mut self) -> Buffers {
        let Buffers { body, slots } = &self.buffers;
        let mut tight = Buffers::with_capacity(body.len() + TAIL.len(), slots.len());
        tight.body.extend_from_slice(body);
        tight.slots.extend_from_slice(slots);
        std::mem::replace(&mut self.buffers, tight)
    }

    /// Takes an event that it admits and for which it has memory.
    pub(crate) fn push(&mut self, event: &Event<'_>, file: &Arc<FileOrigin>) {
        let time_ms = sendable(event.time_ms);
        match self.buffers.slots.last() {
            None => self.write_head(),
            Some(last) => {
                if time_ms < last.time_ms {
                    self.order = Order::Mixed;
                }
                self.buffers.body.push(b',');
            }
        }
        self.oldest_ms = self.oldest_ms.min(time_ms);
        self.newest_ms = self.newest_ms.max(time_ms);
        self.event_head
            .push_event(&mut self.buffers.body, time_ms, &event.text);
        self.counted_bytes += event.text.len() + EVENT_BYTES;
        match (self.joined(event, file), self.pieces.last_mut()) {
            (Some(span), Some(last)) => last.origin = Origin::File(span),
            _ => self.pieces.push(Piece {
                origin: event.origin,
                file: Arc::clone(file),
            }),
        }
        self.buffers.slots.push(Slot {
            time_ms,
            body_end: in_u32(self.buffers.body.len()),
            message_bytes: in_u32(event.text.len()),
            piece: in_u32(self.pieces.len() - 1),
        });
    }

    /// The last piece with the event's bytes added, when they follow upon it.
    fn joined(&self, event: &Event<'_>, file: &Arc<FileOrigin>) -> Option<Span> {
        let last = self.pieces.last()?;
        match (last.origin, event.origin) {
            (Origin::File(have), Origin::File(more))
                if have.file == more.file
                    && have.end == more.start
                    && Arc::ptr_eq(&last.file, file) =>
            {
                Some(Span {
                    end: more.end,
                    ..have
                })
            }
            _ => None,
        }
    }

    fn write_head(&mut self) {
        let body = &mut self.buffers.body;
        body.extend_from_slice(GROUP_KEY);
        push_escaped(body, &self.target.group);
        body.extend_from_slice(STREAM_KEY);
        push_escaped(body, &self.target.stream);
        body.extend_from_slice(EVENTS_KEY);
        self.body_head = in_u32(body.len());
    }

    /// Ends the batch: brings it into the order of time, if it is not, and closes the body.
    pub(crate) fn close(mut self) -> Batch {
        if self.order == Order::Mixed {
            self.sort();
        }
        self.buffers.body.extend_from_slice(TAIL);
        Batch {
            target: self.target,
            body: self.buffers.body,
            body_head: self.body_head,
            slots: self.buffers.slots,
            pieces: self.pieces,
            counted_bytes: self.counted_bytes,
        }
    }

    /// Gives the events back unsent: what they were made of.
    pub(crate) fn dissolve(self) -> Vec<Piece> {
        self.pieces
    }

    /// Rebuilds body and slots in the order of time. Two files of one target that are read in
    /// turns make this necessary; it costs a second body for the moment.
    fn sort(&mut self) {
        let old = &self.buffers;
        let mut order: Vec<usize> = (0..old.slots.len()).collect();
        order.sort_by_key(|nth| old.slots[*nth].time_ms);
        let mut new = Buffers::with_capacity(old.body.capacity(), old.slots.capacity());
        new.body
            .extend_from_slice(&old.body[..self.body_head as usize]);
        for nth in order {
            if !new.slots.is_empty() {
                new.body.push(b',');
            }
            new.body
                .extend_from_slice(&old.body[object_range(&old.slots, self.body_head, nth)]);
            new.slots.push(Slot {
                body_end: in_u32(new.body.len()),
                ..old.slots[nth]
            });
        }
        self.buffers = new;
    }
}

/// The still escaped message of a closed batch's event, valid UTF-8.
pub(crate) fn escaped_message(batch: &Batch, nth: usize) -> String {
    let object = &batch.body[object_range(&batch.slots, batch.body_head, nth)];
    String::from_utf8_lossy(message_of(object)).into_owned()
}

/// Where an event's object stands in the body.
fn object_range(slots: &[Slot], body_head: u32, nth: usize) -> Range<usize> {
    let start = match nth {
        0 => body_head as usize,
        _ => slots[nth - 1].body_end as usize + 1,
    };
    start..slots[nth].body_end as usize
}

/// What [`Builder::write_head`] will write.
fn head_bytes(target: &Target) -> usize {
    GROUP_KEY.len()
        + STREAM_KEY.len()
        + EVENTS_KEY.len()
        + escaped_len(&target.group)
        + escaped_len(&target.stream)
}

/// The service knows no time before 1970.
fn sendable(time_ms: EpochMs) -> EpochMs {
    time_ms.max(0)
}

fn in_u32(number: usize) -> u32 {
    u32::try_from(number).expect("a batch is far smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::path::Path;

    use super::*;
    use crate::event::{FileId, Offset};
    use proptest::prelude::*;

    struct Made {
        time_ms: i64,
        text: String,
        origin: Origin,
        file: usize,
    }

    fn files() -> Vec<Arc<FileOrigin>> {
        (0..3)
            .map(|nth| {
                Arc::new(FileOrigin {
                    source: "app".into(),
                    path: Path::new(&format!("/var/log/{nth}")).into(),
                })
            })
            .collect()
    }

    fn target() -> Arc<Target> {
        Arc::new(Target {
            group: "/a/b".to_owned(),
            stream: "i-1 \"quoted\"".to_owned(),
        })
    }

    /// Pushes everything, closing where the builder says so.
    fn batches(made: &[Made], expected: usize) -> Vec<Batch> {
        let files = files();
        let mut builder = Builder::new(target(), 0);
        let mut done = Vec::new();
        for made in made {
            let event = Event {
                time_ms: made.time_ms,
                text: Cow::Borrowed(&made.text),
                origin: made.origin,
            };
            let file = &files[made.file];
            if !builder.admits(&event) {
                done.push(std::mem::replace(&mut builder, Builder::new(target(), 0)).close());
            }
            if let Some(growth) = builder.growth(&event, file, expected) {
                let before = builder.weight();
                builder.grow(growth, None);
                assert_eq!(before + growth.bytes, builder.weight());
            }
            assert_eq!(
                builder.growth(&event, file, expected),
                None,
                "it grew enough"
            );
            let weight = builder.weight();
            builder.push(&event, file);
            assert_eq!(builder.weight(), weight, "nothing grows unasked");
        }
        if !builder.is_empty() {
            done.push(builder.close());
        }
        done
    }

    fn decoded(body: &[u8]) -> Vec<(i64, String)> {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["logGroupName"], "/a/b");
        assert_eq!(body["logStreamName"], "i-1 \"quoted\"");
        let events = body["logEvents"].as_array().unwrap();
        events
            .iter()
            .map(|event| {
                let text = event["message"].as_str().unwrap().to_owned();
                (event["timestamp"].as_i64().unwrap(), text)
            })
            .collect()
    }

    fn obeys_limits(batch: &Batch) {
        let events = decoded(&batch.body);
        let counted: usize = events.iter().map(|(_, text)| text.len() + 26).sum();
        assert_eq!(counted, batch.counted_bytes);
        assert!(counted <= 1_048_576 && (1..=10_000).contains(&events.len()));
        assert!(events.is_sorted_by_key(|event| event.0));
        assert!(events.last().unwrap().0 - events[0].0 < 86_400_000);
        assert!(
            events
                .iter()
                .all(|event| !event.1.is_empty() && event.0 >= 0)
        );
    }

    fn made(plan: &[(i64, String, usize, u64)]) -> Vec<Made> {
        let mut ends = [0_u64; 3];
        plan.iter()
            .map(|(time_ms, text, file, gap)| {
                let start = ends[*file] + gap;
                ends[*file] = start + text.len() as u64 + 1;
                let span = Span {
                    file: FileId(*file as u32),
                    start: Offset(start),
                    end: Offset(ends[*file]),
                };
                Made {
                    time_ms: *time_ms,
                    text: text.clone(),
                    origin: Origin::File(span),
                    file: *file,
                }
            })
            .collect()
    }

    fn any_time() -> impl Strategy<Value = i64> {
        prop_oneof![
            8 => 1_700_000_000_000_i64..1_700_000_100_000,
            2 => 1_700_000_000_000_i64..1_700_200_000_000,
            1 => -5_i64..5,
            1 => any::<i64>(),
        ]
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            100 => "([a-z \"\\\\\n\t]|\u{1}|é|.){1,60}",
            6 => (1_usize..40_000).prop_map(|bytes| "x".repeat(bytes)),
            1 => (1_usize..400_000).prop_map(|bytes| "\u{1}".repeat(bytes)),
            1 => (1_048_400_usize..=MESSAGE_BYTES_MAX).prop_map(|bytes| "y".repeat(bytes)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever comes, each batch obeys each limit, decodes to exactly the events pushed in
        /// stable order of time, any part of it is a right body too, and its pieces are exactly
        /// the bytes pushed.
        #[test]
        fn every_batch_is_legal_and_whole(
            plan in proptest::collection::vec((any_time(), any_text(), 0_usize..3, prop_oneof![4 => Just(0_u64), 1 => 1_u64..9]), 1..60),
            expected in prop_oneof![Just(0), Just(BATCH_BYTES_MAX), 0..200_000_usize],
            cut in any::<(proptest::sample::Index, proptest::sample::Index)>(),
        ) {
            let made = made(&plan);
            let mut rest = made.iter();
            for batch in batches(&made, expected) {
                obeys_limits(&batch);
                let events = decoded(&batch.body);
                let mine: Vec<&Made> = rest.by_ref().take(events.len()).collect();
                let mut wanted: Vec<(i64, String)> =
                    mine.iter().map(|made| (made.time_ms.max(0), made.text.clone())).collect();
                wanted.sort_by_key(|event| event.0);
                prop_assert_eq!(&events, &wanted);
                for (nth, slot) in batch.slots.iter().enumerate() {
                    prop_assert_eq!(slot.time_ms, wanted[nth].0);
                    prop_assert_eq!(slot.message_bytes as usize, wanted[nth].1.len());
                    let quoted = format!("\"{}\"", escaped_message(&batch, nth));
                    prop_assert_eq!(
                        serde_json::from_str::<String>(&quoted).unwrap(), wanted[nth].1.clone());
                }
                let (a, b) = (cut.0.index(events.len()), cut.1.index(events.len()));
                let part = a.min(b)..a.max(b) + 1;
                prop_assert_eq!(decoded(&batch.body_of(part.clone())), &events[part]);
                pieces_cover(&batch, &mine);
            }
            prop_assert!(rest.next().is_none());
        }
    }

    /// Every byte of every event lies in one piece, and no other byte does; each slot names a
    /// piece of its own file.
    fn pieces_cover(batch: &Batch, mine: &[&Made]) {
        let bytes = |origin: &Origin| match origin {
            Origin::File(span) => span.len(),
            Origin::Marker(_) => 0,
        };
        let pushed: u64 = mine.iter().map(|made| bytes(&made.origin)).sum();
        let covered: u64 = batch.pieces.iter().map(|piece| bytes(&piece.origin)).sum();
        assert_eq!(pushed, covered);
        for made in mine {
            let Origin::File(span) = made.origin else {
                continue;
            };
            assert!(
                batch
                    .pieces
                    .iter()
                    .any(|piece| matches!(piece.origin, Origin::File(have)
                if have.file == span.file && have.start <= span.start && span.end <= have.end))
            );
        }
        for slot in &batch.slots {
            assert!((slot.piece as usize) < batch.pieces.len());
        }
    }

    /// The limits are exact: the greatest legal batch is one batch, one byte, one event or one
    /// millisecond more makes two.
    #[test]
    fn limits_are_exact() {
        let one = |time_ms: i64, bytes: usize| (time_ms, "x".repeat(bytes), 0, 0);
        let count = |plan: &[(i64, String, usize, u64)]| batches(&made(plan), 0).len();
        assert_eq!(count(&[one(0, 1_048_576 - 26 - 27), one(0, 1)]), 1);
        assert_eq!(count(&[one(0, 1_048_576 - 26 - 26), one(0, 1)]), 2);
        assert_eq!(count(&vec![one(0, 1); 10_000]), 1);
        assert_eq!(count(&vec![one(0, 1); 10_001]), 2);
        assert_eq!(count(&[one(0, 1), one(86_399_999, 1)]), 1);
        assert_eq!(count(&[one(0, 1), one(86_400_000, 1)]), 2);
        assert_eq!(count(&[one(86_400_000, 1), one(0, 1)]), 2);
        assert_eq!(count(&[one(7, 1), one(i64::MAX, 1), one(i64::MIN, 1)]), 3);
    }

    /// Events that follow upon each other share a piece; a gap, another file or a marker begins
    /// a new one.
    #[test]
    fn neighbours_share_a_piece() {
        let mut plan = made(&[
            (0, "a".into(), 0, 0),
            (0, "b".into(), 0, 0),
            (0, "c".into(), 0, 3),
            (0, "d".into(), 1, 0),
        ]);
        plan.push(Made {
            time_ms: 0,
            text: "m".into(),
            origin: Origin::Marker(1),
            file: 0,
        });
        plan.push(Made {
            time_ms: 0,
            text: "n".into(),
            origin: Origin::Marker(2),
            file: 0,
        });
        let batches = batches(&plan, 0);
        let pieces: Vec<u32> = batches[0].slots.iter().map(|slot| slot.piece).collect();
        assert_eq!(pieces, [0, 0, 1, 2, 3, 4]);
        assert_eq!(batches[0].pieces.len(), 5);
    }
}
