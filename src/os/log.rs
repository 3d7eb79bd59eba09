//! The agent's own log, on standard error.
//!
//! Where it is the journal (as `JOURNAL_STREAM` says) each line begins with its priority as `<N>`
//! (sd-daemon(3)) and carries no time, since the journal adds one; elsewhere with the time in UTC
//! and the level. Then the message, then the facts as `key=value`. One event is one line in one
//! write: control characters (a file's name may hold any) are escaped, values cut at
//! [`VALUE_BYTES_MAX`]. Repeated warnings are counted by `repeats.rs`.
//!
//! Libraries may speak from warning up only, whatever the level: their debug lines may hold
//! headers of requests, and no secret belongs in a log.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::clock;
use super::repeats::{Repeats, Verdict};
use crate::event::{EpochMs, Now};

/// Longest value in a line; the rest becomes `…`.
pub const VALUE_BYTES_MAX: usize = 4_096;
/// Targets of our own events: the library and the binary.
const OWN_TARGET: &str = "deploywatch";

/// Starts logging, for the whole process and for good.
///
/// # Errors
/// When it was started before.
pub fn start(level: Level) -> Result<LogHandle, SetGlobalDefaultError> {
    let shape = shape_for(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let (log, handle) = Log::new(level, shape, Box::new(std::io::stderr()), clock::now);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log))?;
    Ok(handle)
}

/// From now on a panic is told by its place and, where that was written by us beforehand, its text.
/// A text that was made when it happened may quote the line of a log, and goes nowhere.
pub fn tell_panics_by_place() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        let text = panic.payload().downcast_ref::<&'static str>().copied();
        let text = text.unwrap_or("(it may quote a log line)");
        tracing::error!(place, text, "a bug of deploywatch");
    }));
}

/// Turns the log's knobs while it runs.
#[derive(Clone)]
pub struct LogHandle {
    core: Arc<Core>,
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}

impl LogHandle {
    /// Another level, from now on (a reload).
    pub fn set_level(&self, level: Level) {
        self.core.level.store(rank(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Says what was counted and whose time is up. Events do that too; the loop calls it now and
    /// then for the case that none comes.
    pub fn tick(&self) {
        let now = (self.core.now)();
        self.core.write(|said| said.summaries(now));
    }

    /// Says everything that was counted: before the process ends.
    pub fn finish(&self) {
        let now = (self.core.now)();
        self.core.write(|said| {
            let ended = said.repeats.end_all();
            said.summarise(&ended, now);
        });
    }
}

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Journal,
    Plain,
}

/// `JOURNAL_STREAM` names the journal's end as `device:inode`. It is inherited by whatever a
/// service starts, so it counts only where standard error really is that end (systemd.exec(5)).
fn shape_for(journal_stream: Option<&str>) -> Shape {
    let own = rustix::fs::fstat(std::io::stderr())
        .map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino))
        .ok();
    match (journal_stream, own) {
        (Some(journal), Some(own)) if journal == own => Shape::Journal,
        _ => Shape::Plain,
    }
}

struct Log {
    core: Arc<Core>,
}

struct Core {
    level: AtomicU8,
    now: fn() -> Now,
    said: Mutex<Said>,
}

/// What is behind the lock: a line at a time.
struct Said {
    shape: Shape,
    sink: Box<dyn Write + Send>,
    repeats: Repeats<Identifier>,
    /// The last message counted at each place, for the summary.
    messages: std::collections::HashMap<Identifier, (Level, String)>,
    line: String,
}

impl Log {
    fn new(
        level: Level,
        shape: Shape,
        sink: Box<dyn Write + Send>,
        now: fn() -> Now,
    ) -> (Self, LogHandle) {
        let core = Arc::new(Core {
            level: AtomicU8::new(rank(level)),
            now,
            said: Mutex::new(Said {
                shape,
                sink,
                repeats: Repeats::default(),
                messages: std::collections::HashMap::new(),
                line: String::new(),
            }),
        });
        let handle = LogHandle {
            core: Arc::clone(&core),
        };
        (Self { core }, handle)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.core.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        let rank = self.core.level.load(Ordering::Relaxed);
        Some(LevelFilter::from_level(levels[usize::from(rank)]))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = (self.core.now)();
        self.core.write(|said| said.event(event, now));
    }
}

impl Core {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata
            .target()
            .strip_prefix(OWN_TARGET)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let most = self.level.load(Ordering::Relaxed);
        let most = if own {
            most
        } else {
            most.min(rank(Level::WARN))
        };
        metadata.is_event() && rank(*metadata.level()) <= most
    }

    fn write(&self, speak: impl FnOnce(&mut Said)) {
        // A panic in mid-line spoils nothing: the next line begins by clearing it.
        speak(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Said {
    fn event(&mut self, event: &Event<'_>, now: Now) {
        self.summaries(now);
        let metadata = event.metadata();
        let level = *metadata.level();
        if level <= Level::WARN {
            let place = metadata.callsite();
            if self.repeats.admit(place.clone(), now.mono_ms) == Verdict::Count {
                self.messages
                    .entry(place)
                    .or_insert_with(|| (level, message_of(event)));
                return;
            }
        }
        self.begin(level, now.wall_ms);
        event.record(&mut Fields {
            line: &mut self.line,
            part: Part::Message,
        });
        event.record(&mut Fields {
            line: &mut self.line,
            part: Part::Facts,
        });
        self.end();
    }

    fn summaries(&mut self, now: Now) {
        let ended = self.repeats.ended(now.mono_ms);
        self.summarise(&ended, now);
    }

    fn summarise(&mut self, ended: &[(Identifier, u64)], now: Now) {
        for (place, count) in ended {
            let Some((level, message)) = self.messages.remove(place) else {
                continue;
            };
            self.begin(level, now.wall_ms);
            // Writing to a String does not fail.
            let _written = write!(self.line, "{message} … repeated {count} times");
            self.end();
        }
    }

    fn begin(&mut self, level: Level, wall_ms: EpochMs) {
        self.line.clear();
        // Writing to a String does not fail.
        let _written = match self.shape {
            Shape::Journal => write!(self.line, "<{}>", priority(level)),
            Shape::Plain => {
                let time = jiff::Timestamp::from_millisecond(wall_ms).unwrap_or_default();
                write!(self.line, "{time:.3} {level:<5} ")
            }
        };
    }

    fn end(&mut self) {
        self.line.push('\n');
        // There is no other place to complain to.
        let _written = self.sink.write_all(self.line.as_bytes());
    }
}

/// syslog's priorities (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        _ => 4,
    }
}

fn message_of(event: &Event<'_>) -> String {
    let mut message = String::new();
    event.record(&mut Fields {
        line: &mut message,
        part: Part::Message,
    });
    message
}

/// Which of an event's fields are written: the message comes first, wherever it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Message,
    Facts,
}

struct Fields<'l> {
    line: &'l mut String,
    part: Part,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let part = if field.name() == "message" {
            Part::Message
        } else {
            Part::Facts
        };
        if part != self.part {
            return;
        }
        let mut text = Cut(String::new());
        // The only error is that the value is too long, and then it is cut.
        let _cut = text.write_fmt(value);
        match part {
            Part::Message => escape(&text.0, self.line),
            Part::Facts => {
                self.line.push(' ');
                self.line.push_str(field.name());
                self.line.push('=');
                put_value(&text.0, self.line);
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// A text that stops growing at [`VALUE_BYTES_MAX`].
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = VALUE_BYTES_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

/// A value, in quotes where it would not be clear where it ends.
fn put_value(text: &str, line: &mut String) {
    if !text.is_empty() && !text.contains([' ', '"', '=']) {
        return escape(text, line);
    }
    line.push('"');
    for (index, piece) in text.split('"').enumerate() {
        if index > 0 {
            line.push_str("\\\"");
        }
        escape(piece, line);
    }
    line.push('"');
}

/// Everything a terminal or a journal might obey instead of showing becomes `\n` or `\u{1b}`.
fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if steers {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use tracing::{debug, error, info, warn};

    /// A sink to look into.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    fn noon() -> Now {
        Now {
            mono_ms: 0,
            wall_ms: 1_763_726_400_123,
        }
    }

    /// What is written while `speak` runs, in a log of its own.
    fn written(level: Level, shape: Shape, speak: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let (log, _handle) = Log::new(level, shape, Box::new(sink.clone()), noon);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), speak);
        sink.lines()
    }

    #[test]
    fn a_line_is_time_level_message_and_facts() {
        // The shape outside of systemd: message first wherever it stands, facts in order, quotes
        // only where they are needed.
        let lines = written(Level::INFO, Shape::Plain, || {
            info!(path = "/a b", bytes = 12, ok = true, "file found");
            let error = std::io::Error::other("no \"x\"");
            warn!(%error, empty = "", name = ?"x", "odd");
        });
        assert_eq!(
            lines,
            [
                "2025-11-21T12:00:00.123Z INFO  file found path=\"/a b\" bytes=12 ok=true",
                "2025-11-21T12:00:00.123Z WARN  odd error=\"no \\\"x\\\"\" empty=\"\" name=\"\\\"x\\\"\"",
            ]
        );
    }

    #[test]
    fn the_journal_gets_priorities_and_no_time() {
        // Each level must have syslog's number, and nothing else stand before the message.
        let lines = written(Level::TRACE, Shape::Journal, || {
            error!("one");
            warn!("two");
            info!("three");
            debug!("four");
        });
        assert_eq!(lines, ["<3>one", "<4>two", "<6>three", "<7>four"]);
    }

    #[test]
    fn an_inherited_journal_stream_is_not_ours() {
        // Only the device and inode of our own standard error may mean the journal: shown with the
        // right ones, others, and none.
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert_eq!(shape_for(Some(&own)), Shape::Journal);
        let other = format!("{}:{}", stat.st_dev, stat.st_ino + 1);
        for stream in [Some(&*other), Some("8:x"), None] {
            assert_eq!(shape_for(stream), Shape::Plain);
        }
    }

    #[test]
    fn no_value_makes_a_second_line_or_steers_a_terminal() {
        // Newlines, escapes, bidirectional overrides and endless values in a file's name must
        // arrive escaped or cut, in one line.
        let long = "é".repeat(VALUE_BYTES_MAX);
        let lines = written(Level::INFO, Shape::Journal, || {
            info!(
                path = "a\n<3>forged\r\u{1b}[31m\u{202e}\u{9b}\0",
                "file found"
            );
            info!(path = %"b\n", "two\nlines");
            info!(path = %long, "long");
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[0],
            "<6>file found path=a\\n<3>forged\\r\\u{1b}[31m\\u{202e}\\u{9b}\\u{0}"
        );
        assert_eq!(lines[1], "<6>two\\nlines path=b\\n");
        assert!(lines[2].len() <= VALUE_BYTES_MAX + 40);
        assert!(lines[2].ends_with("é…"));
    }

    #[test]
    fn the_level_holds_and_libraries_are_quieter() {
        // Below the level nothing is said; of others only warnings and errors, even at trace, since
        // their lines may hold secrets.
        let lines = written(Level::TRACE, Shape::Journal, || {
            debug!("ours");
            debug!(target: "aws_smithy_runtime", "authorization: secret");
            info!(target: "deploywatcher", "not us");
            warn!(target: "hyper", "theirs");
        });
        assert_eq!(lines, ["<7>ours", "<4>theirs"]);
        let lines = written(Level::ERROR, Shape::Journal, || {
            warn!("ours");
            warn!(target: "hyper", "theirs");
            error!("bad");
        });
        assert_eq!(lines, ["<3>bad"]);
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        // After a reload the same place in the code must follow the new level: one place, asked
        // three times.
        let sink = Sink::default();
        let (log, handle) = Log::new(Level::INFO, Shape::Journal, Box::new(sink.clone()), noon);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            for level in [Level::INFO, Level::DEBUG, Level::INFO] {
                handle.set_level(level);
                debug!(at = %level, "detail");
            }
        });
        assert_eq!(sink.lines(), ["<7>detail at=DEBUG"]);
    }

    #[test]
    fn a_storm_is_summarised_once_its_minute_is_over() {
        // Of a hundred warnings of one place five must be written, the others counted and told by
        // the next event after the minute, or by tick, or by finish; infos are not limited.
        static MONO: AtomicU64 = AtomicU64::new(0);
        fn now() -> Now {
            Now {
                mono_ms: MONO.load(Ordering::Relaxed),
                wall_ms: 0,
            }
        }
        let sink = Sink::default();
        let (log, handle) = Log::new(Level::INFO, Shape::Journal, Box::new(sink.clone()), now);
        let storm = || (0..100).for_each(|n| warn!(n, "disk full"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            storm();
            let lines = sink.lines();
            assert_eq!(lines.len(), 5);
            assert_eq!(lines[4], "<4>disk full n=4");
            (0..20).for_each(|_| info!("tick"));
            assert_eq!(sink.lines().len(), 20);
            MONO.store(60_000, Ordering::Relaxed);
            info!("next");
            assert_eq!(
                sink.lines(),
                ["<4>disk full … repeated 95 times", "<6>next"]
            );
            storm();
            sink.lines();
            MONO.store(120_000, Ordering::Relaxed);
            handle.tick();
            handle.tick();
            assert_eq!(sink.lines(), ["<4>disk full … repeated 95 times"]);
            storm();
            sink.lines();
            handle.finish();
            assert_eq!(sink.lines(), ["<4>disk full … repeated 95 times"]);
        });
    }
}
