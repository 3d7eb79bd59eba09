//! `key = value` in all the ways programs write it: `password=x`, `"token": "x"`, `\"secret\":\"x\"`,
//! `:api_key=>"x"`, `X-Api-Key: x`, `--password x`, `["--token","x"]`, `<password>x</password>`,
//! `Authorization: Basic x`, `?X-Amz-Signature=x`.

use std::ops::Range;

use super::Rule;
use super::key::{Key, NAME_BYTES_MAX, ends_with, is_name, skip_colour};
use super::needles::Word;
use super::pair;
use super::value;

/// From this length on a number is a password rather than a count of tests that passed.
const NUMBER_BYTES_MIN: usize = 4;

/// How far into a list without quotes a digit is looked for.
const LIST_BYTES_MAX: usize = 64;

/// Longest beginning of an ARN, up to the kind of resource.
const ARN_BYTES_MAX: usize = 80;

/// How far before an Authorization header the quote is looked for that holds it.
const HEADER_QUOTE_BYTES_MAX: usize = 256;

/// What stands between key and value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Equals,
    Colon,
    /// The end of an XML tag.
    Tag,
    /// White space behind a command-line flag, or the comma between two quoted arguments.
    Argument,
}

/// The secret that belongs to the key the word at `hit` is in, if it is a key.
pub(super) fn find(text: &str, hit: Range<usize>, word: Word) -> Option<(Range<usize>, Rule)> {
    let bytes = text.as_bytes();
    let key = Key::around(bytes, hit, word)?;
    let Some((separator, after)) = separator(bytes, &key) else {
        return bare_aws_secret(bytes, &key).or_else(|| generated(bytes, &key));
    };
    let at = into_list(bytes, skip_blanks(bytes, after));
    let is_quoted = value::is_quoted(bytes, at);
    // Everything that can be known before the value is read comes first: a value that is read and
    // then refused would be read again by each word in it.
    if !is_quoted && is_ruled_out(bytes, &key, separator, after, at) {
        return None;
    }
    let range = match word {
        Word::Authorization if !is_quoted => header(text, at)?,
        _ if is_quoted => value::find(text, at)?,
        _ => words(bytes, &key, value::find(text, at)?),
    };
    is_plausible(bytes, &key, separator, &bytes[range.clone()]).then_some((range, key.rule))
}

/// What stands behind the key, and where it ends.
fn separator(bytes: &[u8], key: &Key) -> Option<(Separator, usize)> {
    let name = &bytes[key.start..key.end];
    let before = key.start.checked_sub(1).map(|at| bytes[at]);
    let mut at = skip_colour(bytes, key.end);
    if bytes.get(at) == Some(&b'>') && is_in_tag(&bytes[..key.start]) {
        return Some((Separator::Tag, at + 1));
    }
    // `user[password]=x`, as it is and in a URL
    at = behind_bracket(bytes, key.start, at);
    if before == Some(b'%') && name.starts_with(b"5B") && bytes[at..].starts_with(b"%5D") {
        at += 3;
    } else if bytes[at..].starts_with(b"[]=") {
        at += 2;
    }
    let backslashes = bytes[at..]
        .iter()
        .take_while(|&&byte| byte == b'\\')
        .count();
    let is_quoted = matches!(bytes.get(at + backslashes), Some(b'"' | b'\''));
    if is_quoted {
        at += backslashes + 1;
        // Doubled in a table of commas.
        at += usize::from(bytes[at..].starts_with(b"\":"));
        at = behind_bracket(bytes, key.start, at);
    } else if let Some((len, _)) = value::written_quote(bytes, at) {
        at += len;
    }
    if is_quoted && let Some(value) = pair::value_of(bytes, key.start, at) {
        return Some((Separator::Argument, value));
    }
    let blanks = skip_blanks(bytes, at);
    let is_flag = name.starts_with(b"-")
        && before.is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\''));
    match &bytes[blanks..] {
        [b':', b':', ..] => None,
        [b'=', b'>', ..] | [b':', b'=', ..] => Some((Separator::Equals, blanks + 2)),
        [b'=', rest @ ..] => {
            let more = rest.iter().take_while(|&&byte| byte == b'=').count();
            Some((Separator::Equals, blanks + 1 + more))
        }
        [b'%', b'3', b'D' | b'd', ..] => Some((Separator::Equals, blanks + 3)),
        [b'%', b'3', b'A' | b'a', ..] => Some((Separator::Colon, blanks + 3)),
        [b'\\', ..] => written_equals(bytes, blanks).map(|end| (Separator::Equals, end)),
        [b':', ..] => Some((Separator::Colon, blanks + 1)),
        // `SET PASSWORD FOR u = PASSWORD('secret')`
        [b'(', b'\'', ..] if name.eq_ignore_ascii_case(b"password") => {
            Some((Separator::Argument, blanks + 1))
        }
        [b',', ..] if is_flag && is_quoted => Some((Separator::Argument, blanks + 1)),
        // `ALTER USER x PASSWORD 'secret'`
        [b'\'', ..] if blanks == at + 1 && name.eq_ignore_ascii_case(b"password") => {
            Some((Separator::Argument, blanks))
        }
        // Two spaces are the columns of a help text.
        _ if blanks != at + 1 || is_quoted => None,
        _ if is_flag || is_setting(bytes, key) => Some((Separator::Argument, blanks)),
        _ => None,
    }
}

/// Behind the `]` here, if the name at `start` is all that stands in the brackets, as it is, in quotes or
/// as Ruby's symbols are written: `user[password]`, `settings["password"]`, `settings[:password]`.
fn behind_bracket(bytes: &[u8], start: usize, at: usize) -> usize {
    let head = &bytes[..start];
    let marks = head.iter().rev().take(NAME_BYTES_MAX);
    let marks = marks.take_while(|byte| matches!(byte, b'"' | b'\'' | b'\\' | b':'));
    let opened = head.len() - marks.count();
    at + usize::from(head[..opened].ends_with(b"[") && bytes.get(at) == Some(&b']'))
}

/// Behind `\u003d`, which is `=` in JSON.
fn written_equals(bytes: &[u8], at: usize) -> Option<usize> {
    let at = at + value::backslashes(&bytes[at..]);
    let is_equals = matches!(&bytes[at..], [b'u', b'0', b'0', b'3', b'd' | b'D', ..]);
    is_equals.then_some(at + 5)
}

/// Into a list of values, as headers are printed: `["secret"]`, `[secret]`.
fn into_list(bytes: &[u8], at: usize) -> usize {
    let Some(b'[') = bytes.get(at) else {
        return at;
    };
    let first = skip_blanks(bytes, at + 1);
    // Without quotes a word may be a placeholder: `[FILTERED]`.
    let inside = bytes[first..].iter().take(LIST_BYTES_MAX);
    let has_digit = inside
        .take_while(|byte| !matches!(byte, b']' | b'\n'))
        .any(u8::is_ascii_digit);
    let is_header = bytes[..at].ends_with(b":") && first == at + 1 && has_digit;
    match value::is_quoted(bytes, first) || is_header {
        true => first,
        false => at,
    }
}

/// Whether a value stands behind this name with nothing but a blank between: `ENV DB_PASSWORD x` of a Dockerfile,
/// `login bob password x` of a .netrc, `requirepass x` of redis, `bindpw x` of LDAP.
fn is_setting(bytes: &[u8], key: &Key) -> bool {
    const COMMANDS: [&[u8]; 4] = [b"env", b"setenv", b"fastcgi_param", b"setx"];
    let name = &bytes[key.start..key.end];
    let is_own = matches!(name, b"requirepass" | b"bindpw");
    let Some((b' ', before)) = bytes[..key.start].split_last() else {
        return is_own;
    };
    let word = |text: &[u8]| {
        let tail = text.iter().rev().take(NAME_BYTES_MAX);
        tail.take_while(|byte| !byte.is_ascii_whitespace() && **byte != b']')
            .count()
    };
    let last = word(before);
    let (before_last, last) = before.split_at(before.len() - last);
    is_own
        || COMMANDS
            .iter()
            .any(|command| command.eq_ignore_ascii_case(last))
        || name == b"password"
            && ends_with(before_last, b"login ")
            && last.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether `<` or `<namespace:` stands before a name.
fn is_in_tag(before: &[u8]) -> bool {
    let before = match before {
        [namespace @ .., b':'] => {
            let name = namespace.iter().rev().take(NAME_BYTES_MAX);
            let name = name.take_while(|&&byte| is_name(byte)).count();
            &namespace[..namespace.len() - name]
        }
        _ => before,
    };
    before.ends_with(b"<")
}

/// Whether no value can stand at `at`, by what is around the key and by how it would begin.
fn is_ruled_out(bytes: &[u8], key: &Key, separator: Separator, after: usize, at: usize) -> bool {
    let first = bytes.get(at);
    let next_field = value::field(&bytes[at..]);
    let has_blank = at > after;
    let is_impossible = match separator {
        // `cat: /run/secrets/db_password: No such file`; objects and lists, whose fields speak
        // for themselves; a key without a value before the next one.
        Separator::Colon => {
            bytes[..key.start].ends_with(b"/")
                || matches!(first, Some(b'{' | b'['))
                || has_blank && next_field == Some(b':')
                || is_verdict(bytes, key, has_blank)
                || !has_blank && key.word == Word::Secret && is_in_arn(&bytes[..key.start])
        }
        Separator::Equals => has_blank && next_field == Some(b'='),
        Separator::Argument => first == Some(&b'-') || next_field.is_some(),
        Separator::Tag => false,
    };
    let is_directory = key.word == Word::Pwd
        && matches!(&bytes[key.start..key.end], b"PWD" | b"OLDPWD" | b"pwd")
        && matches!(first, Some(b'/' | b'~'));
    is_impossible || is_directory || is_other(key, separator, &bytes[at..])
}

/// Whether what such a key has here is no secret, as the separator and the value's beginning tell.
fn is_other(key: &Key, separator: Separator, value: &[u8]) -> bool {
    match key.word {
        Word::Signature | Word::SessionId => separator != Separator::Equals,
        // An access key's id goes by its own name.
        Word::Key => value.starts_with(b"AKIA") || value.starts_with(b"ASIA"),
        _ => false,
    }
}

/// Whether `pass` is one of a test's or a compiler's: `PASS: TestLogin`, `second pass: done`.
fn is_verdict(bytes: &[u8], key: &Key, has_blank: bool) -> bool {
    let name = &bytes[key.start..key.end];
    let before = bytes[..key.start].trim_ascii_end();
    let is_prose = has_blank && before.last().is_some_and(u8::is_ascii_alphabetic);
    name == b"PASS" || name.eq_ignore_ascii_case(b"pass") && is_prose
}

/// Whether the value that was read is one, for keys that are also used for other things.
fn is_plausible(bytes: &[u8], key: &Key, separator: Separator, secret: &[u8]) -> bool {
    // Words of a help text behind a flag.
    const PROSE: [&[u8]; 12] = [
        b"is",
        b"or",
        b"and",
        b"for",
        b"to",
        b"must",
        b"flag",
        b"option",
        b"string",
        b"requires",
        b"required",
        b"argument",
    ];
    let is_prose = separator == Separator::Argument && PROSE.contains(&secret);
    let name = &bytes[key.start..key.end];
    !is_prose
        && !is_other(key, separator, secret)
        && match key.word {
            // Counters of test runs, not passwords.
            Word::Pass if ends_with(name, b"pass") => {
                let is_number = secret.iter().all(u8::is_ascii_digit);
                !is_number || name.len() > b"pass".len() && secret.len() >= NUMBER_BYTES_MIN
            }
            Word::Signature | Word::SessionId => secret.len() >= 16,
            _ => true,
        }
}

/// `arn:aws:secretsmanager:eu-west-1:111122223333:` before `secret:name`.
fn is_in_arn(before: &[u8]) -> bool {
    let tail = &before[before.len().saturating_sub(ARN_BYTES_MAX)..];
    before.ends_with(b":") && memchr::memmem::find(tail, b"arn:").is_some()
}

/// The value of an Authorization header without quotes of its own: scheme and credentials, or
/// to the end of the line (or of the quotes around the header) where a scheme has parameters.
fn header(text: &str, at: usize) -> Option<Range<usize>> {
    const WITH_PARAMETERS: [&[u8]; 4] = [b"digest", b"aws4-hmac-sha256", b"oauth", b"hawk"];
    let bytes = text.as_bytes();
    let first = value::find(text, at)?;
    let scheme = &bytes[first.clone()];
    let is_among = |names: &[&[u8]]| names.iter().any(|name| name.eq_ignore_ascii_case(scheme));
    if is_among(&WITH_PARAMETERS) {
        let rest = &bytes[first.end..];
        let head = &bytes[at.saturating_sub(HEADER_QUOTE_BYTES_MAX)..at];
        let opened = head
            .iter()
            .rfind(|byte| matches!(byte, b'"' | b'\'' | b'\n'));
        let end = memchr::memchr2(*opened.unwrap_or(&b'\n'), b'\n', rest);
        return Some(first.start..first.end + end.unwrap_or(rest.len()));
    }
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'-';
    let is_scheme = scheme.len() <= 20 && scheme.iter().all(is_word);
    let second = skip_blanks(bytes, first.end);
    let credentials = value::bare(bytes, second);
    let is_alone =
        second == first.end || credentials.is_empty() || value::field(&bytes[second..]).is_some();
    if is_scheme && !is_alone {
        Some(first.start..credentials.end)
    } else {
        Some(first)
    }
}

/// `aws configure set aws_secret_access_key wJalr…`: no separator, but exactly forty characters.
fn bare_aws_secret(bytes: &[u8], key: &Key) -> Option<(Range<usize>, Rule)> {
    let start = skip_blanks(bytes, key.end);
    let len = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'))
        .count();
    (key.rule == Rule::AwsSecretAccessKey && len == 40).then_some((start..start + len, key.rule))
}

/// `Your password is: x`, and what MySQL made up at its first start: `A temporary password is generated for
/// root@localhost: x`. And what somebody gives it later.
fn generated(bytes: &[u8], key: &Key) -> Option<(Range<usize>, Rule)> {
    if key.word != Word::Pass {
        return None;
    }
    let rest = &bytes[key.end..];
    if rest.len() > 5 && rest[..5].eq_ignore_ascii_case(b" for ") {
        // `SET PASSWORD FOR 'u'@'h' = 'secret'`
        let near = &rest[..rest.len().min(NAME_BYTES_MAX)];
        let equals = key.end + memchr::memmem::find(near, b" = '")?;
        return Some((value::quoted(bytes, equals + 3)?, key.rule));
    }
    let rest = rest.strip_prefix(b" is")?;
    if !rest.starts_with(b": ") && !rest.starts_with(b" generated for ") {
        return None;
    }
    let colon = memchr::memmem::find(&rest[..rest.len().min(NAME_BYTES_MAX)], b": ")?;
    let start = bytes.len() - rest.len() + colon + 2;
    let line = memchr::memchr(b'\n', &bytes[start..]);
    let secret = start..line.map_or(bytes.len(), |len| start + len);
    (!secret.is_empty()).then_some((secret, key.rule))
}

/// The value without quotes, and where a quote opens before its key, the words up to where that closes or
/// another field begins: `'DB_PASSWORD=two words'`, as a shell that traces prints it.
fn words(bytes: &[u8], key: &Key, mut value: Range<usize>) -> Range<usize> {
    let opened = key.start.checked_sub(1).map(|at| bytes[at]);
    let Some(mark @ (b'\'' | b'"')) = opened else {
        return value;
    };
    let rest = &bytes[value.end..];
    let Some(closed) = memchr::memchr2(mark, b'\n', rest).filter(|at| rest[*at] == mark) else {
        return value;
    };
    let close = value.end + closed;
    while bytes[value.end] == b' ' {
        let next = skip_blanks(bytes, value.end);
        if next >= close || value::field(&bytes[next..close]).is_some() {
            break;
        }
        value.end = value::bare(&bytes[..close], next).end.max(next + 1);
    }
    value
}

/// Behind spaces, tabs and colours.
fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let blanks = bytes[at..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let next = skip_colour(bytes, at + blanks);
        if next == at {
            return at;
        }
        at = next;
    }
}
