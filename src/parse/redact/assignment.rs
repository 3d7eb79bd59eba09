//! `key = value` in all the ways programs write it: `password=x`, `"token": "x"`, `\"secret\":\"x\"`,
//! `:api_key=>"x"`, `X-Api-Key: x`, `--password x`, `["--token","x"]`, `<password>x</password>`,
//! `Authorization: Basic x`, `?X-Amz-Signature=x`.

use std::ops::Range;

use super::Rule;
use super::needles::Word;
use super::pair;
use super::value;

/// Longest key name looked at.
const NAME_BYTES_MAX: usize = 96;

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

/// A key that was recognised.
struct Key {
    rule: Rule,
    word: Word,
    /// Where its name begins: `DB_PASSWORD` begins at `D`.
    start: usize,
    /// One past its name.
    end: usize,
}

/// The secret that belongs to the key the word at `hit` is in, if it is a key.
pub(super) fn find(text: &str, hit: Range<usize>, word: Word) -> Option<(Range<usize>, Rule)> {
    let bytes = text.as_bytes();
    let key = key(bytes, hit, word)?;
    let Some((separator, after)) = separator(bytes, &key) else {
        return bare_aws_secret(bytes, &key);
    };
    let at = skip_blanks(bytes, after);
    let mark = bytes.get(at + value::backslashes(&bytes[at..]));
    let is_quoted = matches!(mark, Some(b'"' | b'\'' | b'`'));
    // Everything that can be known before the value is read comes first: a value that is read and
    // then refused would be read again by each word in it.
    if !is_quoted && is_ruled_out(bytes, &key, separator, after, at) {
        return None;
    }
    let range = match word {
        Word::Authorization if !is_quoted => header(text, at)?,
        _ => value::find(text, at)?,
    };
    is_plausible(bytes, &key, separator, &bytes[range.clone()]).then_some((range, key.rule))
}

/// The whole name around the word, if the word ends it.
fn key(bytes: &[u8], hit: Range<usize>, word: Word) -> Option<Key> {
    let (end, rule) = match word {
        Word::Pass => (pass_end(bytes, hit.clone())?, Rule::Password),
        Word::Pwd => (hit.end, Rule::Password),
        Word::Secret => secret_end(bytes, hit.end),
        Word::Token => (hit.end, token_rule(&bytes[..hit.start])),
        Word::ApiKey => (hit.end, Rule::ApiKey),
        Word::PrivateKey => (hit.end, Rule::PrivateKey),
        Word::CryptKey => (hit.end, Rule::Secret),
        Word::SessionId => (hit.end, Rule::Cookie),
        Word::Authorization => (hit.end, Rule::Authorization),
        Word::Signature => (hit.end, Rule::Signature),
    };
    if bytes.get(end).is_some_and(|&byte| is_name(byte)) {
        return None;
    }
    let name = bytes[..hit.start]
        .iter()
        .rev()
        .take(NAME_BYTES_MAX)
        .take_while(|&&byte| is_name(byte))
        .count();
    Some(Key {
        rule,
        word,
        start: hit.start - name,
        end,
    })
}

/// The end of the name with `pass` in it: `pass`, `password`, `passwd2`; but not `bypass`.
fn pass_end(bytes: &[u8], hit: Range<usize>) -> Option<usize> {
    let pass = bytes[hit.clone()]
        .windows(4)
        .position(|word| word.eq_ignore_ascii_case(b"pass"))?;
    let pass = hit.start + pass;
    let end = continued(bytes, pass + 4, &["word", "wd", "phrase"]);
    let is_flag = hit.len() == "storepass".len();
    if end == pass + 4 && is_inside_word(bytes, pass) && !is_flag {
        return None;
    }
    let digits = bytes[end..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    Some(end + digits)
}

/// The end of the name whose word `secret` ends at `hit_end`, and whether it is AWS's.
fn secret_end(bytes: &[u8], hit_end: usize) -> (usize, Rule) {
    let joint = skip_joint(bytes, hit_end);
    let access = continued(bytes, joint, &["access"]);
    let second = skip_joint(bytes, access);
    let key = continued(bytes, second, &["key"]);
    if access > joint && key > second {
        return (key, Rule::AwsSecretAccessKey);
    }
    let end = continued(bytes, joint, &["key", "string"]);
    if end == joint {
        return (hit_end, Rule::Secret);
    }
    let base = skip_joint(bytes, end);
    let end_of_base = continued(bytes, base, &["base"]);
    (
        if end_of_base > base { end_of_base } else { end },
        Rule::Secret,
    )
}

/// Which token it is, by what stands before the word.
fn token_rule(before: &[u8]) -> Rule {
    let joint = before.strip_suffix(b"_").or(before.strip_suffix(b"-"));
    let before = joint.unwrap_or(before);
    let tail = before
        .get(before.len().saturating_sub(8)..)
        .unwrap_or_default();
    if ends_with(tail, b"session") || ends_with(tail, b"security") {
        Rule::SessionToken
    } else {
        Rule::Token
    }
}

/// What stands behind the key, and where it ends.
fn separator(bytes: &[u8], key: &Key) -> Option<(Separator, usize)> {
    let name = &bytes[key.start..key.end];
    let before = key.start.checked_sub(1).map(|at| bytes[at]);
    let mut at = skip_colour(bytes, key.end);
    if bytes.get(at) == Some(&b'>') && is_in_tag(&bytes[..key.start]) {
        return Some((Separator::Tag, at + 1));
    }
    // `user[password]=x`
    if before == Some(b'[') && bytes.get(at) == Some(&b']') {
        at += 1;
    }
    let backslashes = bytes[at..]
        .iter()
        .take_while(|&&byte| byte == b'\\')
        .count();
    let is_quoted = matches!(bytes.get(at + backslashes), Some(b'"' | b'\''));
    if is_quoted {
        at += backslashes + 1;
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
        [b'\\', b'u', b'0', b'0', b'3', b'd' | b'D', ..] => Some((Separator::Equals, blanks + 6)),
        [b':', ..] => Some((Separator::Colon, blanks + 1)),
        [b',', ..] if is_flag && is_quoted => Some((Separator::Argument, blanks + 1)),
        // `ALTER USER x PASSWORD 'secret'`
        [b'\'', ..] if blanks == at + 1 && name.eq_ignore_ascii_case(b"password") => {
            Some((Separator::Argument, blanks))
        }
        // Two spaces are the columns of a help text.
        _ if is_flag && !is_quoted && blanks == at + 1 => Some((Separator::Argument, blanks)),
        _ => None,
    }
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
                || !has_blank && key.word == Word::Secret && is_in_arn(&bytes[..key.start])
        }
        Separator::Equals => has_blank && next_field == Some(b'='),
        Separator::Argument => first == Some(&b'-') || next_field.is_some(),
        Separator::Tag => false,
    };
    let is_directory = key.word == Word::Pwd
        && matches!(&bytes[key.start..key.end], b"PWD" | b"OLDPWD" | b"pwd")
        && matches!(first, Some(b'/' | b'~'));
    is_impossible || is_directory
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
        && match key.word {
            // Counters of test runs, not passwords.
            Word::Pass if ends_with(name, b"pass") => !secret.iter().all(u8::is_ascii_digit),
            Word::Signature | Word::SessionId => {
                separator == Separator::Equals && secret.len() >= 16
            }
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

/// Whether letters before it make another word of it, as in `compass` (and not in `dbPass`).
fn is_inside_word(bytes: &[u8], at: usize) -> bool {
    let is_camel = bytes[at].is_ascii_uppercase();
    bytes[..at].last().is_some_and(|before| match is_camel {
        true => before.is_ascii_uppercase(),
        false => before.is_ascii_alphabetic(),
    })
}

/// Behind one of these words (in any case) if it stands here; else here.
fn continued(bytes: &[u8], at: usize, words: &[&str]) -> usize {
    let rest = &bytes[at..];
    words
        .iter()
        .find(|word| {
            rest.get(..word.len())
                .is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()))
        })
        .map_or(at, |word| at + word.len())
}

/// Behind the `_` or `-` that joins two words of a name.
fn skip_joint(bytes: &[u8], at: usize) -> usize {
    at + usize::from(matches!(bytes.get(at), Some(b'_' | b'-')))
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

/// Behind each `ESC [ … m`, as `grep --color` puts it around a key.
fn skip_colour(bytes: &[u8], mut at: usize) -> usize {
    while let Some([0x1b, b'[', rest @ ..]) = bytes.get(at..) {
        let parameters = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
            .count();
        match rest.get(parameters) {
            Some(b'm' | b'K') => at += 3 + parameters,
            _ => break,
        }
    }
    at
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn ends_with(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
}
