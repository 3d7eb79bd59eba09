//! Secrets that are known by their own shape, whatever stands before them.

use std::ops::{Range, RangeInclusive};

use super::{Rule, value};

/// Shortest credentials behind `Bearer` that are believed without a digit or sign in them.
const BEARER_WORD_BYTES: usize = 20;

/// How far behind the id of a key its secret is looked for.
const ROW_BYTES_MAX: usize = 128;

/// How far the end of a password with a `/` in it is looked for.
const URL_BYTES_MAX: usize = 256;

/// A token that its beginning and its length give away.
struct Shape {
    begins: &'static [u8],
    /// What it is made of besides letters and digits.
    signs: &'static [u8],
    bytes: RangeInclusive<usize>,
    rule: Rule,
}

/// Of AWS (a session), Google, GitLab, Docker Hub, npm, PyPI, Vault, `SendGrid`, Anthropic, `OpenAI` and
/// Slack (an app).
const SHAPES: [Shape; 11] = {
    const fn shape(
        begins: &'static [u8],
        signs: &'static [u8],
        bytes: RangeInclusive<usize>,
        rule: Rule,
    ) -> Shape {
        Shape {
            begins,
            signs,
            bytes,
            rule,
        }
    }
    [
        shape(b"IQoJ", b"/+=%", 100..=usize::MAX, Rule::SessionToken),
        shape(b"AIza", b"_-", 39..=39, Rule::ApiKey),
        shape(b"glpat-", b"_-", 26..=usize::MAX, Rule::GitlabToken),
        shape(b"dckr_pat_", b"_-", 32..=usize::MAX, Rule::Token),
        shape(b"npm_", b"", 40..=40, Rule::Token),
        shape(b"pypi-AgE", b"_-", 50..=usize::MAX, Rule::Token),
        shape(b"hvs.", b"_-", 28..=usize::MAX, Rule::Token),
        shape(b"SG.", b"_-.", 60..=usize::MAX, Rule::ApiKey),
        shape(b"sk-ant-", b"_-", 40..=usize::MAX, Rule::ApiKey),
        shape(b"sk-proj-", b"_-", 40..=usize::MAX, Rule::ApiKey),
        shape(b"xapp-1-", b"-", 40..=usize::MAX, Rule::SlackToken),
    ]
};

/// The token that begins here, if it looks like any.
pub(super) fn shape(bytes: &[u8], start: usize) -> Option<(Range<usize>, Rule)> {
    let begins = |shape: &&Shape| bytes[start..].starts_with(shape.begins);
    let shape = SHAPES.iter().find(begins)?;
    let reach = start.saturating_add(shape.bytes.end().saturating_add(1));
    let len = run_of(
        &bytes[..bytes.len().min(reach)],
        start,
        shape.begins,
        |byte| byte.is_ascii_alphanumeric() || shape.signs.contains(&byte),
    )?;
    (shape.bytes.contains(&len)).then_some((start..start + len, shape.rule))
}

/// `AKIA` or `ASIA` and sixteen more capitals and digits, standing alone.
pub(super) fn aws_key_id(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    if !stands_alone(bytes, start) {
        return None;
    }
    let len = run(bytes, start, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    });
    let ends = !bytes
        .get(start + len)
        .is_some_and(u8::is_ascii_alphanumeric);
    (len == 20 && ends).then_some(start..start + len)
}

/// The forty characters of a secret key a word or two behind its id, as `--output text`, the console's table
/// of new keys and a variable that holds them all have it. A hash in hexadecimal digits is none.
pub(super) fn aws_secret_behind(bytes: &[u8], mut at: usize) -> Option<Range<usize>> {
    let bytes = &bytes[..bytes.len().min(at + ROW_BYTES_MAX)];
    for _ in 0..2 {
        at += run(bytes, at, |byte| {
            matches!(byte, b' ' | b'\t' | b',' | b':' | b'|' | b'"' | b'\'')
        });
        let len = run(bytes, at, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+')
        });
        let word = &bytes[at..at + len];
        let is_secret = len == 40
            && word.iter().any(u8::is_ascii_uppercase)
            && word.iter().any(u8::is_ascii_lowercase);
        if is_secret {
            return Some(at..at + len);
        }
        at += run(bytes, at, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'+')
        });
    }
    None
}

/// `ghp_…`, `gho_…`, `ghu_…`, `ghs_…`, `ghr_…` (36 and more), `github_pat_…` (82).
pub(super) fn github(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let len = run_of(bytes, start, b"g", |byte| {
        byte.is_ascii_alphanumeric() || byte == b'_'
    })?;
    (len >= 24).then_some(start..start + len)
}

/// `xoxb-…`, `xoxp-…` and others.
pub(super) fn slack(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let [b'x', b'o', b'x', b'a'..=b'z', rest @ ..] = &bytes[start..] else {
        return None;
    };
    // xoxe.xoxp-1-…
    let len = match rest {
        [b'-' | b'.', ..] => {
            4 + run(rest, 0, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
            })
        }
        _ => 0,
    };
    (len >= 15 && stands_alone(bytes, start)).then_some(start..start + len)
}

/// `sk_live_…`, `rk_test_…` and their siblings, of which the needle lacks the first letter.
pub(super) fn stripe(bytes: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let start = hit.start.checked_sub(1)?;
    let is_key = matches!(
        &bytes[start..hit.end],
        b"sk_live_" | b"rk_live_" | b"sk_test_" | b"rk_test_"
    );
    let len = run(bytes, hit.end, |byte| byte.is_ascii_alphanumeric());
    (is_key && len >= 16 && stands_alone(bytes, start)).then_some(start..hit.end + len)
}

/// What lets anybody write into a chat, in the URL whose `://` ends here: the path of a webhook.
pub(super) fn webhook(bytes: &[u8], after: usize) -> Option<(Range<usize>, Rule)> {
    const HOOKS: [(&[u8], Rule); 4] = [
        (b"hooks.slack.com/services/", Rule::SlackToken),
        (b"discord.com/api/webhooks/", Rule::Token),
        (b"discordapp.com/api/webhooks/", Rule::Token),
        (b"api.telegram.org/bot", Rule::Token),
    ];
    const TEAMS: &[u8] = b".webhook.office.com/webhookb2/";
    let rest = &bytes[after..];
    let known = HOOKS.iter().find(|(hook, _)| rest.starts_with(hook));
    let (start, rule) = match known {
        Some((hook, rule)) => (after + hook.len(), *rule),
        None => {
            let host = run(bytes, after, |byte| {
                byte.is_ascii_alphanumeric() || byte == b'-'
            });
            let is_teams = rest[host..].starts_with(TEAMS);
            is_teams.then_some((after + host + TEAMS.len(), Rule::Token))?
        }
    };
    let len = run(bytes, start, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b':' | b'_' | b'-' | b'@')
    });
    (len >= 20).then_some((start..start + len, rule))
}

/// `eyJ….….…`: three to five parts of base64url, the first an object.
pub(super) fn jwt(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_inside = !stands_alone(bytes, start) || bytes[..start].ends_with(b"-");
    if is_inside || !bytes[start..].starts_with(b"eyJ") {
        return None;
    }
    let first = run(bytes, start, is_part);
    if first < 10 {
        return None;
    }
    // `{"payload":"…`: a password for a registry of ECR's, one part of more than a thousand characters.
    if first >= 100 && bytes[start..].starts_with(b"eyJwYXlsb2Fk") {
        let padding = run(bytes, start + first, |byte| {
            matches!(byte, b'+' | b'/' | b'=') || is_part(byte)
        });
        return Some(start..start + first + padding);
    }
    let mut end = start + first;
    let mut parts = 1;
    while parts < 5 && bytes.get(end) == Some(&b'.') {
        let part = run(bytes, end + 1, is_part);
        if parts == 1 && part < 2 {
            return None;
        }
        end += 1 + part;
        parts += 1;
    }
    (parts >= 3).then_some(start..end)
}

/// The credentials behind `Bearer`, where they look like any.
pub(super) fn bearer(bytes: &[u8], after: usize) -> Option<Range<usize>> {
    let blanks = run(bytes, after, |byte| matches!(byte, b' ' | b'\t'));
    let start = after + blanks;
    let is_token = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
    };
    let mut end = start + run(bytes, start, is_token);
    while bytes[start..end].ends_with(b".") {
        end -= 1;
    }
    let token = &bytes[start..end];
    let believed = token.len() >= BEARER_WORD_BYTES
        || token.len() >= 8 && token.iter().any(u8::is_ascii_digit);
    // `Bearer error="…"` is a server's question, not an answer to it.
    let is_question = token.ends_with(b"=") && bytes.get(end) == Some(&b'"');
    (blanks > 0 && believed && !is_question).then_some(start..end)
}

/// The credentials behind `Basic `: base64 of `user:password`.
pub(super) fn basic(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let body = run(bytes, start, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
    });
    let padding = run(bytes, start + body, |byte| byte == b'=').min(2);
    (body >= 4 && is_user_and_password(&bytes[start..start + body]))
        .then_some(start..start + body + padding)
}

/// The credentials behind `"auth":` or `_auth=`, as the configurations of docker and npm have them.
pub(super) fn auth(bytes: &[u8], after: usize) -> Option<Range<usize>> {
    let between = run(bytes, after, |byte| {
        matches!(byte, b' ' | b'\\' | b'"' | b':' | b'=')
    });
    let is_named = bytes[..after].ends_with(b"=") || bytes[after..after + between].contains(&b':');
    is_named.then(|| basic(bytes, after + between))?
}

/// What `Cookie: a=1; b=2` and `Set-Cookie: a=1; Path=/` hold: all pairs of the first, the value of
/// the second's only one; what follows the colon must look like a pair.
pub(super) fn cookie(bytes: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let head = &bytes[..hit.start];
    let is_answer = head.len() >= 4 && head[head.len() - 4..].eq_ignore_ascii_case(b"set-");
    let mut at = hit.end + run(bytes, hit.end, |byte| matches!(byte, b'\\' | b'"' | b'\''));
    // Of the option `--cookie`, too.
    let separators: [&[u8]; 2] = match head.ends_with(b"--") {
        true => [b" ", b"="],
        false => [b":", b"=>"],
    };
    let separator = separators
        .into_iter()
        .find(|separator| bytes[at..].starts_with(separator))?;
    at += separator.len();
    at += run(bytes, at, |byte| {
        matches!(byte, b' ' | b'\\' | b'"' | b'\'' | b'[')
    });
    let name = run(bytes, at, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
    });
    if name == 0 || bytes.get(at + name) != Some(&b'=') {
        return None;
    }
    let is_value = |byte: u8| {
        !byte.is_ascii_control() && byte.is_ascii() && !matches!(byte, b'"' | b'\'' | b'\\' | b'<')
    };
    let start = if is_answer { at + name + 1 } else { at };
    let len = run(bytes, start, |byte| {
        is_value(byte) && !(is_answer && matches!(byte, b';' | b' ' | b','))
    });
    let mut end = start + len;
    while bytes[start..end].ends_with(b" ") || bytes[start..end].ends_with(b",") {
        end -= 1;
    }
    let value = &bytes[start..end];
    let is_redacted = value.starts_with(b"[redacted:");
    // `Cookie: theme=` and its like hold nothing.
    let is_long = value.len() >= if is_answer { 4 } else { name + 5 };
    (is_long && !is_redacted).then_some(start..end)
}

/// The password (or a long token for a user name) in the URL whose `://` ends here.
pub(super) fn url_password(text: &str, after: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is_url = |byte: u8| {
        !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | 0x1b)
    };
    let authority = run(bytes, after, |byte| {
        is_url(byte) && !matches!(byte, b'/' | b'?' | b'#' | b'\\')
    });
    let mut url = &bytes[after..after + authority];
    let at = match memchr::memrchr(b'@', url) {
        Some(at) => at,
        // An unescaped `/` or `#` in the password: only where no port explains the colon.
        None => {
            let colon = memchr::memchr(b':', url)?;
            if url[colon + 1..].iter().all(u8::is_ascii_digit) {
                return None;
            }
            let reach = bytes.len().min(after + URL_BYTES_MAX);
            let len = run(&bytes[..reach], after, is_url);
            url = &bytes[after..after + len];
            let next = memchr::memmem::find(url, b"://").unwrap_or(len);
            memchr::memrchr(b'@', &url[..next])?
        }
    };
    if url.starts_with(b"[redacted:") {
        return None;
    }
    let secret = match memchr::memchr(b':', &url[..at]) {
        Some(colon) => colon + 1..at,
        None => {
            let user = &url[..at];
            let is_token = user.len() >= 20 && user.iter().any(u8::is_ascii_digit);
            return is_token.then_some(after..after + at);
        }
    };
    let range = after + secret.start..after + secret.end;
    let value = &text[range.clone()];
    (!value.is_empty() && !value::is_placeholder(value)).then_some(range)
}

/// The password before `@tcp(`, as Go's drivers of databases want it: `user:…@tcp(host:3306)/name`.
pub(super) fn dsn_password(text: &str, at: usize) -> Option<Range<usize>> {
    let from = at.saturating_sub(URL_BYTES_MAX);
    let head = &text.as_bytes()[from..at];
    let is_outside = |byte: &u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | 0x1b)
    };
    let begin = head
        .iter()
        .rposition(is_outside)
        .map_or(0, |before| before + 1);
    let colon = memchr::memchr(b':', &head[begin..])?;
    let secret = from + begin + colon + 1..at;
    let value = &text[secret.clone()];
    (!value.is_empty() && !value::is_placeholder(value)).then_some(secret)
}

/// Length of the run of such bytes from here.
fn run(bytes: &[u8], start: usize, is: impl Fn(u8) -> bool) -> usize {
    bytes[start..].iter().take_while(|&&byte| is(byte)).count()
}

/// The same with this beginning, where a word begins so: nothing is run over that is not believed anyway.
fn run_of(bytes: &[u8], start: usize, begins: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let is_one = bytes[start..].starts_with(begins) && stands_alone(bytes, start);
    is_one.then(|| begins.len() + run(bytes, start + begins.len(), is))
}

/// Whether no word goes on into this one: base64 and names hold every short word. A `\n` of
/// escaped text is no word.
fn stands_alone(bytes: &[u8], start: usize) -> bool {
    match bytes[..start] {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., before] => !before.is_ascii_alphanumeric() && !matches!(before, b'_' | b'+'),
        [] => true,
    }
}

/// Whether base64 (without padding) holds printable text with a colon behind a user name.
fn is_user_and_password(base64: &[u8]) -> bool {
    let mut bits = 0u32;
    let mut have = 0;
    let mut has_colon = false;
    for &byte in base64 {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            let plain = (bits >> have) & 0xff;
            if plain < 0x20 || plain == 0x7f {
                return false;
            }
            has_colon |= plain == u32::from(b':');
        }
    }
    has_colon
}
