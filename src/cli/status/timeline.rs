//! Deployments as people read them: one line each, then their lifecycle events on a common scale
//! of time, and what the failing script said last.
//!
//! ```text
//! d-ABCDEF123  failed  shop / production  3 min 5 s ago, took 42 s
//!   ApplicationStop   succeeded  0.1 s  |
//!   DownloadBundle    succeeded  2.0 s  |==
//!   AfterInstall      failed     40 s   |  ========================
//!     scripts/after_install.sh: exit code 3
//!     | no space left on device
//! ```
//!
//! Pure: rows of styled text, which the caller puts where it wants.

use crate::cli::terminal::Side::{Left, Right};
use crate::cli::terminal::{Colour, Style, Table, duration, escape, shorten};
use crate::event::EpochMs;
use crate::status::{DeploymentStatus, LifecycleEventStatus};

use super::seconds_between;

/// Columns of a bar at most.
const BAR_MAX: usize = 40;

/// Columns of a bar at least; on a narrower page there is none.
const BAR_MIN: usize = 8;

/// The deployment's lines for a page of so many columns.
#[must_use]
pub(in crate::cli) fn draw(
    deployment: &DeploymentStatus,
    now_ms: EpochMs,
    width: usize,
    colour: Colour,
) -> Vec<String> {
    let mut lines = vec![headline(deployment, now_ms, colour)];
    let events = &deployment.events;
    let scale = Scale::of(deployment, now_ms);
    let mut table = Table::new([Left, Left, Right]);
    for event in events {
        table.row([
            escape(&event.name).into_owned(),
            state_words(event),
            taken(event, now_ms),
        ]);
    }
    let rows = table.lines(width.saturating_sub(2));
    let used = rows.iter().map(|row| row.chars().count()).max();
    let room = width.saturating_sub(used.unwrap_or(0) + 5).min(BAR_MAX);
    for (event, row) in events.iter().zip(rows) {
        let used = used.unwrap_or(0);
        let bar = match room {
            BAR_MIN.. => format!("  |{}", scale.bar(event, now_ms, room)),
            _ => String::new(),
        };
        let line = format!("  {row:<used$}{bar}");
        lines.push(colour.paint(style(&event.state), line.trim_end()));
        lines.extend(reason(event, width, colour));
    }
    for line in &deployment.output {
        let line = format!("    | {}", shorten(&escape(line), width.saturating_sub(6)));
        lines.push(colour.paint(Style::Faint, &line));
    }
    lines
}

fn headline(deployment: &DeploymentStatus, now_ms: EpochMs, colour: Colour) -> String {
    let state = match deployment.inferred {
        true => format!("{} (inferred)", deployment.state),
        false => deployment.state.clone(),
    };
    let mut line = format!(
        "{}  {}",
        colour.paint(Style::Name, &escape(&deployment.id)),
        colour.paint(style(&deployment.state), &state)
    );
    let names = [&deployment.application, &deployment.group];
    let names: Vec<_> = names
        .into_iter()
        .flatten()
        .map(|name| escape(name))
        .collect();
    if !names.is_empty() {
        line.push_str(&format!("  {}", names.join(" / ")));
    }
    let times = match deployment.ended_ms {
        Some(ended_ms) => format!(
            "{} ago, took {}",
            duration(seconds_between(ended_ms, now_ms)),
            duration(seconds_between(deployment.began_ms, ended_ms))
        ),
        None => format!(
            "since {}",
            duration(seconds_between(deployment.began_ms, now_ms))
        ),
    };
    line + "  " + &colour.paint(Style::Faint, &times)
}

/// Why an event failed.
fn reason(event: &LifecycleEventStatus, width: usize, colour: Colour) -> Option<String> {
    let failure = event.failure.as_ref()?;
    let mut why = escape(&failure.cause).into_owned();
    if !failure.script.is_empty() {
        why = format!("{}: {why}", escape(&failure.script));
    } else if !failure.message.is_empty() {
        why = format!("{why}: {}", escape(&failure.message));
    }
    let line = format!("    {}", shorten(&why, width.saturating_sub(4)));
    Some(colour.paint(Style::Bad, &line))
}

fn state_words(event: &LifecycleEventStatus) -> String {
    match event.unreported {
        true => format!("{}, not reported", event.state),
        false => event.state.clone(),
    }
}

/// How long an event took, or has been running.
fn taken(event: &LifecycleEventStatus, now_ms: EpochMs) -> String {
    let ms = match (event.duration_ms, event.started_ms, event.finished_ms) {
        (Some(ms), ..) => ms,
        (None, Some(started_ms), None) if event.state == "running" => {
            u64::try_from(now_ms - started_ms).unwrap_or(0)
        }
        _ => return "-".to_owned(),
    };
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => duration(ms / 1000),
    }
}

fn style(state: &str) -> Style {
    match state {
        "succeeded" => Style::Good,
        "failed" | "aborted" | "hanging" => Style::Bad,
        "running" | "waiting" | "received" => Style::Warn,
        _ => Style::Faint,
    }
}

/// The time a deployment spans.
struct Scale {
    from_ms: EpochMs,
    span_ms: i64,
}

impl Scale {
    fn of(deployment: &DeploymentStatus, now_ms: EpochMs) -> Self {
        let until_ms = deployment.ended_ms.unwrap_or(now_ms);
        Self {
            from_ms: deployment.began_ms,
            span_ms: (until_ms - deployment.began_ms).max(1),
        }
    }

    /// When an event ran, on a scale of so many columns.
    fn bar(&self, event: &LifecycleEventStatus, now_ms: EpochMs, columns: usize) -> String {
        let Some(started_ms) = event.started_ms.or(event.received_ms) else {
            return String::new();
        };
        let ended_ms = event.finished_ms.unwrap_or(now_ms);
        let from = self.column(started_ms, columns).min(columns - 1);
        let until = self.column(ended_ms, columns).clamp(from + 1, columns);
        format!("{}{}", " ".repeat(from), "=".repeat(until - from))
    }

    fn column(&self, at_ms: EpochMs, columns: usize) -> usize {
        let after_ms = (at_ms - self.from_ms).clamp(0, self.span_ms);
        let share = after_ms as f64 / self.span_ms as f64;
        (share * columns as f64).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::FailureStatus;

    fn event(name: &str, state: &str, from_ms: i64, until_ms: Option<i64>) -> LifecycleEventStatus {
        LifecycleEventStatus {
            name: name.to_owned(),
            state: state.to_owned(),
            started_ms: Some(from_ms),
            finished_ms: until_ms,
            duration_ms: until_ms.map(|until_ms| (until_ms - from_ms).unsigned_abs()),
            ..LifecycleEventStatus::default()
        }
    }

    fn failed() -> DeploymentStatus {
        let mut after_install = event("AfterInstall", "failed", 1_002_000, Some(1_042_000));
        after_install.failure = Some(FailureStatus {
            script: "scripts/after_install.sh".to_owned(),
            cause: "exit code 3".to_owned(),
            ..FailureStatus::default()
        });
        DeploymentStatus {
            id: "d-ABCDEF123".to_owned(),
            application: Some("shop".to_owned()),
            group: Some("production".to_owned()),
            state: "failed".to_owned(),
            began_ms: 1_000_000,
            ended_ms: Some(1_042_000),
            events: vec![
                event("DownloadBundle", "succeeded", 1_000_000, Some(1_002_000)),
                after_install,
            ],
            output: vec!["no space left on device\u{1b}[2J".to_owned()],
            ..DeploymentStatus::default()
        }
    }

    /// A failed deployment shows when each event ran, why it failed, and what the script said
    /// last, with nothing that could move the cursor: shown by the whole text.
    #[test]
    fn a_failed_deployment_tells_its_story() {
        let lines = draw(&failed(), 1_100_000, 80, Colour::Off);
        let expected = "\
d-ABCDEF123  failed  shop / production  58 s ago, took 42 s
  DownloadBundle  succeeded  2.0 s  |==
  AfterInstall    failed      40 s  |  ======================================
    scripts/after_install.sh: exit code 3
    | no space left on device\\u001b[2J";
        assert_eq!(lines.join("\n"), expected);
    }

    /// What runs now is drawn up to now, whatever the clock says of its beginning: shown by a
    /// running event, seen late, early and from before it began.
    #[test]
    fn a_running_event_grows() {
        let mut deployment = failed();
        deployment.state = "running".to_owned();
        deployment.ended_ms = None;
        deployment.output.clear();
        deployment.events = vec![event("AfterInstall", "running", 1_000_000, None)];
        let row = |now_ms| draw(&deployment, now_ms, 80, Colour::Off).remove(1);
        assert!(row(1_060_000).contains("running  1 min 0 s  |===="));
        assert!(row(1_000_000).contains("running  0.0 s  |"));
        assert!(row(0).contains("running  0.0 s  |"));
    }

    /// A page too narrow for bars has none and is no wider than it is: shown by widths of all
    /// sizes.
    #[test]
    fn a_narrow_page_has_no_bars() {
        for width in 30..120 {
            for line in &draw(&failed(), 1_100_000, width, Colour::Off)[1..] {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let narrow = draw(&failed(), 1_100_000, 36, Colour::Off);
        assert!(!narrow.join("").contains('='));
    }
}
