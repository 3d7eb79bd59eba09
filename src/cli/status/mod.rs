//! `deploywatch status`: where is this file, this line, now. Draws the snapshot the running agent
//! made of itself; asks nobody else.
//!
//! [`render`] is pure. [`run`] gets the snapshot from the caller's `fetch` (the status socket) and
//! tells the caller how things stand, so that scripts can go by the exit code.

mod alarms;
mod notes;
pub(in crate::cli) mod timeline;

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use super::terminal::Side::{Left, Right};
use super::terminal::{Colour, Style, Table, bytes, duration, escape, number, shorten, width};
use crate::event::EpochMs;
use crate::status::{FileStatus, MetricsStatus, SourceCounts, Status, TargetStatus};
use notes::notes;

/// Files and targets shown at most: a glance. `--json` has them all.
const ROWS_MAX: usize = 40;

/// Deployments shown at most, the newest.
const DEPLOYMENTS_MAX: usize = 3;

/// Narrower pages are drawn as if they were so wide.
const WIDTH_MIN: usize = 40;

/// How the snapshot is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Glance,
    /// For tools: the whole snapshot.
    Json,
}

/// How things stand, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The agent runs and reports no problem.
    Well,
    /// The agent runs and needs a person.
    Problems,
    /// Nobody answered.
    NotRunning,
}

/// Fetches, writes to `out` (the answer) or `complaints` (why there is none), and says how things
/// stand.
///
/// # Errors
/// Only when writing fails.
pub fn run<E: Display>(
    fetch: impl FnOnce() -> Result<Status, E>,
    format: Format,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> io::Result<Standing> {
    let status = match fetch() {
        Ok(status) => status,
        Err(error) => {
            writeln!(complaints, "deploywatch does not answer: {error}")?;
            writeln!(
                complaints,
                "is it running?      systemctl status deploywatch"
            )?;
            writeln!(
                complaints,
                "what did it say?    journalctl -u deploywatch -n 50"
            )?;
            writeln!(
                complaints,
                "may you ask it?     its socket is open to root and to the user deploywatch"
            )?;
            return Ok(Standing::NotRunning);
        }
    };
    match format {
        Format::Glance => write!(out, "{}", render(&status, width(), Colour::detect()))?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &status)?;
            writeln!(out)?;
        }
    }
    Ok(if status.problems.is_empty() {
        Standing::Well
    } else {
        Standing::Problems
    })
}

/// The snapshot for a terminal of `width` columns.
#[must_use]
pub fn render(status: &Status, width: usize, colour: Colour) -> String {
    let mut page = Page {
        text: String::new(),
        width: width.max(WIDTH_MIN),
        colour,
    };
    page.headline(status);
    page.deployments(status);
    page.files(&status.files);
    page.targets(&status.targets, status.now_ms);
    page.sources(&status.sources);
    page.metrics(&status.metrics, status.now_ms);
    page.parts(status);
    page.memory(status);
    page.text
}

/// The text so far and how it is to look.
struct Page {
    text: String,
    width: usize,
    colour: Colour,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn title(&mut self, title: &str) {
        let painted = self.colour.paint(Style::Title, title);
        self.text.push('\n');
        self.line(&painted);
    }

    fn headline(&mut self, status: &Status) {
        let (style, word) = match status.problems.len() {
            0 => (Style::Good, "ok".to_owned()),
            1 => (Style::Bad, "1 problem".to_owned()),
            n => (Style::Bad, format!("{n} problems")),
        };
        let who = status.instance_id.as_deref().unwrap_or("not known yet");
        let since = seconds_between(status.started_ms, status.now_ms);
        let line = format!(
            "deploywatch {} on {}: {} (up {})",
            escape(&status.version),
            escape(who),
            self.colour.paint(style, &word),
            duration(since),
        );
        self.line(&line);
        for problem in &status.problems {
            let mark = self.colour.paint(Style::Bad, "!");
            self.line(&format!("  {mark} {}", escape(problem)));
        }
        self.line(&format!("CodeDeploy agent: {}", escape(&status.codedeploy)));
        let health = &status.codedeploy_health;
        let (style, word) = match health.healthy {
            Some(true) => (Style::Good, "healthy"),
            Some(false) => (Style::Bad, "not healthy"),
            None if health.reason.is_empty() => return,
            None => (Style::Faint, "nothing to say"),
        };
        let word = self.colour.paint(style, word);
        self.line(&format!("  {word}: {}", escape(&health.reason)));
    }

    fn deployments(&mut self, status: &Status) {
        let all = &status.deployments.deployments;
        self.title(&format!("Deployments: {}", all.len()));
        if all.is_empty() {
            self.line("  none seen yet");
        }
        for deployment in all.iter().take(DEPLOYMENTS_MAX) {
            for line in timeline::draw(deployment, status.now_ms, self.width - 2, self.colour) {
                self.line(&format!("  {line}"));
            }
        }
        self.more(all.len().saturating_sub(DEPLOYMENTS_MAX), "deployments");
    }

    fn metrics(&mut self, metrics: &MetricsStatus, now_ms: EpochMs) {
        if metrics.namespace.is_empty() {
            return;
        }
        let title = format!(
            "Metrics: namespace {}, every {} s",
            escape(&metrics.namespace),
            metrics.period_s
        );
        self.title(&title);
        let mut line = format!(
            "  {} data delivered, {} waiting",
            number(metrics.delivered),
            number(metrics.pending)
        );
        if metrics.last_answer_ms > 0 {
            let good = metrics.last_answer == "ok";
            let style = if good { Style::Good } else { Style::Bad };
            let answer = self.colour.paint(style, &escape(&metrics.last_answer));
            let age = seconds_between(metrics.last_answer_ms, now_ms);
            write_to(&mut line, format_args!("; {answer} {} ago", duration(age)));
        }
        self.line(&line);
        for (reason, count) in &metrics.refused {
            let note = format!("refused {}: {}", number(*count), escape(reason));
            let note = self.colour.paint(Style::Bad, &note);
            self.line(&format!("    {note}"));
        }
    }

    fn parts(&mut self, status: &Status) {
        let sheet = alarms::Sheet {
            now_ms: status.now_ms,
            width: self.width,
            colour: self.colour,
        };
        let alarms = alarms::alarms(&status.alarms, sheet);
        for part in alarms
            .into_iter()
            .chain(alarms::events(&status.events, sheet))
        {
            self.title(&part.title);
            part.lines.iter().for_each(|line| self.line(line));
        }
    }

    fn files(&mut self, files: &[FileStatus]) {
        let behind: u64 = files.iter().map(|file| file.lag_bytes).sum();
        self.title(&format!("Files: {}, {} behind", files.len(), bytes(behind)));
        if files.is_empty() {
            self.line("  none found yet; `deploywatch check` shows where they are looked for");
            return;
        }
        let shown = &files[..files.len().min(ROWS_MAX)];
        let mut rows = file_table(shown).lines(self.width - 4).into_iter();
        let head = rows.next().unwrap_or_default();
        let head = self.colour.paint(Style::Faint, &head);
        self.line(&format!("    {head}"));
        for (file, row) in shown.iter().zip(rows) {
            self.file(file, &row);
        }
        self.more(files.len() - shown.len(), "files");
    }

    fn file(&mut self, file: &FileStatus, row: &str) {
        let path = escape(&file.path);
        let target = format!("→ {}", escape(&file.target));
        let room = self.width - 2;
        let needed = path.chars().count() + 1 + target.chars().count();
        let mut title = self.colour.paint(Style::Name, &shorten(&path, room));
        if needed <= room && !file.target.is_empty() {
            title.push(' ');
            title.push_str(&self.colour.paint(Style::Faint, &target));
        }
        self.line(&format!("  {title}"));
        let row = match file.lag_bytes {
            0 => row.to_owned(),
            _ => self.colour.paint(Style::Warn, row),
        };
        self.line(&format!("    {row}"));
        if file.state.contains(':') {
            let state = self.colour.paint(Style::Bad, &escape(&file.state));
            self.line(&format!("    {state}"));
        }
    }

    fn targets(&mut self, targets: &[TargetStatus], now_ms: EpochMs) {
        self.title(&format!("Targets: {}", targets.len()));
        for target in targets.iter().take(ROWS_MAX) {
            let name = format!("{} {}", escape(&target.group), escape(&target.stream));
            let good = target.last_answer == "ok";
            let style = if good { Style::Good } else { Style::Bad };
            let mut answer = escape(&target.last_answer).into_owned();
            if target.last_answer_ms > 0 {
                let age = seconds_between(target.last_answer_ms, now_ms);
                write_to(&mut answer, format_args!(" {} ago", duration(age)));
            }
            self.line(&format!("  {}", shorten(&name, self.width - 2)));
            let mut line = format!("    {}", self.colour.paint(style, &answer));
            if target.pending_bytes > 0 {
                write_to(
                    &mut line,
                    format_args!(", {} waiting", bytes(target.pending_bytes)),
                );
            }
            if let Some(retry_ms) = target.retry_ms {
                let wait = seconds_between(now_ms, retry_ms);
                write_to(&mut line, format_args!(", next try in {}", duration(wait)));
            }
            self.line(&line);
        }
        self.more(targets.len().saturating_sub(ROWS_MAX), "targets");
    }

    fn sources(&mut self, sources: &BTreeMap<String, SourceCounts>) {
        self.title("Delivered and not, since the state directory was made");
        for (name, counts) in sources {
            let line = format!(
                "  {}: {} events, {}",
                escape(name),
                number(counts.events_delivered),
                bytes(counts.bytes_delivered)
            );
            self.line(&line);
            for (style, note) in notes(counts) {
                let note = self.colour.paint(style, &note);
                self.line(&format!("    {note}"));
            }
        }
        if sources.is_empty() {
            self.line("  nothing yet");
        }
    }

    fn memory(&mut self, status: &Status) {
        let (held, limit) = status.batch_bytes;
        self.text.push('\n');
        self.line(&format!(
            "Batches hold {} of at most {}",
            bytes(held),
            bytes(limit)
        ));
        let (segments, size) = status.rescue;
        if segments > 0 {
            let line = format!(
                "Rescued from deleted files, not shipped yet: {} in {} segments",
                bytes(size),
                number(segments)
            );
            let line = self.colour.paint(Style::Warn, &line);
            self.line(&line);
        }
    }

    fn more(&mut self, hidden: usize, what: &str) {
        if hidden > 0 {
            let line = format!("  and {hidden} more {what}: `deploywatch status --json`");
            self.line(&line);
        }
    }
}

/// The numbers of files, under a head.
fn file_table(files: &[FileStatus]) -> Table<8> {
    let mut table = Table::new([Left, Left, Right, Right, Right, Right, Right, Left]);
    let head = "source identity size read settled lag age state";
    let mut names = head.split(' ').map(str::to_owned);
    table.row(std::array::from_fn(|_| names.next().unwrap_or_default()));
    for file in files {
        table.row([
            escape(&file.source).into_owned(),
            escape(&file.identity).into_owned(),
            bytes(file.size),
            bytes(file.read),
            bytes(file.settled),
            bytes(file.lag_bytes),
            match file.lag_seconds {
                0 => "-".to_owned(),
                seconds => age(seconds),
            },
            escape(file.state.split(':').next().unwrap_or_default()).into_owned(),
        ]);
    }
    table
}

/// From one time to another in whole seconds, 0 if the clock went back.
fn seconds_between(from_ms: EpochMs, to_ms: EpochMs) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms) / 1000).unwrap_or(0)
}

/// A length of time in its greatest unit, for a narrow column.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Refusals;
    use crate::status::{AgentHealth, DeploymentStatus, DeploymentsStatus, LifecycleEventStatus};

    fn busy() -> Status {
        let file = |source: &str, path: &str, lag: u64, state: &str| FileStatus {
            source: source.into(),
            path: path.into(),
            identity: "2049:10920349".into(),
            target: format!("/codedeploy/{source} i-0abcdef1234567890"),
            size: 464_139,
            read: 464_139,
            settled: 464_139 - lag,
            lag_bytes: lag,
            lag_seconds: lag / 1000,
            state: state.into(),
        };
        let root = "/opt/codedeploy-agent/deployment-root";
        let scripts =
            format!("{root}/9fb43944-176a-43f3-8093-3a53bc771e35/d-SECRET001/logs/scripts.log");
        let log = "/var/log/aws/codedeploy-agent/codedeploy-agent.log";
        Status {
            version: "0.1.0".into(),
            started_ms: 1_000_000,
            now_ms: 1_000_000 + 93_784_000,
            instance_id: Some("i-0abcdef1234567890".into()),
            problems: vec!["no permission for logs:PutLogEvents on /codedeploy/scripts".into()],
            codedeploy: "1.8.1 at /var/log/aws/codedeploy-agent".into(),
            files: vec![
                file("scripts", &scripts, 61_000, "waiting"),
                file("agent", log, 0, "idle"),
                file(
                    "app",
                    "/var/log/app/a\x1b[2Jb.log",
                    0,
                    "unreadable: permission denied",
                ),
            ],
            targets: vec![
                TargetStatus {
                    group: "/codedeploy/scripts".into(),
                    stream: "d-SECRET001/i-0abcdef1234567890".into(),
                    last_answer: "AccessDeniedException".into(),
                    last_answer_ms: 94_780_000,
                    pending_bytes: 61_000,
                    retry_ms: Some(94_814_000),
                },
                TargetStatus {
                    group: "/codedeploy/agent".into(),
                    stream: "i-0abcdef1234567890".into(),
                    last_answer: "ok".into(),
                    last_answer_ms: 94_783_000,
                    ..TargetStatus::default()
                },
            ],
            sources: [(
                "agent".to_owned(),
                SourceCounts {
                    events_delivered: 12_408,
                    bytes_delivered: 4_641_390,
                    refused: Refusals {
                        too_old: 3,
                        ..Refusals::default()
                    },
                    lost: [("truncated before it was read".to_owned(), 2_048)].into(),
                    redacted: [("aws-access-key".to_owned(), 2)].into(),
                    ..SourceCounts::default()
                },
            )]
            .into(),
            batch_bytes: (61_440, 16_777_216),
            rescue: (2, 40_000),
            codedeploy_health: AgentHealth {
                healthy: Some(false),
                reason: "no answered poll for 4 minutes".into(),
                answered_ms: Some(94_543_000),
            },
            deployments: DeploymentsStatus {
                deployments: vec![DeploymentStatus {
                    id: "d-SECRET001".into(),
                    group: Some("production".into()),
                    state: "succeeded".into(),
                    inferred: true,
                    began_ms: 94_700_000,
                    ended_ms: Some(94_712_000),
                    events: vec![LifecycleEventStatus {
                        name: "Install".into(),
                        state: "succeeded".into(),
                        started_ms: Some(94_703_000),
                        finished_ms: Some(94_712_000),
                        duration_ms: Some(9_000),
                        ..LifecycleEventStatus::default()
                    }],
                    ..DeploymentStatus::default()
                }],
                ..DeploymentsStatus::default()
            },
            metrics: MetricsStatus {
                namespace: "Deploywatch".into(),
                period_s: 60,
                delivered: 1_203,
                pending: 11,
                refused: [("too_many_series".to_owned(), 4)].into(),
                last_answer: "ok".into(),
                last_answer_ms: 94_760_000,
                ..MetricsStatus::default()
            },
            ..Status::default()
        }
    }

    #[test]
    fn a_busy_agent_is_told_at_a_glance() {
        // The whole page for 80 columns, word for word.
        let expected = "\
deploywatch 0.1.0 on i-0abcdef1234567890: 1 problem (up 1 d 2 h)
  ! no permission for logs:PutLogEvents on /codedeploy/scripts
CodeDeploy agent: 1.8.1 at /var/log/aws/codedeploy-agent
  not healthy: no answered poll for 4 minutes

Deployments: 1
  d-SECRET001  succeeded (inferred)  production  1 min 12 s ago, took 12 s
    Install  succeeded  9.0 s  |          ==============================

Files: 3, 59 KiB behind
    source   identity          size     read  settled     lag    age  state
  /opt/codedeploy-agent/dep…-43f3-8093-3a53bc771e35/d-SECRET001/logs/scripts.log
    scripts  2049:10920349  453 KiB  453 KiB  393 KiB  59 KiB  1 min  waiting
  /var/log/aws/codedeploy-agent/codedeploy-agent.log
    agent    2049:10920349  453 KiB  453 KiB  453 KiB     0 B      -  idle
  /var/log/app/a\\u001b[2Jb.log → /codedeploy/app i-0abcdef1234567890
    app      2049:10920349  453 KiB  453 KiB  453 KiB     0 B      -  unreadable
    unreadable: permission denied

Targets: 2
  /codedeploy/scripts d-SECRET001/i-0abcdef1234567890
    AccessDeniedException 4 s ago, 59 KiB waiting, next try in 30 s
  /codedeploy/agent i-0abcdef1234567890
    ok 1 s ago

Delivered and not, since the state directory was made
  agent: 12,408 events, 4.4 MiB
    lost 2.0 KiB: truncated before it was read
    refused 3: older than 14 days
    redacted 2: aws-access-key

Metrics: namespace Deploywatch, every 60 s
  1,203 data delivered, 11 waiting; ok 24 s ago
    refused 4: too_many_series

Batches hold 60 KiB of at most 16 MiB
Rescued from deleted files, not shipped yet: 39 KiB in 2 segments
";
        let page = render(&busy(), 80, Colour::Off);
        assert_eq!(page, expected, "got:\n{page}");
    }

    #[test]
    fn an_agent_that_just_started_is_told_too() {
        // Nothing known yet makes a short page without odd numbers, word for word.
        let expected = "\
deploywatch  on not known yet: ok (up 0 s)
CodeDeploy agent:

Deployments: 0
  none seen yet

Files: 0, 0 B behind
  none found yet; `deploywatch check` shows where they are looked for

Targets: 0

Delivered and not, since the state directory was made
  nothing yet

Batches hold 0 B of at most 0 B
";
        assert_eq!(render(&Status::default(), 100, Colour::Off), expected);
    }

    #[test]
    fn thousands_of_files_stay_a_glance() {
        // The page is bounded and says what it left out; shown with a thousand files.
        let mut status = busy();
        status.files = vec![FileStatus::default(); 1000];
        let page = render(&status, 100, Colour::Off);
        assert!(page.lines().count() < 120);
        assert!(page.contains("and 960 more files"));
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        // With the sequences taken out, the coloured page is the plain one.
        let coloured = render(&busy(), 80, Colour::On);
        let plain = regex::Regex::new("\x1b\\[[0-9;]*m")
            .unwrap()
            .replace_all(&coloured, "")
            .into_owned();
        assert!(coloured.contains("\x1b[1;31m1 problem"));
        assert_eq!(plain, render(&busy(), 80, Colour::Off));
    }

    fn ran(result: Result<Status, &str>, format: Format) -> (Standing, String, String) {
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let standing = run(|| result, format, &mut out, &mut complaints).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (standing, text(out), text(complaints))
    }

    #[test]
    fn json_is_the_snapshot_itself() {
        // Tools get everything the agent told; shown by reading it back.
        let (standing, out, _) = ran(Ok(busy()), Format::Json);
        assert_eq!(standing, Standing::Problems);
        assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), busy());
    }

    #[test]
    fn no_answer_says_what_to_do() {
        // Without an agent nothing goes to standard output, and the reason and next steps are told.
        let (standing, out, complaints) = ran(Err("no socket at /run/x"), Format::Glance);
        assert_eq!(standing, Standing::NotRunning);
        assert_eq!(out, "");
        assert!(complaints.contains("no socket at /run/x"));
        assert!(complaints.contains("systemctl status deploywatch"));
    }
}
