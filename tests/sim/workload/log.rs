//! One log file and its writer.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::oracle::Oracle;
use crate::plan::Habits;
use crate::text::{Dating, LineId, Shape};
use crate::world::World;
use crate::world::files::{Descriptor, LifeId};

/// Longest line that is written now and then.
const GIANT_BYTES: usize = 300_000;

/// Whose format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Agent,
    Deployments,
    Scripts,
    App,
}

/// A line of which only the beginning is written so far.
#[derive(Clone, Debug)]
pub(super) struct Half {
    line: LineId,
    from: u32,
    rest: Vec<u8>,
}

/// A log file and its writer.
#[derive(Debug)]
pub(super) struct Log {
    stream: u32,
    pub(super) path: PathBuf,
    pub(super) style: Style,
    crlf: bool,
    pub(super) half: Option<Half>,
    /// The file this log was before it was renamed.
    pub(super) old: Option<Descriptor>,
    /// Nobody writes here any more.
    pub(super) dead: bool,
}

impl Log {
    pub(super) fn new(stream: u32, path: PathBuf, style: Style, crlf: bool) -> Self {
        Self {
            stream,
            path,
            style,
            crlf,
            half: None,
            old: None,
            dead: false,
        }
    }

    /// Writes some lines, perhaps leaving the last one unfinished.
    pub(super) fn write(
        &mut self,
        lines: usize,
        habits: &Habits,
        rng: &mut fastrand::Rng,
        world: &mut World,
        oracle: &mut Oracle,
    ) {
        self.finish_half(world, oracle);
        self.write_header(world, oracle);
        for _ in 0..lines {
            if rng.f64() < habits.empty {
                world.files.append(&self.path, self.line_end());
                continue;
            }
            let (line, mut bytes) = self.make_line(habits, rng, world, oracle);
            let text_bytes = bytes.len();
            bytes.extend_from_slice(self.line_end());
            let at = world.files.append(&self.path, &bytes);
            self.tell(world, oracle, at, bytes.len(), line, (0, usize::MAX));
            debug_assert!(text_bytes < bytes.len());
        }
        if rng.f64() < habits.half {
            self.write_half(habits, rng, world, oracle);
        }
    }

    /// Writes to the file this log was before its rotation.
    pub(super) fn write_old(
        &mut self,
        lines: usize,
        habits: &Habits,
        rng: &mut fastrand::Rng,
        world: &mut World,
        oracle: &mut Oracle,
    ) {
        let Some(old) = self.old else {
            return;
        };
        if let Some(half) = self.half.take()
            && let Some(at) = world.files.append_to(old, &half.rest)
        {
            self.tell(
                world,
                oracle,
                at,
                half.rest.len(),
                half.line,
                (half.from as usize, usize::MAX),
            );
        }
        for _ in 0..lines {
            let (line, mut bytes) = self.make_line(habits, rng, world, oracle);
            bytes.extend_from_slice(self.line_end());
            if let Some(at) = world.files.append_to(old, &bytes) {
                self.tell(world, oracle, at, bytes.len(), line, (0, usize::MAX));
            }
        }
    }

    /// Writes the rest of an unfinished line.
    pub(super) fn finish_half(&mut self, world: &mut World, oracle: &mut Oracle) {
        if let Some(half) = self.half.take() {
            let at = world.files.append(&self.path, &half.rest);
            self.tell(
                world,
                oracle,
                at,
                half.rest.len(),
                half.line,
                (half.from as usize, usize::MAX),
            );
        }
    }

    fn write_half(
        &mut self,
        habits: &Habits,
        rng: &mut fastrand::Rng,
        world: &mut World,
        oracle: &mut Oracle,
    ) {
        let (line, mut bytes) = self.make_line(habits, rng, world, oracle);
        let text = &oracle.lines.get(line).text;
        let whole = text.as_bytes() == bytes.as_slice();
        let cuts: Vec<usize> = (1..=text.len())
            .filter(|at| text.is_char_boundary(*at))
            .collect();
        if !whole || cuts.is_empty() {
            bytes.extend_from_slice(self.line_end());
            let at = world.files.append(&self.path, &bytes);
            self.tell(world, oracle, at, bytes.len(), line, (0, usize::MAX));
            return;
        }
        let cut = cuts[rng.usize(0..cuts.len())];
        let mut rest = bytes.split_off(cut);
        rest.extend_from_slice(self.line_end());
        let at = world.files.append(&self.path, &bytes);
        self.tell(world, oracle, at, cut, line, (0, cut));
        self.half = Some(Half {
            line,
            from: u32::try_from(cut).expect("lines are short"),
            rest,
        });
    }

    /// Tells the oracle; the part of the text is cut to its length.
    fn tell(
        &self,
        world: &mut World,
        oracle: &mut Oracle,
        at: (LifeId, u64),
        bytes: usize,
        line: LineId,
        (from, to): (usize, usize),
    ) {
        let to = to.min(oracle.lines.get(line).text.len());
        let part = (
            u32::try_from(from).expect("lines are short"),
            u32::try_from(to).expect("lines are short"),
        );
        let fates = std::mem::take(&mut world.files.fates);
        oracle.files_changed(fates);
        oracle.written(at, bytes as u64, line, part);
    }

    fn line_end(&self) -> &'static [u8] {
        if self.crlf { b"\r\n" } else { b"\n" }
    }

    fn write_header(&self, world: &mut World, oracle: &mut Oracle) {
        let empty = world.files.content(&self.path).is_none_or(<[u8]>::is_empty);
        if self.style == Style::Deployments && empty {
            let date = date("%Y-%m-%d %H:%M:%S", world.clock.now().wall_ms);
            let header = format!("# Logfile created on {date} +0000 by logger.rb/v1.5.0");
            oracle.lines.allow(&header);
            world
                .files
                .append(&self.path, format!("{header}\n").as_bytes());
        }
    }

    fn make_line(
        &self,
        habits: &Habits,
        rng: &mut fastrand::Rng,
        world: &World,
        oracle: &mut Oracle,
    ) -> (LineId, Vec<u8>) {
        let shape = if rng.f64() < habits.giant {
            Shape::Text(GIANT_BYTES)
        } else if rng.f64() < habits.poison {
            Shape::Poisoned
        } else if rng.f64() < habits.broken {
            Shape::Broken(rng.usize(0..200))
        } else {
            Shape::Text(rng.usize(0..160))
        };
        let mut wall_ms = world.clock.now().wall_ms;
        let odd = rng.f64() < habits.odd_dates;
        if odd {
            let days = [-4000, -20, -2, 2, 400][rng.usize(0..5)];
            wall_ms += days * 86_400_000;
        }
        let head = self.head(wall_ms, rng);
        let dating = match head.as_str() {
            "" => Dating::OfReading,
            "\t" => Dating::OfRecord,
            // Perhaps nobody believes it.
            _ if odd => Dating::OfRecord,
            _ => Dating::Own(wall_ms),
        };
        oracle.lines.make(self.stream, (&head, dating), shape, rng)
    }

    fn head(&self, wall_ms: i64, rng: &mut fastrand::Rng) -> String {
        let number = self.stream;
        match self.style {
            // A third of the lines goes on with the record before.
            Style::Agent if rng.u8(0..3) == 0 => "\t".to_owned(),
            Style::Agent => format!(
                "{} INFO  [codedeploy-agent(1{number})]: ",
                date("%Y-%m-%dT%H:%M:%S", wall_ms)
            ),
            Style::Deployments => format!(
                "[{}] [d-{number:09}][stdout]",
                date("%Y-%m-%d %H:%M:%S%.3f", wall_ms)
            ),
            Style::Scripts => format!("{} [stdout]", date("%Y-%m-%d %H:%M:%S", wall_ms)),
            Style::App if number.is_multiple_of(2) => String::new(),
            Style::App => format!("{} WARN ", date("%Y-%m-%dT%H:%M:%S%.3fZ", wall_ms)),
        }
    }
}

pub(crate) fn date(format: &str, wall_ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(wall_ms).expect("a date of this millennium");
    timestamp.strftime(format).to_string()
}
