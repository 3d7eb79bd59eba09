//! Passwords on command lines, as `set -x` and process listings show them.

use std::ops::Range;

use super::{pair, value};

/// How far behind the command its option is looked for: a line of a hook.
const COMMAND_BYTES_MAX: usize = 512;

/// The password in `curl -u user:password`, `curl -uuser:password`, `curl --user user:password`.
pub(super) fn curl_user(text: &str, after: usize) -> Option<Range<usize>> {
    let line = line(text, after);
    let value = [" --user", " --proxy-user", " -u"]
        .into_iter()
        .find_map(|name| option_value(text, line.clone(), name))
        .or_else(|| behind_flags(text, line, b'u'))?;
    let colon = memchr::memchr(b':', &text.as_bytes()[value.clone()])?;
    let password = value.start + colon + 1..value.end;
    believed(text, password)
}

/// The password in `mysql -psecret` (and mysqldump, mysqladmin…); a blank behind `-p` means that it
/// is asked for.
pub(super) fn mysql_password(text: &str, after: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let option = option(bytes, &line(text, after), " -p")?;
    if bytes.get(option.end).is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let value = option.value(bytes, option.end);
    (!is_port(&bytes[value.clone()])).then(|| believed(text, value))?
}

/// The password in `mongo -p secret` (and mongosh, mongodump…).
pub(super) fn mongo_password(text: &str, after: usize) -> Option<Range<usize>> {
    let value = password_option(text, after)?;
    (!is_port(&text.as_bytes()[value.clone()])).then_some(value)
}

/// The password in `redis-cli -a secret`.
pub(super) fn redis_password(text: &str, after: usize) -> Option<Range<usize>> {
    believed(text, option_value(text, line(text, after), " -a")?)
}

/// The value of a parameter that is kept encrypted: `put-parameter --type SecureString --value x`,
/// `"Type":"SecureString","Value":"x"`, and the column behind `SecureString` in `--output text`.
pub(super) fn parameter(text: &str, hit: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let rest = line(text, hit.end);
    if let Some(at) = pair::next_value(bytes, hit.end) {
        return believed(text, value::find(text, at)?);
    }
    if bytes.get(hit.end) == Some(&b'\t') {
        let column = &bytes[hit.end + 1..rest.end];
        let len = memchr::memchr(b'\t', column).unwrap_or(column.len());
        return believed(text, hit.end + 1..hit.end + 1 + len);
    }
    let head = &bytes[..hit.start];
    let from = head.len().saturating_sub(COMMAND_BYTES_MAX);
    let from = memchr::memrchr3(b'\n', b'|', b';', &head[from..]).map_or(from, |at| from + at);
    // What is cut must not be cut inside of a character.
    let from = (from..=hit.start).find(|at| text.is_char_boundary(*at))?;
    believed(text, option_value(text, from..rest.end, " --value")?)
}

/// The password in `docker login -u user -p secret`, and of other tools that log in so.
pub(super) fn login_password(text: &str, hit: Range<usize>) -> Option<Range<usize>> {
    const TOOLS: [&str; 6] = ["docker ", "podman ", "buildah ", "registry ", "az ", "oc "];
    let before = &text[..hit.start];
    let is_command = TOOLS.iter().any(|tool| before.ends_with(tool));
    is_command.then(|| password_option(text, hit.end))?
}

/// The password behind `-p` of the command that ends here, with or without a blank.
pub(super) fn password_option(text: &str, after: usize) -> Option<Range<usize>> {
    believed(text, option_value(text, line(text, after), " -p")?)
}

/// Whether `pass` ends the command `sshpass`, whose password stands behind its `-p`, and no name.
pub(super) fn is_sshpass(text: &str, hit: &Range<usize>) -> bool {
    let goes_on = |c: char| c == '=' || c == '_' || c.is_ascii_alphanumeric();
    text[..hit.start].ends_with("ssh") && !text[hit.end..].starts_with(goes_on)
}

/// The password in `IDENTIFIED BY 'secret'`, `IDENTIFIED WITH plugin BY 'secret'`.
pub(super) fn sql_password(text: &str, after: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = after;
    for _ in 0..3 {
        at += bytes[at..].iter().take_while(|&&byte| byte == b' ').count();
        let word = &bytes[at..];
        let len = word.iter().take(COMMAND_BYTES_MAX);
        let len = len.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
        let word = &word[..len.count()];
        at += word.len();
        if word.eq_ignore_ascii_case(b"by") || word.eq_ignore_ascii_case(b"as") {
            let blanks = bytes[at..].iter().take_while(|&&byte| byte == b' ').count();
            return believed(text, value::quoted(bytes, at + blanks)?);
        }
    }
    None
}

/// What belongs to the command: its line, as far as that is looked at, up to the next command.
fn line(text: &str, after: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let rest = &bytes[after..bytes.len().min(after + COMMAND_BYTES_MAX)];
    let len = memchr::memchr3(b'\n', b'|', b';', rest).unwrap_or(rest.len());
    // A newline that is written out.
    let len = memchr::memmem::find(&rest[..len], b"\\n").unwrap_or(len);
    after..after + len
}

/// The value behind an option, with or without a blank.
fn option_value(text: &str, line: Range<usize>, name: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let option = option(bytes, &line, name)?;
    let is_apart = matches!(bytes.get(option.end), Some(b' ' | b'='));
    let value = option.value(bytes, option.end + usize::from(is_apart));
    (!value.is_empty()).then_some(value)
}

/// The value behind flags in one word whose last one is `flag`: `-sSLu user:password`.
fn behind_flags(text: &str, line: Range<usize>, flag: u8) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    memchr::memmem::find_iter(&bytes[line.clone()], b" -").find_map(|found| {
        let start = line.start + found + 2;
        let flags = bytes[start..line.end].iter();
        let end = start + flags.take_while(|byte| byte.is_ascii_alphabetic()).count();
        let is_asked = end > start && bytes[end - 1] == flag && bytes.get(end) == Some(&b' ');
        is_asked
            .then(|| value::quoted(bytes, end + 1).unwrap_or_else(|| value::bare(bytes, end + 1)))
    })
}

/// An option that was found.
struct Named {
    /// Where its name ends.
    end: usize,
    /// Whether a quote opens before it, as a shell that traces puts one around each word that needs it.
    is_quoted: bool,
}

impl Named {
    /// The value that begins there.
    fn value(&self, bytes: &[u8], at: usize) -> Range<usize> {
        if self.is_quoted {
            let quote = memchr::memchr2(b'\'', b'\n', &bytes[at.min(bytes.len())..]);
            return at.min(bytes.len())..quote.map_or(bytes.len(), |len| at + len);
        }
        value::quoted(bytes, at).unwrap_or_else(|| value::bare(bytes, at))
    }
}

/// Finds ` -name`, or ` '-name`.
fn option(bytes: &[u8], line: &Range<usize>, name: &str) -> Option<Named> {
    let line_bytes = &bytes[line.clone()];
    let dashed = name.trim_start().as_bytes();
    memchr::memmem::find_iter(line_bytes, dashed).find_map(|found| {
        let before = &line_bytes[..found];
        let is_quoted = before.ends_with(b" '");
        (is_quoted || before.ends_with(b" ")).then_some(Named {
            end: line.start + found + dashed.len(),
            is_quoted,
        })
    })
}

/// `3306:3306`: what `-p` is for elsewhere.
fn is_port(value: &[u8]) -> bool {
    value.contains(&b':')
        && value
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b':')
}

fn believed(text: &str, secret: Range<usize>) -> Option<Range<usize>> {
    let value = &text[secret.clone()];
    let is_secret =
        !value.is_empty() && !value::is_placeholder(value) && !value.starts_with("[redacted:");
    is_secret.then_some(secret)
}
