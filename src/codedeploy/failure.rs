//! Why a lifecycle event failed: what either agent's failure text says.
//!
//! ```text
//! text                                                        cause            error code
//! Script at specified location: S failed with exit code N     exit code N      4
//! Script at specified location: S failed with exit code       a signal (1.x)   4
//!   (2.x writes exit code 1 for a signal too: not to be told apart)
//! S … run as user U failed with exit code N                   exit code N      4
//! S … failed with error …                                     could not run    4
//! S … failed to complete in N seconds                         timed out        3
//! S … failed to close STDOUT | STDERR                         output open      6
//! Script does not exist at specified location: PATH           script missing   1
//! Failing in-progress lifecycle event after an agent restart. restart          7
//! anything else                                               other            5
//! ```
//!
//! 1.x reports the code itself (`"Unknown"` among them), 2.x leaves it out of its log; there it
//! follows from the text. Everything kept is bounded.

use serde::{Deserialize, Serialize};

use super::bounded;

/// The error code of a failure after a restart.
pub(super) const RESTART_CODE: u8 = 7;
/// The service's "unknown error", and the code of what is no script's fault.
const UNKNOWN_CODE: u8 = 5;

/// What both agents say of an event that a restart cut off.
pub(super) const RESTART_MESSAGE: &str =
    "Failing in-progress lifecycle event after an agent restart.";

/// Longest script location kept, in bytes.
pub(super) const SCRIPT_BYTES_MAX: usize = 256;
/// Longest message kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 512;
/// Longest piece of output kept, in bytes: as much as CodeDeploy itself reports.
const EXCERPT_BYTES_MAX: usize = 2_048;

/// Why a lifecycle event failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// CodeDeploy's code (1 script missing, 3 timed out, 4 script failed, 5 other, 6 outputs left
    /// open, 7 restart); `None` for one it calls unknown itself.
    pub error_code: Option<u8>,
    /// The script at fault, as appspec.yml names it; empty where no script is.
    pub script: String,
    /// What happened to it.
    pub cause: Cause,
    /// CodeDeploy's own words, redacted, at most 512 bytes.
    pub message: String,
    /// The output that 1.x reports with it, redacted, at most 2 KiB; empty from 2.x.
    pub excerpt: String,
}

/// What happened to a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It ended with this exit code.
    ExitCode(i32),
    /// A signal ended it (only 1.x tells; not which).
    Signal,
    /// It was ended after so many seconds.
    TimedOut(u32),
    /// It left its output open to a process in the background.
    OutputLeftOpen,
    /// It was not there.
    ScriptMissing,
    /// It could not be run.
    CannotRun,
    /// A restart of the CodeDeploy agent cut it off.
    Restart,
    /// None of these: see the message.
    Other,
}

impl Cause {
    /// For people: completes "the script …".
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::ExitCode(code) => format!("exit code {code}"),
            Self::Signal => "killed by a signal".to_owned(),
            Self::TimedOut(seconds) => format!("timed out after {seconds} s"),
            Self::OutputLeftOpen => "left its output open".to_owned(),
            Self::ScriptMissing => "script missing".to_owned(),
            Self::CannotRun => "could not be run".to_owned(),
            Self::Restart => "cut off by a restart".to_owned(),
            Self::Other => "failed".to_owned(),
        }
    }

    /// The code the service is given for it.
    fn code(&self) -> u8 {
        match self {
            Self::ScriptMissing => 1,
            Self::TimedOut(_) => 3,
            Self::ExitCode(_) | Self::Signal | Self::CannotRun => 4,
            Self::OutputLeftOpen => 6,
            Self::Restart => RESTART_CODE,
            Self::Other => UNKNOWN_CODE,
        }
    }

    fn of(message: &str) -> Self {
        if message.starts_with("Script does not exist at specified location: ") {
            return Self::ScriptMissing;
        }
        if message.ends_with(RESTART_MESSAGE) {
            return Self::Restart;
        }
        if !message.starts_with("Script at specified location: ") {
            return Self::Other;
        }
        // From behind: a script's name may hold anything.
        let (_, end) = message.rsplit_once(" failed ").unwrap_or_default();
        if let Some(code) = end.strip_prefix("with exit code") {
            return match code.trim() {
                "" => Self::Signal,
                code => code.parse().map_or(Self::Other, Self::ExitCode),
            };
        }
        if let Some(rest) = end.strip_prefix("to complete in ") {
            let seconds = rest.split(' ').next().unwrap_or_default();
            return seconds.parse().map_or(Self::Other, Self::TimedOut);
        }
        if end.starts_with("to close STD") {
            return Self::OutputLeftOpen;
        }
        if message.contains(" failed with error ") {
            return Self::CannotRun;
        }
        Self::Other
    }
}

/// What 1.x says of a failure's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A number.
    Given(u8),
    /// `"Unknown"`.
    Unknown,
    /// Nothing: 2.x.
    FromText,
}

impl Failure {
    pub(super) fn new(code: Code, script: &str, message: &str, excerpt: &str) -> Self {
        let cause = match (Cause::of(message), code) {
            (_, Code::Given(RESTART_CODE)) => Cause::Restart,
            (cause, _) => cause,
        };
        let excerpt_from = excerpt.len().saturating_sub(EXCERPT_BYTES_MAX);
        let excerpt_from = (excerpt_from..=excerpt.len())
            .find(|at| excerpt.is_char_boundary(*at))
            .unwrap_or(excerpt.len());
        Self {
            error_code: match code {
                Code::Given(number) => Some(number),
                Code::Unknown => None,
                Code::FromText => Some(cause.code()),
            },
            script: bounded(script, SCRIPT_BYTES_MAX),
            cause,
            message: bounded(message, MESSAGE_BYTES_MAX),
            excerpt: excerpt[excerpt_from..].to_owned(),
        }
    }

    /// From a text of 2.x: `SCRIPT: MESSAGE`, where the script may be empty or missing.
    pub(super) fn from_text(text: &str) -> Self {
        let text = text.trim_end();
        let (script, message) = [
            "Script at ",
            "Script does not exist ",
            "The deployment failed ",
        ]
        .iter()
        .find_map(|begin| {
            let at = text.find(&format!(": {begin}"))?;
            Some((&text[..at], &text[at + 2..]))
        })
        // What is before the colon is a script only where the message is a script's.
        .filter(|(script, message)| script.is_empty() || message.starts_with("Script "))
        .unwrap_or(("", text));
        Self::new(Code::FromText, script, message, "")
    }

    /// An event that was cut off by a restart.
    pub(super) fn restart() -> Self {
        let message = format!("Failed: {RESTART_MESSAGE}");
        Self::new(Code::Given(RESTART_CODE), "", &message, "")
    }

    /// Whether a restart is to blame, not the revision.
    pub(super) fn is_restart(&self) -> bool {
        self.cause == Cause::Restart
    }

    /// Whether the text is the very one this was made from, as far as it was kept.
    pub(super) fn is_from(&self, text: &str) -> bool {
        let other = Self::from_text(text);
        (&other.script, &other.message) == (&self.script, &self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_text_tells_its_cause() {
        // Script, cause and code must be read from each text that 2.x writes: the table of all,
        // with names that hold blanks, parentheses and the very words we look for.
        let of = "Script at specified location:";
        let table = [
            (
                format!("a.sh: {of} a.sh failed with exit code 3"),
                "a.sh",
                Cause::ExitCode(3),
                4,
            ),
            (
                format!("a.sh: {of} a.sh failed with exit code "),
                "a.sh",
                Cause::Signal,
                4,
            ),
            (
                format!("a.sh: {of} a.sh failed with exit code"),
                "a.sh",
                Cause::Signal,
                4,
            ),
            (
                format!("s/a b (v2).sh: {of} s/a b (v2).sh run as user u failed with exit code 1"),
                "s/a b (v2).sh",
                Cause::ExitCode(1),
                4,
            ),
            (
                format!(
                    "x failed to close STDOUT: {of} x failed to close STDOUT failed with exit code 9"
                ),
                "x failed to close STDOUT",
                Cause::ExitCode(9),
                4,
            ),
            (
                format!("a.sh: {of} a.sh failed to complete in 90 seconds"),
                "a.sh",
                Cause::TimedOut(90),
                3,
            ),
            (
                format!("a.sh: {of} a.sh failed to close STDERR"),
                "a.sh",
                Cause::OutputLeftOpen,
                6,
            ),
            (
                format!("a.sh: {of} a.sh failed with error No such file or directory (os error 2)"),
                "a.sh",
                Cause::CannotRun,
                4,
            ),
            (
                "a.sh: Script does not exist at specified location: /r/a.sh".to_owned(),
                "a.sh",
                Cause::ScriptMissing,
                1,
            ),
            (
                ": The deployment failed because it was empty".to_owned(),
                "",
                Cause::Other,
                5,
            ),
            (
                "Install failed for group g: The deployment failed because of /a".to_owned(),
                "",
                Cause::Other,
                5,
            ),
            (
                "S3 GetObject failed for s3://b/k: NoSuchKey: gone.".to_owned(),
                "",
                Cause::Other,
                5,
            ),
            (String::new(), "", Cause::Other, 5),
        ];
        for (text, script, cause, code) in table {
            let failure = Failure::from_text(&text);
            let got = (failure.script.as_str(), &failure.cause, failure.error_code);
            assert_eq!(got, (script, &cause, Some(code)), "{text}");
            assert!(
                failure.is_from(&text) && text.trim_end().ends_with(&failure.message),
                "{text}"
            );
        }
        assert!(Failure::restart().is_restart());
    }

    #[test]
    fn a_failure_is_bounded() {
        // Whatever is said, only so much may be kept, in whole characters: shown with texts of
        // three-byte characters beyond every limit.
        let long = "€".repeat(5_000);
        let failure = Failure::new(Code::Unknown, &long, &long, &long);
        assert!(failure.script.len() <= SCRIPT_BYTES_MAX);
        assert!(failure.message.len() <= MESSAGE_BYTES_MAX);
        assert!(failure.excerpt.len() <= EXCERPT_BYTES_MAX && failure.excerpt.ends_with('€'));
        assert_eq!(failure.error_code, None);
    }
}
