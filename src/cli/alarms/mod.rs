//! `deploywatch alarms`: compares, makes, deletes, shows, suspends, resumes and tests the alarms
//! of one instance, with the credentials of whoever types it.
//!
//! Suspending and resuming do two things: they ask the service at once, and they leave an order
//! in the state directory for the agent, which may be running or not: it remembers the order over
//! restarts, shows it, and does not undo it. We chose a file over a message to the running agent,
//! because an order must also reach an agent that is down, which is when it is needed most.

mod session;
mod show;

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::load::load_config;
use super::{
    AlarmsArgs, AlarmsCommand, AlarmsPlanArgs, AlarmsTargetArgs, AlarmsTestArgs, ExitCode,
};
use crate::alarms::apply::{Applying, Task, Until};
use crate::alarms::plan::{ByHand, Owner, differences};
use crate::alarms::spec::{Wanted, acts_on_instance};
use crate::alarms::state::{ORDER_FILE, Order};
use crate::config::Config;
use crate::os::store::hand_over;
use crate::ports::alarm::{
    ActionTaken, AlarmCall, AlarmReply, AlarmState, NAMES_MAX, ServiceAlarm,
};
pub use session::Session;

/// How far back `status` looks for the last action.
const HISTORY_MS: i64 = 14 * 24 * 3_600_000;

/// Where the command speaks and hears.
pub struct Terminal<'a> {
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Questions, and what is in the way.
    pub err: &'a mut dyn Write,
    /// The person's answer to a question.
    pub input: &'a mut dyn BufRead,
    /// Whether there is a person.
    pub is_interactive: bool,
}

/// Runs the command.
///
/// # Errors
/// When the service cannot be asked or refuses, or nothing can be written.
pub fn run(args: &AlarmsArgs, terminal: &mut Terminal<'_>) -> anyhow::Result<ExitCode> {
    let target = target_of(&args.command);
    let config = match load_config(args.config.as_deref()) {
        Ok((config, _notes)) => config,
        Err(error) => {
            writeln!(terminal.err, "{error}")?;
            return Ok(error.exit_code());
        }
    };
    let open = || Session::open(&config, target.instance_id.as_deref());
    match &args.command {
        AlarmsCommand::Plan(args) => apply(&mut open()?, args, Until::Planned, terminal),
        AlarmsCommand::Apply(args) => apply(&mut open()?, args, Until::Applied, terminal),
        AlarmsCommand::Delete(target) => delete(&mut open()?, target, terminal),
        AlarmsCommand::Status(target) => status(&mut open()?, target, terminal),
        AlarmsCommand::Suspend(target) => give(Order::Suspend, &config, target, terminal),
        AlarmsCommand::Resume(target) => give(Order::Resume, &config, target, terminal),
        AlarmsCommand::Test(args) => test(&mut open()?, args, terminal),
    }
}

fn target_of(command: &AlarmsCommand) -> &AlarmsTargetArgs {
    match command {
        AlarmsCommand::Plan(args) | AlarmsCommand::Apply(args) => &args.target,
        AlarmsCommand::Test(args) => &args.target,
        AlarmsCommand::Delete(target)
        | AlarmsCommand::Status(target)
        | AlarmsCommand::Suspend(target)
        | AlarmsCommand::Resume(target) => target,
    }
}

fn task(wanted: &Wanted, by_hand: ByHand, until: Until) -> Task {
    Task {
        wanted: wanted.clone(),
        by_hand,
        made: BTreeSet::new(),
        suspended: false,
        outdated: Vec::new(),
        until,
    }
}

fn apply(
    session: &mut Session,
    args: &AlarmsPlanArgs,
    until: Until,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let by_hand = match args.adopt {
        true => ByHand::Adopt,
        false => ByHand::Revert,
    };
    let mut applying = Applying::new(task(&session.wanted, by_hand, until));
    session
        .drive(&mut applying)
        .context("failed to look at the alarms")?;
    let plan = applying.plan().cloned().unwrap_or_default();
    if args.target.json {
        let mut json = show::plan_json(&plan, &session.wanted);
        json["applied"] = Value::from(until == Until::Applied);
        json["failed"] = failed_json(&applying);
        writeln!(terminal.out, "{json:#}")?;
    } else {
        show::plan(&plan, &session.wanted, terminal.out)?;
        if until == Until::Applied && !plan.is_empty() {
            let done = plan.changes.len() - applying.failed().len().min(plan.changes.len());
            writeln!(terminal.out, "applied: {done} of {}", plan.changes.len())?;
        }
    }
    Ok(match until {
        Until::Planned if plan.is_empty() => ExitCode::Ok,
        Until::Planned => ExitCode::Different,
        Until::Applied => report_failed(&applying, terminal)?,
    })
}

fn delete(
    session: &mut Session,
    target: &AlarmsTargetArgs,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let nothing = Wanted {
        prefix: session.wanted.prefix.clone(),
        specs: Vec::new(),
        impossible: Vec::new(),
    };
    let mut applying = Applying::new(task(&nothing, ByHand::Revert, Until::Applied));
    session
        .drive(&mut applying)
        .context("failed to look at the alarms")?;
    let plan = applying.plan().cloned().unwrap_or_default();
    if target.json {
        let mut json = show::plan_json(&plan, &nothing);
        json["failed"] = failed_json(&applying);
        writeln!(terminal.out, "{json:#}")?;
    } else {
        show::plan(&plan, &nothing, terminal.out)?;
    }
    Ok(report_failed(&applying, terminal)?)
}

fn failed_json(applying: &Applying) -> Value {
    let failed = applying.failed().iter();
    failed
        .map(|(name, error)| json!({ "name": name, "error": error.to_string() }))
        .collect()
}

fn report_failed(applying: &Applying, terminal: &mut Terminal<'_>) -> io::Result<ExitCode> {
    for (name, error) in applying.failed() {
        writeln!(terminal.err, "{name}: {error}")?;
    }
    Ok(match applying.failed().is_empty() {
        true => ExitCode::Ok,
        false => ExitCode::Failure,
    })
}

/// The alarms under our prefix.
fn present(session: &mut Session) -> anyhow::Result<Vec<ServiceAlarm>> {
    let prefix = session.wanted.prefix.clone();
    match session.call(&AlarmCall::Describe { prefix }) {
        Ok(AlarmReply::Alarms(alarms)) => Ok(alarms),
        Ok(_) => Ok(Vec::new()),
        Err(error) => Err(error).context("failed to look at the alarms"),
    }
}

fn status(
    session: &mut Session,
    target: &AlarmsTargetArgs,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let there = present(session)?;
    let wanted = session.wanted.clone();
    let mut lines = Vec::new();
    for spec in &wanted.specs {
        let found = there.iter().find(|alarm| alarm.spec.name == spec.name);
        lines.push(show::Line {
            name: &spec.name,
            there: found,
            differences: found.map_or(0, |alarm| differences(alarm, spec).len()),
            last_action: found.and_then(|_| last_action(session, &spec.name)),
        });
    }
    let is_wanted = |name: &str| wanted.specs.iter().any(|spec| spec.name == name);
    let others: Vec<&str> = there
        .iter()
        .map(|alarm| alarm.spec.name.as_str())
        .filter(|name| !is_wanted(name))
        .collect();
    if target.json {
        let json = json!({
            "alarms": lines.iter().map(show::Line::json).collect::<Vec<_>>(),
            "not_in_configuration": others,
        });
        writeln!(terminal.out, "{json:#}")?;
        return Ok(ExitCode::Ok);
    }
    for line in &lines {
        line.write(terminal.out)?;
    }
    for name in others {
        writeln!(terminal.out, "{name}\n    not in the configuration")?;
    }
    if lines.is_empty() {
        writeln!(terminal.out, "no alarm is configured")?;
    }
    Ok(ExitCode::Ok)
}

/// The newest action; a role that may not read the history knows of none.
fn last_action(session: &mut Session, name: &str) -> Option<ActionTaken> {
    let since_ms = crate::os::clock::now().wall_ms - HISTORY_MS;
    let name = name.to_owned();
    match session.call(&AlarmCall::History { name, since_ms }) {
        Ok(AlarmReply::History(actions)) => actions.into_iter().max_by_key(|action| action.at_ms),
        Ok(_) | Err(_) => None,
    }
}

/// Leaves an order for the agent, and has CloudWatch carry it out at once. In this sequence: it must
/// reach the agent also where nobody else answers.
fn give(
    order: Order,
    config: &Config,
    target: &AlarmsTargetArgs,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let is_own = target.instance_id.is_none();
    let left = match is_own {
        true => hand_over(&config.agent.state_dir, ORDER_FILE, order.word()),
        false => Ok(()),
    };
    if let Err(error) = &left {
        writeln!(terminal.err, "the agent could not be told: {error}")?;
    }
    let session = Session::open(config, target.instance_id.as_deref());
    let mut session = match is_own && left.is_ok() {
        true => session.context("the agent has the order, CloudWatch could not be asked")?,
        false => session?,
    };
    let names = carry_out(&mut session, order)?;
    if target.json {
        let is_suspended = order == Order::Suspend;
        let json = json!({ "alarms": names, "suspended": is_suspended });
        writeln!(terminal.out, "{json:#}")?;
    } else {
        show::order(order, &names, terminal.out)?;
    }
    Ok(match left {
        Ok(()) => ExitCode::Ok,
        Err(_) => ExitCode::Failure,
    })
}

/// Switches the actions of the alarms that act on the instance off or on; which those are.
fn carry_out(session: &mut Session, order: Order) -> anyhow::Result<Vec<String>> {
    let acts = |alarm: &&ServiceAlarm| acts_on_instance(&alarm.spec);
    let there = present(session)?;
    let mut names = Vec::new();
    for alarm in there.iter().filter(acts) {
        // Suspending an alarm under our own prefix harms nobody, and must not wait for a permission.
        if order == Order::Suspend || owner(session, alarm)? == Owner::Us {
            names.push(alarm.spec.name.clone());
        }
    }
    for names in names.chunks(NAMES_MAX) {
        let names = names.to_vec();
        let call = match order {
            Order::Suspend => AlarmCall::DisableActions { names },
            Order::Resume => AlarmCall::EnableActions { names },
        };
        session
            .call(&call)
            .context("CloudWatch did not take it; the agent tries on")?;
    }
    Ok(names)
}

fn owner(session: &mut Session, alarm: &ServiceAlarm) -> anyhow::Result<Owner> {
    let arn = alarm.arn.clone();
    match session.call(&AlarmCall::Tags { arn }) {
        Ok(AlarmReply::Tags(tags)) if crate::alarms::apply::is_ours(&tags) => Ok(Owner::Us),
        Ok(_) => Ok(Owner::Other),
        Err(error) => {
            Err(error).with_context(|| format!("failed to see whose {} is", alarm.spec.name))
        }
    }
}

fn test(
    session: &mut Session,
    args: &AlarmsTestArgs,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let name = format!("{}{}", session.wanted.prefix, args.name);
    let there = present(session)?;
    let Some(alarm) = there.iter().find(|alarm| alarm.spec.name == name) else {
        let names: Vec<&str> = there
            .iter()
            .filter_map(|alarm| alarm.spec.name.strip_prefix(&session.wanted.prefix))
            .collect();
        bail!("there is no alarm {name}; there are: {}", names.join(", "));
    };
    if alarm.state == AlarmState::Alarm {
        bail!("{name} is in ALARM already: actions are called only when it goes there");
    }
    writeln!(
        terminal.err,
        "This sets {name} to ALARM. CloudWatch will then"
    )?;
    let calls = match (alarm.actions_enabled, &alarm.spec.alarm_actions[..]) {
        (false, _) => vec!["call nothing: the alarm's actions are suspended".to_owned()],
        (true, []) => vec!["call nothing: the alarm has no actions".to_owned()],
        (true, actions) => actions
            .iter()
            .map(|action| show::consequence(action, &alarm.spec.dimensions))
            .collect(),
    };
    for call in calls {
        writeln!(terminal.err, "  - {call}")?;
    }
    writeln!(
        terminal.err,
        "The next evaluation sets it back to what the metric says; that calls its OK actions."
    )?;
    if !args.yes_run_the_action && !agrees(&args.name, terminal)? {
        writeln!(terminal.err, "nothing was done")?;
        return Ok(ExitCode::Usage);
    }
    let reason = "deploywatch alarms test";
    let call = AlarmCall::SetState {
        name: name.clone(),
        state: AlarmState::Alarm,
        reason: reason.to_owned(),
    };
    session
        .call(&call)
        .with_context(|| format!("failed to set {name}"))?;
    if args.target.json {
        let json = json!({ "name": name, "state": AlarmState::Alarm.word() });
        writeln!(terminal.out, "{json:#}")?;
    } else {
        writeln!(terminal.out, "{name} is in ALARM")?;
    }
    Ok(ExitCode::Ok)
}

/// Whether the person types the alarm's name. Without a person: no.
fn agrees(name: &str, terminal: &mut Terminal<'_>) -> io::Result<bool> {
    if !terminal.is_interactive {
        let said = "nobody to ask: give --yes-run-the-action if that is meant";
        writeln!(terminal.err, "{said}")?;
        return Ok(false);
    }
    write!(terminal.err, "Type {name} to go on: ")?;
    terminal.err.flush()?;
    let mut line = String::new();
    terminal.input.read_line(&mut line)?;
    Ok(line.trim() == name)
}
