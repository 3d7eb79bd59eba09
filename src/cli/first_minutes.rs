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
        "allow the role what README and deploywatch(8) list: logs:PutLogEvents, logs:CreateLogStream, \
         and logs:CreateLogGroup and logs:PutRetentionPolicy where groups are to be made; nothing is \
         lost meanwhile",
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
];

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
    let answers: BTreeSet<&str> = status.targets.iter().map(|t| &*t.last_answer).collect();
    for (code, what, remedy) in REMEDIES {
        if let Some(answer) = answers.iter().find(|answer| answer.starts_with(code)) {
            missing.push(format!("{what}: {remedy}\n    ({answer})"));
        }
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
        ] {
            let status = status(&["ok", answer, answer]);
            let text = said(&Here {
                agent: Ok(&status),
                codedeploy: Some("1.8.1"),
                is_codedeploy_found: true,
            });
            assert_eq!(text.matches("  - ").count(), 1, "{text}");
            assert!(text.contains(word) && text.contains(answer), "{text}");
        }
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
