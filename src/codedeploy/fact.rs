//! What one record tells: a [`Deed`] of a deployment, a [`Sign`] of the CodeDeploy agent's own
//! state, or both; and the names in it, which are believed only when they match their grammar.

use super::failure::Failure;

/// What a record of the agent log tells. Most tell nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts<'a> {
    pub(super) deed: Option<Deed<'a>>,
    pub(super) sign: Option<Sign<'a>>,
}

impl<'a> Facts<'a> {
    pub(super) fn deed(deed: Deed<'a>) -> Self {
        let deed = Some(deed);
        Self { deed, sign: None }
    }

    pub(super) fn sign(sign: Sign<'a>) -> Self {
        let sign = Some(sign);
        Self { deed: None, sign }
    }
}

/// Something done for a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed<'a> {
    /// 1.x fetched what the deployment is to do.
    Specified { deployment: &'a str },
    /// 2.x received a command.
    Received {
        command: CommandName<'a>,
        identifier: &'a str,
    },
    /// 2.x tells whose the deployment is.
    Described {
        deployment: &'a str,
        application: &'a str,
        group: &'a str,
    },
    /// 1.x received a command and told the service whether there is anything to run.
    Acknowledged { identifier: &'a str, work: Work },
    /// 2.x begins the work.
    Executing { command: CommandName<'a> },
    /// The service did not want the command carried out any more. 1.x names no deployment.
    Refused {
        deployment: Option<&'a str>,
        event: &'a str,
    },
    /// 2.x starts a script.
    Script {
        command: CommandName<'a>,
        path: &'a str,
    },
    /// A command ended.
    Completed {
        which: Which<'a>,
        end: Box<CommandEnd>,
    },
    /// 2.x says once more why a command failed, or, when it failed before the work began, once.
    FailedAgain { text: &'a str },
    /// 2.x could not tell the service how a command ended.
    Unreported { command: CommandName<'a> },
    /// After a restart the agent fails the command that was under way.
    Recovered { identifier: &'a str },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CommandEnd {
    /// As 2.x says it.
    pub(super) elapsed_ms: Option<u64>,
    pub(super) report: Report,
    /// Why it failed, if it did.
    pub(super) failure: Option<Failure>,
}

/// A lifecycle event of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandName<'a> {
    pub(super) deployment: &'a str,
    pub(super) event: &'a str,
}

/// How a record names a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which<'a> {
    /// 1.x: by the service's identifier.
    Identifier(&'a str),
    /// 2.x: in words.
    Named(CommandName<'a>),
}

/// Whether there is anything to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Some,
    None,
}

/// Whether the service took the report of how a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Taken,
    NotTaken,
}

/// Something about the CodeDeploy agent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign<'a> {
    /// The service answered it.
    Answered,
    /// The service, the network or its credentials failed it, in its own words.
    Trouble(&'a str),
    /// The process that does the work starts.
    Starting,
    /// It is ready (2.x).
    Ready,
    /// It could not start, in its own words.
    CannotStart(&'a str),
    /// It was asked to stop and does.
    Stopped,
}

/// What a line of a hook's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookLine<'a> {
    /// The scripts of a lifecycle event follow.
    Event(&'a str),
    /// The output of a script follows.
    Script(&'a str),
    /// A line a script printed, whatever it says.
    Output(&'a str),
}

impl<'a> HookLine<'a> {
    /// What follows a record's head. Markers count only here: what stands behind `[stdout]` is a
    /// script's word, even where another record is glued to it.
    #[inline]
    pub(super) fn read(rest: &'a str) -> Option<Self> {
        let bytes = rest.as_bytes();
        match bytes.first()? {
            b'[' => ["[stdout]", "[stderr]"]
                .iter()
                .find_map(|head| rest.strip_prefix(head))
                .map(Self::Output),
            b'L' => rest
                .strip_prefix("LifecycleEvent - ")
                .map(str::trim_end)
                .filter(|name| is_event_name(name))
                .map(Self::Event),
            b'S' => rest
                .strip_prefix("Script - ")
                .map(str::trim_end)
                .filter(|location| !location.is_empty())
                .map(Self::Script),
            _ => None,
        }
    }
}

/// Longest deployment id believed, in bytes; the service's have 11.
const ID_BYTES_MAX: usize = 64;
/// Longest name of a lifecycle event believed, in bytes.
const EVENT_BYTES_MAX: usize = 64;
/// Longest command identifier believed, in bytes; real ones have about 500.
const IDENTIFIER_BYTES_MAX: usize = 4_096;

/// Whether a text can be a deployment's id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= ID_BYTES_MAX && super::layout::is_deployment_id(std::ffi::OsStr::new(text))
}

/// Whether a text can be the name of a lifecycle event.
pub(super) fn is_event_name(text: &str) -> bool {
    (1..=EVENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The id at the beginning of a text, as far as it reaches.
pub(super) fn leading_id(text: &str) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let end = text.bytes().position(|byte| !is_part(byte));
    Some(&text[..end.unwrap_or(text.len())]).filter(|id| is_id(id))
}

/// The service's identifier of a command, as it travels: base64 of JSON whose form is nowhere
/// promised. What can be found in it is taken, the rest left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identifier {
    /// Stands for the whole text.
    pub(super) hash: u64,
    /// Deployment and lifecycle event, where they could be read.
    pub(super) name: Option<(String, String)>,
}

impl Identifier {
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > IDENTIFIER_BYTES_MAX {
            return None;
        }
        let json = decode_base64(text);
        let json = valid_start(&json);
        let deployment = behind(json, "deployment/").and_then(leading_id);
        let event = behind(json, "\"commandName\"")
            .and_then(|rest| rest.trim_start().strip_prefix(':'))
            .and_then(|rest| rest.trim_start().strip_prefix('"'))
            .and_then(|rest| rest.split('"').next())
            .filter(|name| is_event_name(name));
        let name = deployment.zip(event);
        Some(Self {
            hash: hash(text.trim_end_matches('=')),
            name: name.map(|(id, event)| (id.to_owned(), event.to_owned())),
        })
    }
}

/// What comes behind the first such word. It is looked for where its last letter is: to prepare a search
/// for the whole word takes longer than to search a record.
pub(super) fn behind<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let last = *word.as_bytes().last()?;
    let ends = memchr::memchr_iter(last, text.as_bytes()).map(|at| at + 1);
    behind_one(text, word, ends)
}

/// What comes behind the last such word.
pub(super) fn behind_last<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let last = *word.as_bytes().last()?;
    let ends = memchr::memrchr_iter(last, text.as_bytes()).map(|at| at + 1);
    behind_one(text, word, ends)
}

/// What comes behind the word that ends at the first of these places where one does.
fn behind_one<'a>(
    text: &'a str,
    word: &str,
    mut ends: impl Iterator<Item = usize>,
) -> Option<&'a str> {
    let end = ends.find(|end| text.as_bytes()[..*end].ends_with(word.as_bytes()))?;
    Some(&text[end..])
}

/// The text at the beginning, up to the first byte that is none. The service's identifiers are text
/// altogether; what is behind another's such byte is not looked for.
fn valid_start(bytes: &[u8]) -> &str {
    let is_valid = |end| std::str::from_utf8(&bytes[..end]);
    is_valid(bytes.len())
        .or_else(|error| is_valid(error.valid_up_to()))
        .unwrap_or_default()
}

/// Stored, so it must never change. A deployment's few commands are told apart by it.
fn hash(text: &str) -> u64 {
    u64::from(crc32fast::hash(text.as_bytes()))
}

/// Base64 up to the first byte that is none.
fn decode_base64(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; text.len() / 4 * 3];
    let (fours, _) = text.as_bytes().as_chunks();
    let (threes, _) = bytes.as_chunks_mut();
    let pairs = fours.iter().zip(threes);
    let decoded = pairs.map_while(|(four, three)| {
        *three = decode_four(four)?;
        Some(())
    });
    let whole = decoded.count();
    bytes.truncate(whole * 3);
    // What is left of a last four, filled up with the letter that stands for nothing.
    let is_none = |byte: &u8| SIXES[usize::from(*byte)] == 64;
    let rest = &text.as_bytes()[whole * 4..];
    let rest = &rest[..rest.iter().position(is_none).unwrap_or(rest.len())];
    let mut last = [b'A'; 4];
    last[..rest.len()].copy_from_slice(rest);
    let three = decode_four(&last).unwrap_or_default();
    bytes.extend_from_slice(&three[..rest.len() * 3 / 4]);
    bytes
}

/// What four bytes stand for, if all of them are base64.
fn decode_four(four: &[u8; 4]) -> Option<[u8; 3]> {
    let [a, b, c, d] = four.map(|byte| SIXES[usize::from(byte)]);
    let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
    let [_, three @ ..] = bits.to_be_bytes();
    (a | b | c | d < 64).then_some(three)
}

/// What each byte stands for in base64, of either alphabet; 64 for what is none.
const SIXES: [u8; 256] = {
    let mut sixes = [64; 256];
    let mut six = 0;
    while six < 64 {
        sixes[b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[six as usize]
            as usize] = six;
        six += 1;
    }
    sixes[b'-' as usize] = 62;
    sixes[b'_' as usize] = 63;
    sixes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_read_as_far_as_it_can_be() {
        // Deployment and event must be found in the service's form, in one with other blanks and
        // with a suffix behind the id, and be missing (but the hash be there) in any other.
        let spaced = "WyJ4IiwgeyJkZXBsb3ltZW50SWQiOiAiQ29kZURlcGxveS9hcm46YXdzOnNkczo6ZGVwbG95bWVu\
                      dC9kLUFCMTIiLCAiY29tbWFuZE5hbWUiOiAiQWZ0ZXJJbnN0YWxsIn1d";
        let tight = "eyJkZXBsb3ltZW50SWQiOiJkZXBsb3ltZW50L2QtQUIxMl9SZXZpc2lvbiIsImNvbW1hbmROYW1lIjoiSW5zdGFsbCJ9";
        let name = |text: &str| Identifier::read(text).unwrap().name;
        let of = |id: &str, event: &str| Some((id.to_owned(), event.to_owned()));
        assert_eq!(name(spaced), of("d-AB12", "AfterInstall"));
        assert_eq!(name(tight), of("d-AB12", "Install"));
        assert_eq!(name("!!"), None);
        assert_eq!(name("AAAA"), None);
        assert_eq!(Identifier::read(""), None);
        assert_eq!(Identifier::read(&"A".repeat(5_000)), None);
        assert_ne!(hash(spaced), hash(tight));
    }

    #[test]
    fn base64_is_decoded_up_to_what_is_none() {
        // Whole bytes of every beginning, both alphabets, nothing behind what is neither.
        let (text, meant) = ("aGVsbG8gd29ybGQ", b"hello world");
        for end in 0..=text.len() {
            assert_eq!(decode_base64(&text[..end]), meant[..end * 3 / 4]);
        }
        assert_eq!(decode_base64("aGVsb*G8gd29ybGQ="), b"hel");
        assert_eq!(decode_base64("aGVsbG8=aGVs"), b"hello");
        assert_eq!(decode_base64("-_-_"), decode_base64("+/+/"));
        assert_eq!(decode_base64("+/+/"), [0xfb, 0xff, 0xbf]);
        assert_eq!(valid_start(b"ab\xffcd"), "ab");
    }

    #[test]
    fn a_marker_counts_only_at_its_place() {
        // What a script prints must stay its output, whatever it imitates; markers must be taken
        // only with a name that can be one: a table.
        let table = [
            (
                "LifecycleEvent - AfterInstall",
                Some(HookLine::Event("AfterInstall")),
            ),
            ("Script - a b.sh", Some(HookLine::Script("a b.sh"))),
            (
                "[stdout]LifecycleEvent - X",
                Some(HookLine::Output("LifecycleEvent - X")),
            ),
            (
                "[stderr]x2026-11-21 01:54:08 LifecycleEvent - AfterInstall",
                Some(HookLine::Output(
                    "x2026-11-21 01:54:08 LifecycleEvent - AfterInstall",
                )),
            ),
            ("[stdout]", Some(HookLine::Output(""))),
            ("LifecycleEvent - ../x", None),
            ("LifecycleEvent - ", None),
            ("Script - ", None),
            ("[other]x", None),
            ("words", None),
            ("", None),
        ];
        for (text, line) in table {
            assert_eq!(HookLine::read(text), line, "{text}");
        }
    }
}
