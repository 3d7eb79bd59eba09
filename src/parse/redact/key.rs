//! The name a secret stands behind: how far it reaches around the telling word, and whether it is one.

use std::ops::Range;

use super::Rule;
use super::needles::Word;

/// Longest key name looked at.
pub(super) const NAME_BYTES_MAX: usize = 96;

/// A key that was recognised.
pub(super) struct Key {
    pub(super) rule: Rule,
    pub(super) word: Word,
    /// Where its name begins: `DB_PASSWORD` begins at `D`.
    pub(super) start: usize,
    /// One past its name.
    pub(super) end: usize,
}

impl Key {
    /// The whole name around the word, if the word ends it.
    pub(super) fn around(bytes: &[u8], hit: Range<usize>, word: Word) -> Option<Self> {
        let (end, rule) = match word {
            Word::Pass => (pass_end(bytes, hit.clone())?, Rule::Password),
            Word::Pwd => (pwd_end(bytes, hit.clone())?, Rule::Password),
            Word::Secret => secret_end(bytes, hit.end),
            Word::Token => (hit.end, token_rule(&bytes[..hit.start])),
            Word::ApiKey => (hit.end, Rule::ApiKey),
            Word::PrivateKey => (hit.end, Rule::PrivateKey),
            Word::Key => (hit.end, key_rule(&bytes[..hit.end - b"key".len()])?),
            Word::SessionId => (hit.end, Rule::Cookie),
            Word::Authorization => (hit.end, Rule::Authorization),
            Word::Signature => (whole_end(bytes, hit.clone())?, Rule::Signature),
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
        Some(Self {
            rule,
            word,
            start: hit.start - name,
            end,
        })
    }
}

/// The end of the name with `pass` in it: `pass`, `password`, `passwd2`; but not `bypass`.
fn pass_end(bytes: &[u8], hit: Range<usize>) -> Option<usize> {
    // `grep --color` may have found the first half only.
    let joint = skip_colour(bytes, hit.end);
    let continued = continued(bytes, joint, &["word", "wd", "phrase"]);
    let end = if continued > joint {
        continued
    } else {
        hit.end
    };
    if end == hit.end && is_other_word(&bytes[..hit.start]) {
        return None;
    }
    let digits = bytes[end..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    Some(end + digits)
}

/// Whether these letters make another word of `pass` behind them.
fn is_other_word(before: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 6] = [b"by", b"com", b"over", b"sur", b"tres", b"under"];
    BEGINNINGS
        .iter()
        .any(|beginning| ends_with(before, beginning))
}

/// The end of `pwd`, or of `pw` with no letter before it but a word that makes it a password's name.
fn pwd_end(bytes: &[u8], hit: Range<usize>) -> Option<usize> {
    const OWNERS: [&[u8]; 5] = [b"admin", b"db", b"ldap", b"root", b"user"];
    let before = &bytes[..hit.start];
    let is_named = OWNERS.iter().any(|owner| ends_with(before, owner));
    match is_named {
        true => Some(short_end(bytes, &hit)),
        false => whole_end(bytes, hit),
    }
}

/// The end of a long word, or of a short one (found with its separator) with no letter before it.
fn whole_end(bytes: &[u8], hit: Range<usize>) -> Option<usize> {
    let end = short_end(bytes, &hit);
    let before = bytes[..hit.start].last();
    let is_word = !before.is_some_and(u8::is_ascii_alphanumeric);
    (end == hit.end || is_word).then_some(end)
}

/// Where the word ends that may have been found with its separator.
fn short_end(bytes: &[u8], hit: &Range<usize>) -> usize {
    hit.end - usize::from(!bytes[hit.end - 1].is_ascii_alphabetic())
}

/// Which key it is, by the word before `key`; most are no secrets.
fn key_rule(before: &[u8]) -> Option<Rule> {
    let joint = before.strip_suffix(b"_").or(before.strip_suffix(b"-"));
    let before = joint.unwrap_or(before);
    const SECRET: [&[u8]; 13] = [
        b"access",
        b"account",
        b"aes",
        b"app",
        b"auth",
        b"encryption",
        b"hmac",
        b"integration",
        b"license",
        b"master",
        b"shared",
        b"signing",
        b"subscription",
    ];
    if ends_with(before, b"api") {
        return Some(Rule::ApiKey);
    }
    let is_secret = SECRET.iter().any(|word| ends_with(before, word));
    is_secret.then_some(Rule::Secret)
}

/// The end of the name whose word `secret` ends at `hit_end`, and whether it is AWS's.
fn secret_end(bytes: &[u8], hit_end: usize) -> (usize, Rule) {
    let joint = skip_joint(bytes, hit_end);
    // In prose: `Secret Access Key`.
    let blank = |at: usize| at + usize::from(bytes.get(at) == Some(&b' '));
    let access = continued(bytes, blank(joint), &["access"]);
    let second = blank(skip_joint(bytes, access));
    let key = continued(bytes, second, &["key"]);
    if access > blank(joint) && key > second {
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

/// Behind each `ESC [ … m`, as `grep --color` puts it around a key.
pub(super) fn skip_colour(bytes: &[u8], mut at: usize) -> usize {
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

/// Behind the `_` or `-` that joins two words of a name.
fn skip_joint(bytes: &[u8], at: usize) -> usize {
    at + usize::from(matches!(bytes.get(at), Some(b'_' | b'-')))
}

/// What names are made of.
pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a text ends with this word, in any case.
pub(super) fn ends_with(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
}
