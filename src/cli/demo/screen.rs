//! What the demo shows: a head, lines as things happen, tables at the end. Only ever appends, so
//! that it reads the same in a terminal, a pipe and a build log.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::alarms::{self, Judgement};
use super::arrivals::Arrivals;
use super::machine::{Machine, Tally};
use super::progress::Note;
use super::verify::{Count, Sum, Verdict};
use crate::cli::status::timeline;
use crate::cli::terminal::{Colour, Style, escape, number, shorten};
use crate::config::alarm::Alarm;
use crate::status::Status;

/// Deployments of which each lifecycle event is told; of later ones only the end.
const TOLD_IN_FULL: usize = 3;

/// A hook that has been running for so long is suspected.
const HANGING_S: u64 = 4;

/// Where the text goes, and how it looks.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    colour: Colour,
    width: usize,
    began: Instant,
    told_in_full: Vec<String>,
}

/// What the summary is made of.
pub(super) struct Summary<'a> {
    pub(super) machine: &'a Machine,
    /// The agent's own account, taken before its end.
    pub(super) status: &'a Status,
    pub(super) sums: &'a [Sum],
    pub(super) alarms: &'a [(Arc<Alarm>, Judgement)],
    pub(super) arrivals: &'a Arrivals,
    pub(super) verdict: &'a Verdict,
    pub(super) restarts: Restarts,
}

/// How often the agent was stopped and started, and what it missed meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restarts {
    pub(super) times: u32,
    pub(super) records_meanwhile: usize,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut dyn Write, colour: Colour, width: usize) -> Self {
        Self {
            out,
            colour,
            width,
            began: Instant::now(),
            told_in_full: Vec::new(),
        }
    }

    /// What is going to happen.
    pub(super) fn head(&mut self) -> io::Result<()> {
        let title = self.colour.paint(Style::Title, "Deploywatch demo");
        writeln!(
            self.out,
            "{title}\n\
             A made-up CodeDeploy agent deploys into a temporary directory: a good revision,\n\
             a failing one, a hanging one, more until old ones are pruned; its logs rotate.\n\
             The real agent ships all that to files instead of CloudWatch, publishes metrics, is\n\
             restarted once; at the end every record is looked for. No AWS, no network, no root.\n"
        )?;
        let machine = self.colour.paint(Style::Faint, "› what the machine does");
        writeln!(
            self.out,
            "           {machine}   d-…  what the agent tells of it\n"
        )
    }

    /// Something the machine does.
    pub(super) fn machine(&mut self, text: &str) -> io::Result<()> {
        let text = self.colour.paint(Style::Faint, &format!("› {text}"));
        self.line(&text)
    }

    /// Something the agent tells of a deployment.
    pub(super) fn note(&mut self, note: &Note) -> io::Result<()> {
        match note {
            Note::Succeeded { deployment, event } => {
                if !self.is_told_in_full(deployment) {
                    return Ok(());
                }
                let good = self.colour.paint(Style::Good, "succeeded");
                self.deployment(deployment, &format!("{event:<17}{good}"))
            }
            Note::Finished { deployment } => {
                let good = self.colour.paint(Style::Good, "deployment succeeded");
                self.deployment(deployment, &format!("{good} (inferred)"))
            }
            Note::Failed {
                deployment,
                event,
                why,
                output,
            } => {
                let failed = self.colour.paint(Style::Bad, "FAILED");
                self.deployment(deployment, &format!("{event:<17}{failed}"))?;
                self.evidence(why)?;
                output.iter().try_for_each(|line| self.evidence(line))
            }
            Note::Running {
                deployment,
                event,
                seconds,
            } => {
                let mark = if *seconds >= HANGING_S {
                    "HANGING? "
                } else {
                    ""
                };
                let hangs = format!("{mark}runs for {seconds} s");
                let hangs = self.colour.paint(Style::Warn, &hangs);
                self.deployment(deployment, &format!("{event:<17}{hangs}"))
            }
        }
    }

    /// A data point that was published.
    pub(super) fn metric(&mut self, text: &str) -> io::Result<()> {
        let what = self.colour.paint(Style::Good, "metric");
        let room = self.width.saturating_sub(24);
        let text = escape(text);
        self.line(&format!("{what}       {}", shorten(&text, room)))
    }

    /// An alarm that would have fired by now.
    pub(super) fn alarm(&mut self, alarm: &Alarm) -> io::Result<()> {
        let what = self.colour.paint(Style::Bad, "ALARM");
        let (name, deeds) = (&alarm.name, alarms::deeds(alarm));
        self.line(&format!("{what}        {name}: would {deeds} (not done)"))
    }

    /// How a line with a secret arrived.
    pub(super) fn redacted(&mut self, message: &str) -> io::Result<()> {
        let text = escape(message);
        let text = shorten(&text, self.width.saturating_sub(24)).into_owned();
        let what = self.colour.paint(Style::Warn, "redacted");
        self.line(&format!("{what}     {text}"))
    }

    /// A line of what a failed script said.
    fn evidence(&mut self, line: &str) -> io::Result<()> {
        let line = escape(line);
        let line = shorten(&line, self.width.saturating_sub(16));
        let line = self.colour.paint(Style::Bad, &format!("│ {line}"));
        writeln!(self.out, "{:14}{line}", "")
    }

    fn is_told_in_full(&mut self, deployment: &str) -> bool {
        if self.told_in_full.iter().any(|known| known == deployment) {
            return true;
        }
        let room = self.told_in_full.len() < TOLD_IN_FULL;
        if room {
            self.told_in_full.push(deployment.to_owned());
        }
        room
    }

    fn deployment(&mut self, id: &str, text: &str) -> io::Result<()> {
        let id = self.colour.paint(Style::Name, &escape(id));
        self.line(&format!("{id}  {text}"))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        writeln!(self.out, "{seconds:7.1} s  {}", text.trim_end())?;
        self.out.flush()
    }

    fn title(&mut self, text: &str) -> io::Result<()> {
        let title = self.colour.paint(Style::Title, text);
        writeln!(self.out, "\n{title}")
    }

    /// The end: deployments, logs, what happened, the verdict.
    pub(super) fn summary(&mut self, summary: &Summary<'_>) -> io::Result<()> {
        self.deployments(summary.status)?;
        self.sums(summary.sums)?;
        self.alarms(summary.alarms)?;
        self.logs(summary.verdict)?;
        self.events(summary)?;
        self.verdict(summary)
    }

    fn deployments(&mut self, status: &Status) -> io::Result<()> {
        self.title("Deployments, as `deploywatch status` draws them")?;
        let oldest_first = status.deployments.deployments.iter().rev();
        for (place, deployment) in oldest_first.enumerate() {
            let width = self.width.saturating_sub(2);
            let lines = timeline::draw(deployment, status.now_ms, width, self.colour);
            let shown = match place {
                0..TOLD_IN_FULL => lines.len(),
                _ => 1,
            };
            for line in &lines[..shown] {
                writeln!(self.out, "  {line}")?;
            }
        }
        Ok(())
    }

    fn alarms(&mut self, alarms: &[(Arc<Alarm>, Judgement)]) -> io::Result<()> {
        self.title("Alarms, judged by what was published; none was made, nothing was done")?;
        for (alarm, judgement) in alarms {
            let name = self.colour.paint(Style::Name, &alarm.name);
            let style = match judgement {
                Judgement::Fired { .. } => Style::Bad,
                Judgement::Calm { .. } => Style::Good,
                Judgement::NoData => Style::Faint,
            };
            let reason = alarms::reason(alarm, judgement);
            let deeds = alarms::deeds(alarm);
            let deeds = match judgement {
                Judgement::Fired { .. } => format!("would have had AWS {deeds}: not done"),
                _ => format!("in ALARM it would have AWS {deeds}"),
            };
            writeln!(
                self.out,
                "  {name}\n    {}\n    {deeds}",
                self.colour.paint(style, &reason)
            )?;
        }
        Ok(())
    }

    fn sums(&mut self, sums: &[Sum]) -> io::Result<()> {
        self.title("Metrics, and what was played")?;
        for Sum {
            metric,
            played,
            published,
        } in sums
        {
            let row = format!("  {metric:<22} {published} published, {played} played");
            let style = match played == published {
                true => Style::Good,
                false => Style::Bad,
            };
            writeln!(self.out, "{}", self.colour.paint(style, &row))?;
        }
        Ok(())
    }

    fn logs(&mut self, verdict: &Verdict) -> io::Result<()> {
        self.title("Records written, and what arrived")?;
        let room = self.width.max(80) - 34;
        let head = format!(
            "  {:<room$}{:>8}{:>9}{:>6}{:>9}",
            "log group and stream", "written", "arrived", "twice", "missing"
        );
        let head = self.colour.paint(Style::Faint, &head);
        writeln!(self.out, "{head}")?;
        for (key, count) in &verdict.counts {
            let name = match (&count.target, &key.deployment) {
                (target, _) if !target.is_empty() => target.clone(),
                (_, Some(deployment)) => format!("(nothing of scripts {deployment})"),
                (_, None) => format!("(nothing of {})", key.source),
            };
            self.row(&name, count)?;
        }
        let sum = Count {
            target: String::new(),
            written: verdict.sum(|count| count.written),
            arrived: verdict.sum(|count| count.arrived),
            twice: verdict.sum(|count| count.twice),
            missing: verdict.sum(|count| count.missing),
            unknown: verdict.sum(|count| count.unknown),
            disordered: verdict.sum(|count| count.disordered),
            misfiled: verdict.sum(|count| count.misfiled),
        };
        self.row("all", &sum)
    }

    fn row(&mut self, name: &str, count: &Count) -> io::Result<()> {
        let room = self.width.max(80) - 34;
        let name = escape(name);
        let mut row = format!(
            "  {:<room$}{:>8}{:>9}{:>6}{:>9}",
            shorten(&name, room - 1),
            number(count.written as u64),
            number(count.arrived as u64),
            number(count.twice as u64),
            number(count.missing as u64),
        );
        for (figure, what) in [
            (count.unknown, "never written"),
            (count.disordered, "out of order"),
            (count.misfiled, "in another deployment's stream"),
        ] {
            if figure > 0 {
                row.push_str(&format!("  {} {what}", number(figure as u64)));
            }
        }
        if !count.is_good() {
            row = self.colour.paint(Style::Bad, &row);
        }
        writeln!(self.out, "{row}")
    }

    fn events(&mut self, summary: &Summary<'_>) -> io::Result<()> {
        let Tally {
            copy_truncates,
            renames,
            pruned,
            ..
        } = summary.machine.tally;
        let Restarts {
            times,
            records_meanwhile,
        } = summary.restarts;
        self.title("On the way")?;
        writeln!(
            self.out,
            "  {copy_truncates} rotation by copy and truncate, {renames} by rename; \
             {pruned} deployments pruned\n  \
             {times} restart of the agent, {} records written while it was away\n  \
             {} records with a password, {} of which arrived with it",
            number(records_meanwhile as u64),
            summary.verdict.secrets,
            summary.verdict.leaked,
        )
    }

    fn verdict(&mut self, summary: &Summary<'_>) -> io::Result<()> {
        let verdict = summary.verdict;
        let records = number(verdict.sum(|count| count.written) as u64);
        let lines = number(summary.machine.lines() as u64);
        let is_counted = summary.sums.iter().all(Sum::is_good);
        if !is_counted {
            let text = "NOT everything that was played was published as it was.";
            let text = self.colour.paint(Style::Bad, text);
            writeln!(self.out, "\n{text}")?;
        }
        if verdict.is_good() {
            let text = format!("Every one of {records} records ({lines} lines) arrived once.");
            let text = self.colour.paint(Style::Good, &text);
            writeln!(self.out, "\n{text}")
        } else {
            let text = format!("NOT every one of {records} records arrived exactly once:");
            let text = self.colour.paint(Style::Bad, &text);
            writeln!(self.out, "\n{text}")?;
            for example in &verdict.examples {
                let example = escape(example);
                let room = self.width.saturating_sub(2);
                writeln!(self.out, "  {}", shorten(&example, room))?;
            }
            let path = summary.arrivals.path().display().to_string();
            writeln!(self.out, "  what arrived: {}", escape(&path))
        }
    }

    /// What a newcomer does next.
    pub(super) fn next_steps(&mut self) -> io::Result<()> {
        self.title("What to do next")?;
        writeln!(
            self.out,
            "  1. install it on an instance with a role: README.md, \"Quick start\"\n  \
             2. CodeDeploy's logs need no configuration; for others add a [[source]] to\n     \
                /etc/deploywatch/deploywatch.toml\n  \
             3. see what would be shipped where:  deploywatch check\n  \
             4. see what it does:                 deploywatch status"
        )
    }
}
