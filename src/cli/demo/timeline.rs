//! What became of each deployment, told from nothing but the events that arrived. Simple: just
//! enough for a screen, and the place where metrics will be shown once there are any.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::arrivals::Arrived;
use super::identifier;

/// Last lines of a hook that are kept for the case that it hangs.
const LAST_LINES: usize = 3;

/// A running hook is mentioned when it has printed nothing for so long …
const SILENCE: Duration = Duration::from_secs(2);

/// … and again each time it has been silent for so much longer.
const SILENCE_STEP: Duration = Duration::from_secs(3);

/// An end is told so much later than it arrived: the output goes to another stream than the end,
/// and streams do not wait for each other.
const SETTLED: Duration = Duration::from_millis(400);

/// The service's commands that run no script.
const BUILT_IN: [&str; 2] = ["DownloadBundle", "Install"];

/// The last lifecycle event of a deployment without a load balancer.
const LAST_EVENT: &str = "ValidateService";

/// Something worth a line on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A lifecycle event ended well.
    Succeeded {
        deployment: String,
        event: String,
        lines: u64,
    },
    /// A lifecycle event failed.
    Failed {
        deployment: String,
        event: String,
        why: String,
        /// The output's last lines, as the CodeDeploy agent reported them.
        output: Vec<String>,
    },
    /// The last lifecycle event ended well.
    Finished { deployment: String, lines: u64 },
    /// A hook runs and prints nothing.
    Silent {
        deployment: String,
        event: String,
        seconds: u64,
        last: Option<String>,
    },
}

/// How a deployment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Inferred: nothing on the instance says so.
    Succeeded,
    /// In this event, for this reason.
    Failed(String, String),
    /// In this event, since then.
    Running(String, Instant),
    /// Between two commands.
    Waiting,
}

/// One deployment as far as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Story {
    /// `d-…`
    pub(super) id: String,
    /// Lifecycle events in the order they were heard of.
    pub(super) events: Vec<Event>,
}

/// One lifecycle event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// `AfterInstall` …
    pub(super) name: String,
    /// Lines of output.
    pub(super) lines: u64,
    started: Instant,
    heard: Instant,
    last: VecDeque<String>,
    ended: Option<Result<(), String>>,
    mentioned: u32,
}

impl Story {
    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        for event in &self.events {
            if let Some(Err(why)) = &event.ended {
                return Standing::Failed(event.name.clone(), why.clone());
            }
        }
        if let Some(event) = self.events.iter().find(|event| event.ended.is_none()) {
            return Standing::Running(event.name.clone(), event.started);
        }
        match self.events.iter().any(|event| event.name == LAST_EVENT) {
            true => Standing::Succeeded,
            false => Standing::Waiting,
        }
    }

    /// Lines of output in all.
    pub(super) fn lines(&self) -> u64 {
        self.events.iter().map(|event| event.lines).sum()
    }

    fn event(&mut self, name: &str, now: Instant) -> &mut Event {
        let place = self.events.iter().position(|event| event.name == name);
        let place = place.unwrap_or_else(|| {
            self.events.push(Event {
                name: name.to_owned(),
                lines: 0,
                started: now,
                heard: now,
                last: VecDeque::new(),
                ended: None,
                mentioned: 0,
            });
            self.events.len() - 1
        });
        &mut self.events[place]
    }
}

/// All deployments.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// In the order they were heard of.
    pub(super) stories: Vec<Story>,
    /// Identifiers of commands that have ended: a failure is reported twice.
    ended: BTreeSet<String>,
    /// Ends that are told soon, in order.
    ends: VecDeque<End>,
}

/// The end of a lifecycle event.
#[derive(Debug)]
struct End {
    due: Instant,
    deployment: String,
    event: String,
    result: Result<(), Vec<String>>,
}

impl Timeline {
    /// Takes in an event.
    pub(super) fn learn(&mut self, arrived: &Arrived, now: Instant) {
        match (arrived.key.source.as_str(), &arrived.key.deployment) {
            ("scripts", Some(id)) => self.output(id, &arrived.message, now),
            ("agent", _) => self.report(&arrived.message, now),
            _ => {}
        }
    }

    /// What is worth telling by now.
    pub(super) fn notes(&mut self, now: Instant) -> Vec<Note> {
        let mut notes = Vec::new();
        while let Some(end) = self.ends.pop_front_if(|end| end.due <= now) {
            self.tell(end, &mut notes);
        }
        self.silences(now, &mut notes);
        notes
    }

    fn tell(&mut self, end: End, notes: &mut Vec<Note>) {
        let End {
            deployment,
            event,
            result,
            ..
        } = end;
        let story = self.story(&deployment);
        let known = story.events.iter().find(|known| known.name == event);
        match (result, known.and_then(|known| known.ended.clone())) {
            (Err(output), Some(Err(why))) => notes.push(Note::Failed {
                deployment,
                event,
                why,
                output,
            }),
            _ => {
                let lines = known.map_or(0, |known| known.lines);
                let all = story.lines();
                let finished = (event == LAST_EVENT).then(|| Note::Finished {
                    deployment: deployment.clone(),
                    lines: all,
                });
                notes.push(Note::Succeeded {
                    deployment,
                    event,
                    lines,
                });
                notes.extend(finished);
            }
        }
    }

    /// The hooks that are silent for so long that it should be said (again).
    fn silences(&mut self, now: Instant, notes: &mut Vec<Note>) {
        for story in &mut self.stories {
            let id = story.id.clone();
            let running = story.events.iter_mut().find(|event| event.ended.is_none());
            let Some(event) = running else { continue };
            let due = SILENCE + SILENCE_STEP * event.mentioned;
            if now.duration_since(event.heard) >= due {
                event.mentioned += 1;
                notes.push(Note::Silent {
                    deployment: id,
                    event: event.name.clone(),
                    seconds: now.duration_since(event.heard).as_secs(),
                    last: event.last.back().cloned(),
                });
            }
        }
    }

    /// A line of a scripts.log.
    fn output(&mut self, id: &str, message: &str, now: Instant) {
        // `2026-11-21 02:12:55 ` comes first.
        let Some(text) = message.get(20..) else {
            return;
        };
        let story = self.story(id);
        if let Some(name) = text.strip_prefix("LifecycleEvent - ") {
            story.event(name.trim_end(), now);
            return;
        }
        let printed = text
            .strip_prefix("[stdout]")
            .or_else(|| text.strip_prefix("[stderr]"));
        if let (Some(line), Some(event)) = (printed, story.events.iter_mut().rfind(has_hook)) {
            event.lines += 1;
            event.heard = now;
            event.last.push_back(line.to_owned());
            if event.last.len() > LAST_LINES {
                event.last.pop_front();
            }
        }
    }

    /// A record of the agent log: only those that end a command tell us something.
    fn report(&mut self, message: &str, now: Instant) {
        let Some(report) = Report::read(message) else {
            return;
        };
        let Some(named) = identifier::read(report.identifier) else {
            return;
        };
        if !self.ended.insert(report.identifier.to_owned()) {
            return;
        }
        let event = self.story(&named.deployment).event(&named.command, now);
        let result = if report.succeeded {
            event.ended = Some(Ok(()));
            Ok(())
        } else {
            let (why, output) = report.reason();
            event.ended = Some(Err(why));
            Err(output)
        };
        self.ends.push_back(End {
            due: now + SETTLED,
            deployment: named.deployment,
            event: named.command,
            result,
        });
    }

    fn story(&mut self, id: &str) -> &mut Story {
        let place = self.stories.iter().position(|story| story.id == id);
        let place = place.unwrap_or_else(|| {
            self.stories.push(Story {
                id: id.to_owned(),
                events: Vec::new(),
            });
            self.stories.len() - 1
        });
        &mut self.stories[place]
    }
}

fn has_hook(event: &&mut Event) -> bool {
    !BUILT_IN.contains(&event.name.as_str())
}

/// `put_host_command_complete(…)` taken apart.
struct Report<'a> {
    succeeded: bool,
    /// A JSON text in a quoted string.
    payload: &'a str,
    identifier: &'a str,
}

impl<'a> Report<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (_, call) = message.split_once("put_host_command_complete(command_status:\"")?;
        let (status, call) = call.split_once("\",diagnostics:{format:\"JSON\",payload:")?;
        let (payload, call) = call.split_once("},host_command_identifier:\"")?;
        let (identifier, _) = call.split_once('"')?;
        Some(Self {
            succeeded: status == "Succeeded",
            payload,
            identifier,
        })
    }

    /// Why it failed, and what the script printed last.
    fn reason(&self) -> (String, Vec<String>) {
        let inner = serde_json::from_str::<String>(self.payload);
        let report = inner.and_then(|text| serde_json::from_str::<serde_json::Value>(&text));
        let Ok(report) = report else {
            return ("for a reason that could not be read".to_owned(), Vec::new());
        };
        let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        let output = text("log")
            .lines()
            .filter_map(|line| {
                line.strip_prefix("[stdout]")
                    .or_else(|| line.strip_prefix("[stderr]"))
            })
            .map(str::to_owned)
            .collect();
        (text("message"), output)
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Key;
    use super::*;

    fn arrived(key: Key, message: &str) -> Arrived {
        Arrived {
            group: String::new(),
            stream: String::new(),
            message: message.to_owned(),
            key,
        }
    }

    fn complete(status: &str, command: &str, report: &str) -> Arrived {
        let identifier = identifier::encode(&format!(
            "[\"x\",{{\"deploymentId\":\"a/arn:b:deployment/d-1\",\"commandName\":\"{command}\"}}]"
        ));
        let payload = serde_json::to_string(report).unwrap();
        arrived(
            Key::of("agent"),
            &format!(
                "2026-11-21T02:12:59 INFO  [codedeploy-agent(31478)]: [Aws::CodeDeployCommand::\
                 Client 200 0.043995 0 retries] put_host_command_complete(command_status:\
                 \"{status}\",diagnostics:{{format:\"JSON\",payload:{payload}}},\
                 host_command_identifier:\"{identifier}\")"
            ),
        )
    }

    fn line(text: &str) -> Arrived {
        let text = format!("2026-11-21 02:12:59 {text}");
        arrived(Key::scripts("d-1"), &text)
    }

    #[test]
    fn a_failure_is_told_once_with_the_reported_output() {
        // The second report of the same command tells nothing; the first one tells what was said.
        let mut timeline = Timeline::default();
        let now = Instant::now();
        timeline.learn(&line("LifecycleEvent - AfterInstall"), now);
        timeline.learn(&line("[stdout]migrating"), now);
        let report =
            r#"{"error_code":4,"message":"it \"broke\"","log":"Script - x\n[stderr]no table\n"}"#;
        let failed = complete("Failed", "AfterInstall", report);
        timeline.learn(&failed, now);
        timeline.learn(&failed, now);
        assert_eq!(timeline.notes(now), vec![]);
        assert_eq!(
            timeline.notes(now + SETTLED),
            vec![Note::Failed {
                deployment: "d-1".into(),
                event: "AfterInstall".into(),
                why: "it \"broke\"".into(),
                output: vec!["no table".into()],
            }]
        );
        assert_eq!(
            timeline.stories[0].standing(),
            Standing::Failed("AfterInstall".into(), "it \"broke\"".into())
        );
    }

    #[test]
    fn a_silent_hook_is_mentioned_now_and_then() {
        // A hook that prints nothing is told after two seconds and every three from then on.
        let mut timeline = Timeline::default();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        timeline.learn(&line("LifecycleEvent - ApplicationStart"), began);
        timeline.learn(&line("[stdout]waiting"), began);
        let told: Vec<u64> = (0..10)
            .filter(|second| !timeline.notes(at(*second)).is_empty())
            .collect();
        assert_eq!(told, [2, 5, 8]);
    }

    #[test]
    fn success_is_inferred_from_the_last_event_only() {
        // Between two events a deployment waits; after the last one it has succeeded.
        let mut timeline = Timeline::default();
        let now = Instant::now();
        let good = r#"{"error_code":0,"message":"Succeeded: ","log":""}"#;
        timeline.learn(&complete("Succeeded", "Install", good), now);
        assert_eq!(timeline.stories[0].standing(), Standing::Waiting);
        timeline.learn(&complete("Succeeded", "ValidateService", good), now);
        assert_eq!(timeline.notes(now + SETTLED).len(), 3);
        assert_eq!(timeline.stories[0].standing(), Standing::Succeeded);
    }

    #[test]
    fn output_that_imitates_a_marker_starts_nothing() {
        // Only what stands directly behind the time is a marker; a hook may print anything.
        let mut timeline = Timeline::default();
        let now = Instant::now();
        timeline.learn(&line("LifecycleEvent - AfterInstall"), now);
        timeline.learn(&line("[stdout]LifecycleEvent - ValidateService"), now);
        assert_eq!(timeline.stories[0].events.len(), 1);
        assert_eq!(timeline.stories[0].lines(), 1);
    }
}
