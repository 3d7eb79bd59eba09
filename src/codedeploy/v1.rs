//! Records of the first generation (Ruby, 1.x), which the tables here tell apart.
//!
//! ```text
//! codedeploy-agent.log    2026-11-21T02:12:40 INFO  [codedeploy-agent(31478)]: MESSAGE
//!                         (a blank instead of the T from old versions of its logging library)
//! …-deployments.log       [2026-11-21 01:53:20.025] [d-XXXXXXXXX]LINE
//! scripts.log             2026-11-21 01:53:20 LINE     (the same from 2.x)
//! ```
//!
//! A failed command is reported twice with the same identifier, and after `codedeploy-agent
//! restart` each record is there twice: both are left to who keeps the state, since a fact that is
//! known already changes nothing there.

use super::fact::{
    CommandEnd, Deed, Facts, HookLine, Report, Sign, Which, Work, behind, behind_last,
    is_event_name, is_id, leading_id,
};
use super::failure::{Code, Failure};

/// What a message that begins so tells; the rest of it is read further.
struct Marker {
    begins: &'static str,
    read: for<'a> fn(&'a str) -> Facts<'a>,
}

/// The messages that matter, the frequent ones first. Most others are a note of its version before
/// each call.
const MARKERS: [Marker; 11] = [
    Marker {
        begins: "[Aws::CodeDeployCommand::Client ",
        read: call,
    },
    Marker {
        begins: "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Calling PutHostCommandComplete: 'Failed' ",
        read: recovered,
    },
    Marker {
        begins: "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Received Failed for command ",
        read: refused,
    },
    Marker {
        begins: "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Error polling for host commands: ",
        read: trouble,
    },
    Marker {
        begins: "InstanceAgent::Plugins::CodeDeployPlugin::CommandPoller: Missing credentials",
        read: no_credentials,
    },
    Marker {
        begins: "Error during certificate verification on codedeploy endpoint",
        read: no_certificate,
    },
    Marker {
        begins: "Error validating the SSL configuration",
        read: no_certificate,
    },
    Marker {
        begins: "booting child: error during start or run: SystemExit",
        read: nothing,
    },
    Marker {
        begins: "booting child: error during start or run: ",
        read: cannot_start,
    },
    Marker {
        begins: "Started master ",
        read: starting,
    },
    Marker {
        begins: "Stopping master ",
        read: stopped,
    },
];

/// The calls to the service that matter, as the SDK logs them when they are answered.
const CALLS: [Marker; 4] = [
    Marker {
        begins: "poll_host_command(",
        read: nothing,
    },
    Marker {
        begins: "get_deployment_specification(",
        read: specified,
    },
    Marker {
        begins: "put_host_command_acknowledgement(",
        read: acknowledged,
    },
    Marker {
        begins: "put_host_command_complete(",
        read: completed,
    },
];

/// The head of a record of the agent log that is this generation's: from the level on. What comes
/// behind is the message.
pub(super) fn message(behind_time: &str) -> Option<&str> {
    // `INFO  [codedeploy-agent(31478)]: `, the level padded to five characters.
    let bytes = behind_time.as_bytes();
    if bytes.get(6) != Some(&b'[') {
        return None;
    }
    let end = memchr::memchr(b']', &bytes[..bytes.len().min(128)])?;
    let is_head = bytes[end - 1] == b')' && bytes[end + 1..].starts_with(b": ");
    is_head.then(|| &behind_time[end + 3..])
}

/// What a message of the agent log tells.
pub(super) fn read(message: &str) -> Facts<'_> {
    look_up(&MARKERS, message)
}

/// A line of the deployments log: whose it is, and what a hook's log says there. Most likely it is of the
/// same deployment as the line before, whose id needs no check.
pub(super) fn deployments_line<'a>(
    text: &'a str,
    last_id: Option<&str>,
) -> Option<(&'a str, HookLine<'a>)> {
    // `[2026-11-21 01:53:20.025] [`; 2.x has no second bracket, and names no deployment.
    let rest = text
        .get(27..)
        .filter(|_| text.as_bytes()[24..27] == *b"] [")?;
    let (id, line) = last_id
        .and_then(|id| Some((id.len(), rest.strip_prefix(id)?.strip_prefix(']')?)))
        .map(|(len, line)| (&rest[..len], line))
        .or_else(|| rest.split_once(']').filter(|(id, _)| is_id(id)))?;
    Some((id, HookLine::read(line)?))
}

fn look_up<'a>(markers: &[Marker], text: &'a str) -> Facts<'a> {
    (markers.iter())
        .find_map(|marker| Some((marker.read)(text.strip_prefix(marker.begins)?)))
        .unwrap_or_default()
}

fn nothing(_: &str) -> Facts<'_> {
    Facts::default()
}

/// `200 0.04626 0 retries] CALL(ARGUMENTS)`, with the error behind when the code is another; 0
/// means that no answer came.
fn call(rest: &str) -> Facts<'_> {
    let Some(call) = behind(rest, " retries] ") else {
        return Facts::default();
    };
    if rest.starts_with("200 ") {
        let sign = Some(Sign::Answered);
        return Facts {
            sign,
            ..look_up(&CALLS, call)
        };
    }
    let error = call.rsplit_once("\") ").map_or("", |(_, error)| error);
    let sign = Some(Sign::Trouble(error.trim()));
    match call.strip_prefix("put_host_command_complete(") {
        // The command ended all the same; the service does not know.
        Some(arguments) => Facts {
            sign,
            deed: completion(arguments, Report::NotTaken),
        },
        None => Facts { sign, deed: None },
    }
}

fn specified(arguments: &str) -> Facts<'_> {
    let id = value(arguments, "deployment_execution_id:\"")
        .and_then(|name| name.rsplit_once("deployment/"))
        .and_then(|(_, id)| leading_id(id));
    Facts {
        deed: id.map(|deployment| Deed::Specified { deployment }),
        sign: None,
    }
}

fn acknowledged(arguments: &str) -> Facts<'_> {
    let work = match behind(arguments, r#"{\"IsCommandNoop\":true}"#) {
        Some(_) => Work::None,
        None => Work::Some,
    };
    let deed = identifier(arguments).map(|identifier| Deed::Acknowledged { identifier, work });
    Facts { deed, sign: None }
}

fn completed(arguments: &str) -> Facts<'_> {
    Facts {
        deed: completion(arguments, Report::Taken),
        sign: None,
    }
}

fn completion(arguments: &str, report: Report) -> Option<Deed<'_>> {
    let identifier = identifier(arguments)?;
    let failure = match value(arguments, "command_status:\"")? {
        "Succeeded" => None,
        "Failed" => Some(diagnosis(arguments)),
        _ => return None,
    };
    let which = Which::Identifier(identifier);
    let end = CommandEnd {
        elapsed_ms: None,
        report,
        failure,
    };
    let end = Box::new(end);
    Some(Deed::Completed { which, end })
}

/// The last argument of the calls that have one. Quotes inside other arguments are escaped, so this
/// cannot be found in them.
fn identifier(arguments: &str) -> Option<&str> {
    let (identifier, _) = behind_last(arguments, "host_command_identifier:\"")?.split_once('"')?;
    Some(identifier)
}

/// A quoted argument that needs no unescaping.
fn value<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    let (value, _) = behind(arguments, name)?.split_once('"')?;
    Some(value)
}

/// The payload: JSON inside a quoted Ruby string, which the SDK cuts at 1,000 characters. The
/// fields come in this order, so none can be imitated by the output in the last.
fn diagnosis(arguments: &str) -> Failure {
    let payload = behind(arguments, "payload:").unwrap_or_default();
    let quoted = payload
        .trim_start_matches("#<String ")
        .strip_prefix('"')
        .unwrap_or("");
    let json = unescape(quoted);
    let mut rest = json.as_str();
    let mut field = |name: &str| -> Option<String> {
        rest = behind(rest, name)?;
        let text = rest.strip_prefix('"').map(unescape);
        if text.is_none() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            return Some(rest[..digits].to_owned());
        }
        text
    };
    let code = field("\"error_code\":").unwrap_or_default();
    let script = field("\"script_name\":").unwrap_or_default();
    let message = field("\"message\":").unwrap_or_default();
    let log = field("\"log\":").unwrap_or_default();
    let code = code.parse().map_or(Code::Unknown, Code::Given);
    Failure::new(code, &script, &message, &log)
}

/// What a quoted text stands for, up to its closing quote or, where it was cut, its end. Serves
/// JSON and Ruby alike: both escape quote, backslash, newline and tab in the same way; of what
/// remains only the backslash is dropped.
fn unescape(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'"' {
            return text;
        }
        let mut letters = rest[at + 1..].chars();
        text.extend(letters.next().map(|letter| match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'e' => '\u{1b}',
            other => other,
        }));
        rest = letters.as_str();
    }
    text.push_str(rest);
    text
}

fn recovered(identifier: &str) -> Facts<'_> {
    Facts::deed(Deed::Recovered {
        identifier: identifier.trim(),
    })
}

fn refused(rest: &str) -> Facts<'_> {
    let event = rest.split(',').next().filter(|name| is_event_name(name));
    let deed = event.map(|event| Deed::Refused {
        deployment: None,
        event,
    });
    Facts { deed, sign: None }
}

fn trouble(rest: &str) -> Facts<'_> {
    Facts::sign(Sign::Trouble(first_line(rest)))
}

fn no_credentials(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Trouble(
        "missing credentials: the instance has no role",
    ))
}

fn no_certificate(_: &str) -> Facts<'_> {
    Facts::sign(Sign::CannotStart(
        "the certificate of the CodeDeploy endpoint cannot be verified",
    ))
}

fn cannot_start(rest: &str) -> Facts<'_> {
    Facts::sign(Sign::CannotStart(first_line(rest)))
}

fn starting(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Starting)
}

fn stopped(_: &str) -> Facts<'_> {
    Facts::sign(Sign::Stopped)
}

/// An error's class and message without the backtrace, whose first frame is on the same line.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(" - /").map_or(line, |(error, _)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_report_is_read_though_cut_and_full_of_quotes() {
        // Code, script, message and excerpt must be read from the SDK's rendering, whole or cut in
        // the middle of the output, and what the output imitates must change nothing.
        let whole = r#"command_status:"Failed",diagnostics:{format:"JSON",payload:"{\"error_code\":4,\"script_name\":\"s/a.sh\",\"message\":\"Script at specified location: s/a.sh failed with exit code \",\"log\":\"[stderr]ERROR: \\\"users\\\" \\\"error_code\\\":0\\n\"}"},host_command_identifier:"AbC=")"#;
        let Some(Deed::Completed { which, end }) = completion(whole, Report::Taken) else {
            panic!("no end");
        };
        let failure = end.failure.unwrap();
        assert_eq!(which, Which::Identifier("AbC="));
        assert_eq!(
            (failure.error_code, failure.script.as_str()),
            (Some(4), "s/a.sh")
        );
        assert_eq!(failure.cause, super::super::Cause::Signal);
        assert_eq!(
            failure.excerpt,
            "[stderr]ERROR: \"users\" \"error_code\":0\n"
        );
        let cut = r#"command_status:"Failed",diagnostics:{format:"JSON",payload:#<String "{\"error_code\":\"Unknown\",\"script_name\":\"s\",\"message\":\"m\",\"log\":\"one\\ntw" ... (2174 bytes)>},host_command_identifier:"AbC=")"#;
        let Some(Deed::Completed { end, .. }) = completion(cut, Report::Taken) else {
            panic!("no end");
        };
        let failure = end.failure.unwrap();
        assert_eq!((failure.error_code, failure.message.as_str()), (None, "m"));
        assert_eq!(failure.excerpt, "one\ntw");
    }

    #[test]
    fn noise_tells_nothing() {
        // Records that matter to nobody, and texts cut anywhere, must give no fact and no panic.
        for text in [
            "Version file found in /opt/codedeploy-agent/.version with agent version 1.",
            "[Aws::CodeDeployCommand::Client ",
            "[Aws::CodeDeployCommand::Client 200 0.1 0 retries] other(x:\"deployment/d-A\")",
            "IMDSv2 http request failed, falling back to IMDSv1.",
            "",
        ] {
            assert_eq!(read(text).deed, None, "{text}");
        }
        assert_eq!(message("INFO  [codedeploy-agent(1)]: x"), Some("x"));
        assert_eq!(message("INFO  [codedeploy-agent(1)]:"), None);
        assert_eq!(message(" INFO Worker 1 starting"), None);
        assert_eq!(deployments_line("[2026-11-21 01:53:20.025] ", None), None);
        // Whose a line is does not depend on whose the last one was; no id is none.
        for last_id in [None, Some("d-A"), Some("d-AB"), Some("d-B")] {
            for id in ["d-A", "d-AB", "", "x", "d-", "d-A]x", "d-A "] {
                let text = format!("[2026-11-21 01:53:20.025] [{id}]Script - x");
                let line = deployments_line(&text, last_id);
                let whole = is_id(id).then_some((id, HookLine::Script("x")));
                assert_eq!(line, whole, "{id} behind {last_id:?}");
            }
        }
    }
}
