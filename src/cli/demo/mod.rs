//! `deploywatch demo`: the newcomer's first command. A made-up CodeDeploy agent deploys into a
//! temporary directory; the real agent (this very binary, as a child process, with real files,
//! real notifications and a real checkpoint) ships it to a directory; the screen tells what
//! arrives; at the end every record written is looked for. No AWS, no network, no root.
//!
//! The parts: `script` is the story, `stage` what it is played with, `machine` and `commands` write
//! it down in the CodeDeploy agent's formats, `process` runs the agent, `arrivals` and `points` read
//! what came of it, `progress` what the agent tells of deployments, `alarms` judges, `screen` shows
//! it and `verify` counts. One thread: the story's pauses are when the screen looks.

mod alarms;
mod arrivals;
mod commands;
mod identifier;
mod machine;
mod ndjson;
mod points;
mod process;
mod progress;
mod screen;
mod script;
mod stage;
mod verify;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arrivals::Arrivals;
use machine::Machine;
use points::Points;
use process::Process;
use progress::Progress;
use screen::{Restarts, Screen, Summary};
use stage::Stage;

use super::load::ConfigError;
use super::terminal::Colour;
use crate::directory::{LOGS_FILE, METRICS_FILE};

/// Nobody else needs to look into it.
const DIRECTORY_MODE: u32 = 0o700;

/// How fast the story is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For people: less than half a minute.
    Live,
    /// Without pauses, for tests.
    Fast,
}

/// Where the demo plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a temporary directory, which is removed unless something is wrong.
    Temporary,
    /// In this directory, new or empty, where everything stays.
    Kept(PathBuf),
}

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How fast.
    pub pace: Pace,
    /// Where, and what is left behind.
    pub place: Place,
    /// The binary that is run as the agent: `std::env::current_exe()`.
    pub binary: PathBuf,
    /// Whether to write colours.
    pub colour: Colour,
    /// Columns to draw for.
    pub width: usize,
}

/// How it ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything arrived exactly once, and what was published is what was played.
    Complete,
    /// Something is missing, came twice, in the wrong place or with its secret, or was counted wrongly.
    Incomplete,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or directory of the demo.
    #[error("use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory to keep everything in is in use.
    #[error("play in {}: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The agent ended by itself, or badly.
    #[error("keep the agent running: it ended with {status} and said:\n{said}")]
    Died {
        /// How.
        status: ExitStatus,
        /// Its own log.
        said: String,
    },
    /// The agent does not stop.
    #[error("stop the agent in time, see {}", .0.display())]
    Stuck(PathBuf),
    /// The agent takes its configuration, we do not.
    #[error("read the demo's own configuration")]
    Config(#[from] ConfigError),
    /// The agent runs and tells nothing.
    #[error("ask the agent how it is: nobody answers")]
    Silent,
    /// The user has seen enough.
    #[error("finish the demo: interrupted")]
    Interrupted,
    /// The screen cannot be written to.
    #[error("write to the screen")]
    Screen(#[source] io::Error),
}

impl DemoError {
    /// Names the file an error is about.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// Plays the demo and tells how it ended.
///
/// # Errors
/// When it could not be played to its end. A temporary directory is then kept only if the agent
/// failed.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<Outcome, DemoError> {
    let root = match &options.place {
        Place::Temporary => temporary_directory()?,
        Place::Kept(directory) => empty_directory(directory)?,
    };
    let result = run_in(&root, options, out);
    let is_good = match &result {
        Ok(outcome) => *outcome == Outcome::Complete,
        Err(error) => !matches!(error, DemoError::Died { .. } | DemoError::Stuck(_)),
    };
    if is_good && options.place == Place::Temporary {
        std::fs::remove_dir_all(&root).map_err(DemoError::at(&root))?;
    } else {
        writeln!(out, "\nEverything is kept in {}", root.display()).map_err(DemoError::Screen)?;
    }
    result
}

fn run_in(root: &Path, options: &Options, out: &mut dyn Write) -> Result<Outcome, DemoError> {
    let directory = root.join("delivered");
    let process = Process::new(&options.binary, root, &directory)?;
    let mut stage = Stage {
        machine: Machine::new(root)?,
        alarms: process.alarms()?,
        process,
        points: Points::new(directory.join(METRICS_FILE)),
        fired: BTreeSet::new(),
        progress: Progress::default(),
        asked: Instant::now(),
        arrivals: Arrivals::new(directory.join(LOGS_FILE)),
        screen: Screen::new(out, options.colour, options.width),
        pace: options.pace,
        restarts: Restarts::default(),
        interrupted: interruption().map_err(DemoError::at(root))?,
    };
    stage.screen.head().map_err(DemoError::Screen)?;
    stage.process.start()?;
    stage.await_status()?;
    stage.await_next_second()?;
    script::play(&mut stage)?;
    stage.await_everything()?;
    let status = stage.await_status()?;
    stage.process.stop()?;
    stage.look()?;
    let verdict = verify::compare(&stage.machine.written, &stage.arrivals.all);
    let sums = verify::sums(&stage.machine.tally, &stage.points.all);
    let summary = Summary {
        machine: &stage.machine,
        status: &status,
        sums: &sums,
        alarms: &stage.judged(),
        arrivals: &stage.arrivals,
        verdict: &verdict,
        restarts: stage.restarts,
    };
    stage.screen.summary(&summary).map_err(DemoError::Screen)?;
    if !verdict.is_good() || !sums.iter().all(verify::Sum::is_good) {
        return Ok(Outcome::Incomplete);
    }
    stage.screen.next_steps().map_err(DemoError::Screen)?;
    Ok(Outcome::Complete)
}

/// Set when the user or the system wants the demo to end.
fn interruption() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A directory of our own that nobody else can look into.
fn temporary_directory() -> Result<PathBuf, DemoError> {
    let mut random = fastrand::Rng::new();
    let name = format!("deploywatch-demo-{:08x}", random.u32(..));
    let root = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new()
        .mode(DIRECTORY_MODE)
        .create(&root)
        .map_err(DemoError::at(&root))?;
    // The agent follows no symlink, and the path to the temporary directory may hold one.
    root.canonicalize().map_err(DemoError::at(&root))
}

/// The user's directory as an absolute path, made where it is missing. Files of a story played
/// before would be counted as arrivals of this one.
fn empty_directory(directory: &Path) -> Result<PathBuf, DemoError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(DemoError::at(directory))?;
    let root = directory.canonicalize().map_err(DemoError::at(directory))?;
    match root.read_dir().map_err(DemoError::at(&root))?.next() {
        None => Ok(root),
        Some(_) => Err(DemoError::NotEmpty(root)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_not_played_in() {
        // What lies there is nobody's to touch or to count; shown with one file in the way.
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("a/b");
        assert_eq!(
            empty_directory(&fresh).unwrap(),
            fresh.canonicalize().unwrap()
        );
        std::fs::write(fresh.join("x"), "").unwrap();
        let refused = empty_directory(&fresh);
        assert!(
            matches!(refused, Err(DemoError::NotEmpty(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn an_agent_that_does_not_start_ends_the_demo_with_its_words() {
        // A binary that ends at once is told as such, and what it left is kept for a look.
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            pace: Pace::Live,
            place: Place::Kept(dir.path().join("demo")),
            binary: PathBuf::from("/bin/false"),
            colour: Colour::Off,
            width: 80,
        };
        let mut out = Vec::new();
        let result = run(&options, &mut out);
        assert!(matches!(result, Err(DemoError::Died { .. })), "{result:?}");
        assert!(String::from_utf8(out).unwrap().contains("is kept in"));
        assert!(dir.path().join("demo/deploywatch.toml").exists());
    }
}
