//! What stands between this machine and its logs in CloudWatch right now, in plain words: the end of
//! `deploywatch check`, for who has just installed it.
//!
//! Makes no AWS call: the running agent has made them, and is asked what came of it.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::status::Status;

/// What this machine has, besides the configuration.
#[derive(Debug)]
pub struct Here<'a> {
    /// What the running agent says, or why it says nothing.
    pub agent: Result<&'a Status, &'a str>,
    /// The CodeDeploy agent as found, in words; `None` where its logs are not wanted.
    pub codedeploy: Option<&'a str>,
    /// Whether its configuration was found.
    pub is_codedeploy_found: bool,
}

/// Answers that a person must act on: how the code begins, what is missing, what to do.
const REMEDIES: &[(&str, &str, &str)] = &[
    (
        "Credentials",
        "no credentials",
        "attach an IAM role to this instance (EC2 console: Actions, Security, Modify IAM role), or put \
         keys into the unit's environment; nothing is lost meanwhile",
    ),
    (
        "AccessDenied",
        "a permission",
        "allow the role what `deploywatch iam-policy` prints; nothing is lost meanwhile",
    ),
    (
        "RegionMissing",
        "the Region",
        "set region in [aws], or let the instance have its metadata (IMDSv2)",
    ),
    (
        "RegionUnknown",
        "the Region",
        "instance metadata has not answered yet: allow IMDSv2 on this instance, or set region in [aws]",
    ),
    ("Connection", "the way to AWS", UNREACHABLE),
    ("Timeout", "the way to AWS", UNREACHABLE),
    (
        "Tls",
        "trust in the other side's certificate",
        "where a proxy or an endpoint of your own has its own authority, put that into the system's \
         store or name it as ca_bundle in [aws], then restart the agent; nothing is lost meanwhile",
    ),
];

const UNREACHABLE: &str = "let this machine reach the endpoints of CloudWatch Logs, CloudWatch and, \
    with [events], EventBridge (NAT gateway or VPC endpoints, security groups, proxy); nothing is lost \
    meanwhile";

/// Writes it.
///
/// # Errors
/// Only when writing fails.
pub fn write(out: &mut dyn Write, here: &Here<'_>) -> io::Result<()> {
    let missing = missing(here);
    match missing.as_slice() {
        [] => writeln!(
            out,
            "\nNothing is missing: logs arrive as they are written."
        ),
        missing => {
            writeln!(out, "\nMissing right now:")?;
            missing
                .iter()
                .try_for_each(|line| writeln!(out, "  - {line}"))
        }
    }
}

fn missing(here: &Here<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    if let (Some(words), false) = (here.codedeploy, here.is_codedeploy_found) {
        missing.push(format!(
            "the CodeDeploy agent: {words}; install it whenever you like, it is found then"
        ));
    }
    let status = match here.agent {
        Ok(status) => status,
        Err(why) => {
            missing.push(format!(
                "the running agent ({why}), who would know of role, permissions and Region: \
                 `systemctl enable --now deploywatch`, or ask again as root"
            ));
            return missing;
        }
    };
    if status.instance_id.is_none() {
        missing.push(
            "the instance's identity: instance metadata does not answer; allow IMDSv2, in a container \
             with a hop limit of 2"
                .to_owned(),
        );
    }
    // Where no log was written yet, only the heartbeat has asked AWS for anything.
    let targets = status.targets.iter().map(|target| &*target.last_answer);
    let (metrics, events) = (&status.metrics, &status.events);
    let of_metrics = (metrics.pending > 0).then_some(&*metrics.last_answer);
    let of_events = events.last_error.as_deref().filter(|_| events.waiting > 0);
    let answers: BTreeSet<&str> = targets.chain(of_metrics).chain(of_events).collect();
    for (code, what, remedy) in REMEDIES {
        if let Some(answer) = answers.iter().find(|answer| answer.starts_with(code)) {
            missing.push(format!("{what}: {remedy}\n    ({answer})"));
        }
    }
    if missing.is_empty() {
        missing.extend(status.problems.iter().cloned());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::TargetStatus;

    fn said(here: &Here<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, here).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Of a machine whose CodeDeploy agent was found.
    fn of(status: &Status) -> String {
        said(&Here {
            agent: Ok(status),
            codedeploy: Some("1.8.1"),
            is_codedeploy_found: true,
        })
    }

    fn status(answers: &[&str]) -> Status {
        let target = |answer: &&str| TargetStatus {
            last_answer: (*answer).to_owned(),
            ..TargetStatus::default()
        };
        Status {
            instance_id: Some("i-1".to_owned()),
            targets: answers.iter().map(target).collect(),
            ..Status::default()
        }
    }

    /// Each thing that can be missing is named once with its remedy: shown by a status for each.
    #[test]
    fn what_is_missing_is_named() {
        let denied = "AccessDeniedException: User: role/web is not authorized";
        for (answer, word) in [
            (
                "Credentials: no credentials found",
                "no credentials: attach an IAM role",
            ),
            (denied, "a permission: allow the role"),
            (
                "RegionMissing: no region",
                "the Region: set region in [aws]",
            ),
            ("Connection: refused", "the way to AWS: let this machine"),
            ("Timeout: no answer", "the way to AWS: let this machine"),
            ("Tls: unknown issuer", "certificate: where a proxy"),
            ("Tls: unknown issuer", "then restart the agent"),
        ] {
            let of_logs = status(&["ok", answer, answer]);
            let mut of_metrics = status(&["ok"]);
            answer.clone_into(&mut of_metrics.metrics.last_answer);
            of_metrics.metrics.pending = 1;
            let mut of_events = status(&[]);
            of_events.events.last_error = Some(answer.to_owned());
            of_events.events.waiting = 1;
            for status in [of_logs, of_metrics, of_events] {
                let text = of(&status);
                assert_eq!(text.matches("  - ").count(), 1, "{text}");
                assert!(text.contains(word) && text.contains(answer), "{text}");
            }
        }
    }

    /// All is never called well while `status` tells of a problem: shown by one without a remedy here.
    #[test]
    fn what_status_tells_is_not_hidden() {
        let problem = "log group /g, stream s: KMSInvalidStateException: disabled";
        let status = Status {
            problems: vec![problem.to_owned()],
            ..status(&["KMSInvalidStateException: disabled"])
        };
        let text = of(&status);
        assert_eq!(text, format!("\nMissing right now:\n  - {problem}\n"));
    }

    /// Before anything runs, what is known without it is told: shown by a machine with nothing on it.
    #[test]
    fn a_bare_machine_is_told_what_to_do() {
        let text = said(&Here {
            agent: Err("does not answer"),
            codedeploy: Some("waiting for the CodeDeploy agent"),
            is_codedeploy_found: false,
        });
        assert!(text.contains("install it whenever you like"), "{text}");
        assert!(
            text.contains("systemctl enable --now deploywatch"),
            "{text}"
        );
    }

    /// A machine where all is well is told so: shown by one.
    #[test]
    fn nothing_missing_is_said_too() {
        let status = status(&["ok"]);
        let text = said(&Here {
            agent: Ok(&status),
            codedeploy: None,
            is_codedeploy_found: false,
        });
        assert_eq!(
            text,
            "\nNothing is missing: logs arrive as they are written.\n"
        );
    }
}
