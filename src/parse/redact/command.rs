//! Passwords on command lines, as `set -x` and process listings show them.

use std::ops::Range;

use super::value;

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
    let line = line(text, after);
    let at = option(text.as_bytes(), &line, b" -p")?;
    if text.as_bytes().get(at).is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    believed(text, value::find(text, at)?)
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

/// The password in `IDENTIFIED BY 'secret'`.
pub(super) fn sql_password(text: &str, after: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let blanks = bytes[after..].iter().take_while(|&&byte| byte == b' ');
    believed(text, value::quoted(bytes, after + blanks.count())?)
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
    let mut at = option(bytes, &line, name.as_bytes())?;
    if matches!(bytes.get(at), Some(b' ' | b'=')) {
        at += 1;
    }
    let value = value::quoted(bytes, at).unwrap_or_else(|| value::bare(bytes, at));
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

/// Where the option's name ends.
fn option(bytes: &[u8], line: &Range<usize>, name: &[u8]) -> Option<usize> {
    let found = memchr::memmem::find(&bytes[line.clone()], name)?;
    Some(line.start + found + name.len())
}

fn believed(text: &str, secret: Range<usize>) -> Option<Range<usize>> {
    let value = &text[secret.clone()];
    let is_secret =
        !value.is_empty() && !value::is_placeholder(value) && !value.starts_with("[redacted:");
    is_secret.then_some(secret)
}
