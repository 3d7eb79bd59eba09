//! The files that the agent writes itself: a source with one of them would have the more to ship the
//! more it ships, for ever.

use std::path::{Path, PathBuf};

use globset::GlobMatcher;

use super::mistake::Problem;
use super::pattern::PathPattern;
use super::section::Section;
use super::{AgentConfig, LogsConfig, Sink};

/// What is written in the state directory, but for what is compressed: that is left alone anyway.
const IN_STATE: [&str; 8] = [
    "checkpoints",
    "checkpoints.recent",
    "checkpoints.changes",
    "boots",
    "alarms-order",
    "lock",
    "dead-letter/events.ndjson",
    "dead-letter/events.ndjson.1",
];

/// What the directory sink writes.
const IN_SINK: [&str; 3] = ["logs.ndjson", "metrics.ndjson", "events.ndjson"];

/// Where they are, each with the directory that is ours.
pub(super) struct Own {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Own {
    /// As the configuration says.
    pub(super) fn new(agent: &AgentConfig, logs: &LogsConfig) -> Self {
        let sink = match &logs.sink {
            Sink::Directory(path) => Some((path, &IN_SINK[..])),
            Sink::CloudWatch => None,
        };
        let places = sink.into_iter().chain([(&agent.state_dir, &IN_STATE[..])]);
        let files = places
            .flat_map(|(dir, names)| names.iter().map(|name| (dir.clone(), dir.join(name))))
            .collect();
        Self { files }
    }

    /// Reports a source that would ship one of them.
    pub(super) fn check(
        &self,
        section: &mut Section<'_>,
        paths: &[PathPattern],
        exclude: &[GlobMatcher],
    ) {
        let is_shipped = |(_, file): &&(PathBuf, PathBuf)| {
            paths.iter().any(|pattern| pattern.matches(file)) && !is_excluded(exclude, file)
        };
        if let Some((dir, file)) = self.files.iter().find(is_shipped)
            && let Some(place) = section.place_of("paths")
        {
            let what = format!(
                "{} is one of them, which the agent writes itself: it would never be done",
                file.display()
            );
            let remedy = format!("name other files, or exclude \"{}/**\"", dir.display());
            section.complain("paths", place, Problem::new(what, remedy));
        }
    }
}

/// Whether the user said to leave a file alone: by its name, or by its whole path where there is a `/`
/// in the pattern.
#[must_use]
pub fn is_excluded(exclude: &[GlobMatcher], path: &Path) -> bool {
    exclude.iter().any(|exclude| {
        let subject = match exclude.glob().glob().contains('/') {
            true => path.as_os_str(),
            false => path.file_name().unwrap_or_default(),
        };
        exclude.is_match(Path::new(subject))
    })
}
