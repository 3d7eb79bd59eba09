//! Records of the second generation (Rust, 2.x), which the tables here tell apart.
//!
//! ```text
//! codedeploy-agent.log    2026-11-21 03:24:01  INFO MESSAGE     (UTC, the level right-aligned)
//!                         … INFO deployment{deployment_id=ID command=EVENT app=NAME}: MESSAGE
//! …-deployments.log       names no deployment: not read, the agent log has milliseconds too
//! scripts.log             as 1.x
//! ```
//!
//! Only the agent log says how a command ended; a hook's output never gets into it. A failed
//! command is told of twice there, the second time without saying whose it is.

use super::fact::{
    CommandEnd, CommandName, Deed, Facts, Report, Sign, Which, is_event_name, is_id, leading_id,
};
use super::failure::Failure;

/// What a message that begins so tells, where no deployment is named before it.
struct Marker {
    begins: &'static str,
    read: for<'a> fn(&'a str) -> Facts<'a>,
}

/// What a message that begins so tells of the command before it.
struct Step {
    begins: &'static str,
    read: for<'a> fn(CommandName<'a>, &'a str, &'a str) -> Option<Deed<'a>>,
}

/// Messages about the CodeDeploy agent, and the two about commands that name them themselves.
const MARKERS: [Marker; 12] = [
    Marker {
        begins: "Processing host command command_name=",
        read: received,
    },
    Marker {
        begins: "Command processing failed: ",
        read: failed_again,
    },
    Marker {
        begins: "Calling PutHostCommandComplete: 'Failed' ",
        read: recovered,
    },
    Marker {
        begins: "Error polling for host commands: ",
        read: trouble,
    },
    Marker {
        begins: "Refreshing credentials",
        read: answered,
    },
    Marker {
        begins: "Starting host command poll loop ",
        read: ready,
    },
    Marker {
        begins: "Failed to resolve region/host identifier: ",
        read: cannot_start,
    },
    Marker {
        begins: "SSL validation failed for endpoint ",
        read: cannot_start,
    },
    Marker {
        begins: "Worker failed to create CodeDeploy client: ",
        read: cannot_start,
    },
    Marker {
        begins: "Polling loop stopped ",
        read: stopped,
    },
    Marker {
        begins: "All command threads finished ",
        read: stopped,
    },
    Marker {
        begins: "Worker ",
        read: worker,
    },
];

/// Messages about a command, in the order in which they come.
const STEPS: [Step; 7] = [
    Step {
        begins: "Deployment spec parsed deployment_group=",
        read: described,
    },
    Step {
        begins: "Executing command",
        read: executing,
    },
    Step {
        begins: "Lifecycle script user context switch ",
        read: script,
    },
    Step {
        begins: "Command succeeded elapsed_ms=",
        read: succeeded,
    },
    Step {
        begins: "Command failed elapsed_ms=",
        read: failed,
    },
    Step {
        begins: "Failed to report command completion: ",
        read: unreported,
    },
    Step {
        begins: "Received Failed for command ",
        read: refused,
    },
];

/// The message of a record of the agent log that is this generation's, from the level on.
pub(super) fn message(behind_time: &str) -> Option<&str> {
    let (level, message) = (behind_time.get(..6)?, behind_time.get(6..)?);
    matches!(level, " INFO " | "ERROR " | " WARN " | "DEBUG " | "TRACE ").then_some(message)
}

/// What a message of the agent log tells.
pub(super) fn read(message: &str) -> Facts<'_> {
    let Some(span) = message.strip_prefix("deployment{deployment_id=") else {
        return (MARKERS.iter())
            .find_map(|marker| Some((marker.read)(message.strip_prefix(marker.begins)?)))
            .unwrap_or_default();
    };
    let deed = step(span);
    Facts {
        // Whoever works on a command was answered by the service.
        sign: deed.as_ref().map(|_| Sign::Answered),
        deed,
    }
}

/// `ID command=EVENT app=NAME}: MESSAGE`; at DEBUG further spans may stand before the message.
fn step(span: &str) -> Option<Deed<'_>> {
    let (deployment, rest) = span.split_once(" command=")?;
    let (event, rest) = rest.split_once(" app=")?;
    // An application's name may hold what ends it, so the end that a known message follows counts.
    let (step, application, rest) =
        memchr::memmem::find_iter(rest.as_bytes(), "}: ").find_map(|at| {
            let message = &rest[at + 3..];
            let step = STEPS.iter().find(|step| message.starts_with(step.begins))?;
            Some((step, &rest[..at], &message[step.begins.len()..]))
        })?;
    if !is_id(deployment) || !is_event_name(event) {
        return None;
    }
    (step.read)(CommandName { deployment, event }, application, rest)
}

/// `EVENT deployment_execution_id=…deployment/ID host_command_id=IDENTIFIER`
fn received(rest: &str) -> Facts<'_> {
    let deed = || {
        let (event, rest) = rest.split_once(" deployment_execution_id=")?;
        let (execution, identifier) = rest.split_once(" host_command_id=")?;
        let (_, id) = execution.rsplit_once("deployment/")?;
        let command = CommandName {
            deployment: leading_id(id)?,
            event: Some(event).filter(|event| is_event_name(event))?,
        };
        Some(Deed::Received {
            command,
            identifier: identifier.trim_end(),
        })
    };
    Facts {
        deed: deed(),
        sign: Some(Sign::Answered),
    }
}

fn described<'a>(
    command: CommandName<'a>,
    application: &'a str,
    group: &'a str,
) -> Option<Deed<'a>> {
    let (deployment, group) = (command.deployment, group.trim_end());
    Some(Deed::Described {
        deployment,
        application,
        group,
    })
}

fn executing<'a>(command: CommandName<'a>, _: &'a str, rest: &'a str) -> Option<Deed<'a>> {
    rest.trim_end()
        .is_empty()
        .then_some(Deed::Executing { command })
}

/// `source_user=… target_user="…" sudo=… script=PATH`
fn script<'a>(command: CommandName<'a>, _: &'a str, rest: &'a str) -> Option<Deed<'a>> {
    let (_, path) = rest.split_once(" script=")?;
    let path = path.trim_end();
    // As appspec.yml names it, which is how the other logs name it too.
    let location = path
        .split_once("/deployment-archive/")
        .map_or(path, |(_, location)| location);
    Some(Deed::Script {
        command,
        path: location,
    })
}

fn succeeded<'a>(command: CommandName<'a>, _: &'a str, rest: &'a str) -> Option<Deed<'a>> {
    Some(completion(command, rest, None))
}

fn failed<'a>(command: CommandName<'a>, _: &'a str, rest: &'a str) -> Option<Deed<'a>> {
    let text = rest.split_once(" error=").map_or("", |(_, text)| text);
    Some(completion(command, rest, Some(Failure::from_text(text))))
}

fn completion<'a>(command: CommandName<'a>, rest: &'a str, failure: Option<Failure>) -> Deed<'a> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let end = CommandEnd {
        elapsed_ms: rest[..digits].parse().ok(),
        report: Report::Taken,
        failure,
    };
    let (which, end) = (Which::Named(command), Box::new(end));
    Deed::Completed { which, end }
}

fn unreported<'a>(command: CommandName<'a>, _: &'a str, _: &'a str) -> Option<Deed<'a>> {
    Some(Deed::Unreported { command })
}

fn refused<'a>(command: CommandName<'a>, _: &'a str, _: &'a str) -> Option<Deed<'a>> {
    let (deployment, event) = (Some(command.deployment), command.event);
    Some(Deed::Refused { deployment, event })
}

fn failed_again(text: &str) -> Facts<'_> {
    Facts::deed(Deed::FailedAgain { text })
}

fn recovered(identifier: &str) -> Facts<'_> {
    Facts::deed(Deed::Recovered {
        identifier: identifier.trim(),
    })
}

fn trouble(text: &str) -> Facts<'_> {
    let text = text.trim_start_matches("CodeDeploy command service error: ");
    Facts::sign(Sign::Trouble(text.lines().next().unwrap_or_default()))
}

fn answered(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Answered)
}

fn ready(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Ready)
}

fn cannot_start(text: &str) -> Facts<'_> {
    Facts::sign(Sign::CannotStart(text.lines().next().unwrap_or_default()))
}

fn stopped(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Stopped)
}

/// `N starting`, `N entering polling loop`, `N shutting down`
fn worker(rest: &str) -> Facts<'_> {
    match rest.trim_end().split_once(' ') {
        Some((_, "starting")) => Facts::sign(Sign::Starting),
        Some((_, "shutting down")) => Facts::sign(Sign::Stopped),
        _ => Facts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_may_be_named_like_a_record() {
        // Whatever the application is called, the step must be read from behind its name, and a
        // message that is none of ours tell nothing: shown by names with braces and markers.
        let name = "x}: y";
        let text = format!(
            "deployment{{deployment_id=d-A1 command=Install app={name}}}: Command succeeded elapsed_ms=12"
        );
        let Some(Deed::Completed { which, end }) = read(&text).deed else {
            panic!("not read");
        };
        let command = CommandName {
            deployment: "d-A1",
            event: "Install",
        };
        assert_eq!((which, end.elapsed_ms), (Which::Named(command), Some(12)));
        for text in [
            "deployment{deployment_id=../x command=Install app=a}: Executing command",
            "deployment{deployment_id=d-A1 command=In stall app=a}: Executing command",
            "deployment{deployment_id=d-A1 command=Install app=a}: Executing hook command x",
            "deployment{deployment_id=d-A1",
            "Processing host command command_name=Install deployment_execution_id=x host_command_id=y",
            "Worker",
            "",
        ] {
            assert_eq!(read(text).deed, None, "{text}");
        }
        assert_eq!(message(" INFO x"), Some("x"));
        assert_eq!(message("INFO  [codedeploy-agent(1)]: x"), None);
    }
}
