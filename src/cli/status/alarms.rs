//! What may act on the instance and what is told to others: alarms and events as people read them.
//!
//! Pure: a title and rows of styled text, or nothing where nothing is configured.

use crate::cli::terminal::Side::Left;
use crate::cli::terminal::{Colour, Style, Table, duration, escape, number, shorten};
use crate::event::EpochMs;
use crate::status::{AlarmStatus, AlarmsStatus, EventsStatus};

use super::seconds_between;

/// Alarms shown at most. `--json` has them all.
const ALARMS_MAX: usize = 20;

/// A part of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
}

/// How a page is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sheet {
    pub(super) now_ms: EpochMs,
    pub(super) width: usize,
    pub(super) colour: Colour,
}

/// The alarms, whether they act, and what they did.
#[must_use]
pub(super) fn alarms(status: &AlarmsStatus, sheet: Sheet) -> Option<Part> {
    let all = &status.alarms;
    if all.is_empty() && status.suspended_by.is_none() && status.preceded_by.is_none() {
        return None;
    }
    let paint = |style, text: &str| sheet.colour.paint(style, text);
    let maker = match (status.managed, status.applied_ms) {
        (true, Some(at_ms)) => {
            let age = duration(seconds_between(at_ms, sheet.now_ms));
            format!("made by the agent, as wanted {age} ago")
        }
        (true, None) => "made by the agent, not yet".to_owned(),
        (false, _) => "made by `deploywatch alarms apply`".to_owned(),
    };
    let mut lines = Vec::new();
    if let Some(by) = &status.suspended_by {
        let since = status.suspended_since_ms.unwrap_or(sheet.now_ms);
        let age = duration(seconds_between(since, sheet.now_ms));
        let text = format!(
            "actions on this instance are suspended by {} for {age}",
            escape(by)
        );
        lines.push(format!("  {}", paint(Style::Bad, &text)));
        if !status.suspension_confirmed {
            let text = "not confirmed by CloudWatch: breaches are not published meanwhile";
            lines.push(format!("    {}", paint(Style::Bad, text)));
        }
    }
    if status.restarts > 0 {
        let text = format!(
            "{} restarts after breaches count",
            number(status.restarts.into())
        );
        lines.push(format!("  {}", paint(Style::Warn, &text)));
    }
    if let Some(action) = &status.preceded_by {
        let text = format!("this boot was preceded by {}", escape(action));
        lines.push(format!("  {}", paint(Style::Warn, &text)));
    }
    if let Some(problem) = &status.problem {
        lines.push(format!("  {}", paint(Style::Bad, &escape(problem))));
    }
    lines.extend(rows(all, sheet));
    Some(Part {
        title: format!("Alarms: {}, {maker}", all.len()),
        lines,
    })
}

fn rows(all: &[AlarmStatus], sheet: Sheet) -> Vec<String> {
    let mut table = Table::new([Left, Left, Left]);
    let shown = &all[..all.len().min(ALARMS_MAX)];
    for alarm in shown {
        let action = match &alarm.action {
            Some(action) => format!("{} this instance", escape(action).to_uppercase()),
            None => "tells people".to_owned(),
        };
        table.row([
            escape(&alarm.name).into_owned(),
            escape(&alarm.metric).into_owned(),
            action,
        ]);
    }
    let mut lines: Vec<String> = (shown.iter())
        .zip(table.lines(sheet.width.saturating_sub(2)))
        .map(|(alarm, row)| match alarm.breaching {
            true => format!(
                "  {}",
                sheet.colour.paint(Style::Bad, &format!("{row}  breaching"))
            ),
            false => format!("  {row}"),
        })
        .collect();
    if all.len() > ALARMS_MAX {
        let hidden = all.len() - ALARMS_MAX;
        lines.push(format!(
            "  and {hidden} more alarms: `deploywatch status --json`"
        ));
    }
    lines
}

/// What became of events.
#[must_use]
pub(super) fn events(status: &EventsStatus, sheet: Sheet) -> Option<Part> {
    if !status.enabled {
        return None;
    }
    let counts = &status.counts;
    let (sent, waiting) = (number(counts.sent), number(status.waiting));
    let mut lines = vec![format!("  {sent} sent, {waiting} waiting")];
    for (count, reason) in [
        (counts.refused, "refused by EventBridge"),
        (counts.expired, "given up after a day"),
        (counts.no_room, "pushed out by newer ones"),
        (counts.before_boot, "not sent before the machine's boot"),
    ] {
        if count > 0 {
            let text = format!("{} {reason}", number(count));
            lines.push(format!("    {}", sheet.colour.paint(Style::Bad, &text)));
        }
    }
    if let Some(error) = &status.last_error {
        let text = shorten(&escape(error), sheet.width.saturating_sub(4)).into_owned();
        lines.push(format!("    {}", sheet.colour.paint(Style::Bad, &text)));
    }
    Some(Part {
        title: format!("Events: bus {}", escape(&status.bus)),
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::EventCounts;

    const SHEET: Sheet = Sheet {
        now_ms: 600_000,
        width: 100,
        colour: Colour::Off,
    };

    /// Whoever reads the page sees what would be done to the instance, that it is suspended, what
    /// was done before this boot, and what breaches: word for word.
    #[test]
    fn alarms_say_what_they_do() {
        let alarm = |name: &str, action: Option<&str>, breaching| AlarmStatus {
            name: name.to_owned(),
            metric: "Deploywatch Heartbeat".to_owned(),
            action: action.map(str::to_owned),
            breaching,
        };
        let status = AlarmsStatus {
            managed: true,
            suspended_by: Some("loop breaker".to_owned()),
            suspended_since_ms: Some(540_000),
            restarts: 4,
            applied_ms: Some(0),
            preceded_by: Some("dead: rebooted".to_owned()),
            problem: Some("no permission\n".to_owned()),
            alarms: vec![
                alarm("dead", Some("reboot"), true),
                alarm("silent", None, false),
            ],
            ..AlarmsStatus::default()
        };
        let part = alarms(&status, SHEET).unwrap();
        assert_eq!(
            part.title,
            "Alarms: 2, made by the agent, as wanted 10 min 0 s ago"
        );
        let expected = "  actions on this instance are suspended by loop breaker for 1 min 0 s\n    \
             not confirmed by CloudWatch: breaches are not published meanwhile\n  \
             4 restarts after breaches count\n  this boot was preceded by dead: rebooted\n  \
             no permission\\n\n  \
             dead    Deploywatch Heartbeat  REBOOT this instance  breaching\n  \
             silent  Deploywatch Heartbeat  tells people";
        assert_eq!(part.lines.join("\n"), expected);
        assert_eq!(alarms(&AlarmsStatus::default(), SHEET), None);
        let many = AlarmsStatus {
            alarms: vec![alarm("a", None, false); 99],
            ..status
        };
        assert!(
            alarms(&many, SHEET).unwrap().lines.len() < 30,
            "the page is bounded"
        );
    }

    /// What was not sent is told with its reason, and nothing at all where none are to be sent:
    /// word for word.
    #[test]
    fn events_say_what_became_of_them() {
        let status = EventsStatus {
            enabled: true,
            bus: "default".to_owned(),
            waiting: 2,
            counts: EventCounts {
                sent: 3,
                refused: 1,
                ..EventCounts::default()
            },
            last_error: Some("not permitted".to_owned()),
        };
        let part = events(&status, SHEET).unwrap();
        assert_eq!(part.title, "Events: bus default");
        let expected = [
            "  3 sent, 2 waiting",
            "    1 refused by EventBridge",
            "    not permitted",
        ];
        assert_eq!(part.lines, expected);
        assert_eq!(
            events(
                &EventsStatus {
                    enabled: false,
                    ..status
                },
                SHEET
            ),
            None
        );
    }
}
