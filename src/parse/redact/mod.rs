//! What must never leave: secrets in records become `[redacted:<rule>]`, the key before them stays.
//!
//! Owns the built-in rules, the user's rules and their counts; contents are never kept or told.
//! The built-in rules are written by hand on one search: `needles` finds the few words a secret
//! can stand behind (`password`, `AKIA`, `://`…), and what is found decides which rule looks at
//! the bytes around it. So text without such words costs one pass at memory speed, and everything
//! is linear in the length of the text. A span that is taken out is not looked into again.
//!
//! In doubt a value goes: a word lost from a sentence costs less than a password kept. What is
//! left alone on purpose: empty values, placeholders (`null`, `****`, `${NAME}`, `<password>`),
//! keys that go on (`token_type`, `passwords`), paths and ARNs.
//!
//! A private key printed line by line spans records; [`RedactState`] remembers that its file is
//! inside one. It also remembers a secret that goes on behind the cut of a line that is too long for
//! one event (`seam`). What it remembers is found again after a restart by looking back. Called by `parse`, behind `text` and before anything else sees a record's text.

mod assignment;
mod command;
mod key;
mod needles;
mod pair;
mod pem;
mod seam;
mod shapes;
mod suspects;
mod value;

use std::collections::BTreeMap;
use std::ops::Range;

use regex::Regex;

use crate::config::Redact;
use needles::{Kind, Needles, Word};
use seam::Carry;
pub use suspects::Suspects;

/// How many lines behind the begin of a private key may still belong to it, if no end comes. An
/// RSA key of 8,192 bits has 100.
const KEY_LINES_MAX: u16 = 200;

/// The built-in rules. The names are a contract: users see them in their logs and in `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AwsAccessKeyId,
    AwsSecretAccessKey,
    SessionToken,
    Authorization,
    BearerToken,
    BasicAuth,
    UrlPassword,
    PrivateKey,
    Password,
    Secret,
    Token,
    ApiKey,
    Signature,
    GithubToken,
    SlackToken,
    Jwt,
    Cookie,
    GitlabToken,
    StripeKey,
}

/// The rules' names, in the order in which they are counted.
pub const BUILTIN_RULES: [&str; 19] = [
    "aws-access-key-id",
    "aws-secret-access-key",
    "session-token",
    "authorization",
    "bearer-token",
    "basic-auth",
    "url-password",
    "private-key",
    "password",
    "secret",
    "token",
    "api-key",
    "signature",
    "github-token",
    "slack-token",
    "jwt",
    "cookie",
    "gitlab-token",
    "stripe-key",
];

/// What is remembered of one file between records.
#[derive(Clone, Debug, Default)]
pub struct RedactState {
    /// How many lines may still be a private key's; 0 = not inside one.
    lines_left: u16,
    /// Whether the line before was one of its lines: its last one may be short.
    after_key_line: bool,
    /// The secret that was cut with its line, and goes on here.
    carry: Option<Carry>,
}

impl RedactState {
    /// Whether the file is inside a secret: its lines must be looked at even where
    /// [`Redactor::suspicious`] says no.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_in_key() || self.carry.is_some()
    }

    /// The line ends here, and with it a secret that was cut.
    pub fn end_line(&mut self) {
        self.carry = None;
    }

    fn is_in_key(&self) -> bool {
        self.lines_left > 0
    }

    fn enter_key(&mut self) {
        self.lines_left = KEY_LINES_MAX;
        self.after_key_line = true;
    }

    fn leave_key(&mut self) {
        self.lines_left = 0;
        self.after_key_line = false;
    }
}

/// Takes secrets out of text. One per source; reuses its memory from record to record.
#[derive(Debug)]
pub struct Redactor {
    /// `None` when the built-in rules are off.
    needles: Option<Needles>,
    user: Vec<UserRule>,
    /// By rule: the built-in ones, then the user's.
    counts: Vec<u64>,
    /// Rules that took something out of the last text, not yet counted.
    fresh: Vec<usize>,
    spans: Spans,
}

#[derive(Debug)]
struct UserRule {
    name: String,
    regex: Regex,
    has_secret_group: bool,
}

/// What is to go from one text.
#[derive(Debug, Default)]
struct Spans {
    found: Vec<(Range<usize>, usize)>,
    /// One past the furthest byte that goes.
    end: usize,
    /// Up to here no end of a private key begins behind any begin of one: not to be looked at again.
    endless: usize,
}

impl Spans {
    fn add(&mut self, range: Range<usize>, rule: Rule) {
        self.add_numbered(range, rule as usize);
    }

    fn add_numbered(&mut self, range: Range<usize>, rule: usize) {
        if !range.is_empty() {
            self.end = self.end.max(range.end);
            self.found.push((range, rule));
        }
    }
}

impl Redactor {
    /// For one source's rules.
    #[must_use]
    pub fn new(rules: &Redact) -> Self {
        let user: Vec<UserRule> = rules
            .rules
            .iter()
            .map(|(name, regex)| UserRule {
                name: name.clone(),
                regex: regex.clone(),
                has_secret_group: regex
                    .capture_names()
                    .flatten()
                    .any(|group| group == "secret"),
            })
            .collect();
        Self {
            needles: rules.builtin.then(Needles::new),
            counts: vec![0; BUILTIN_RULES.len() + user.len()],
            fresh: Vec::new(),
            user,
            spans: Spans::default(),
        }
    }

    /// Whether any rule could match anywhere in this chunk of whole lines. `false` is a promise for
    /// these very bytes, so where escape sequences or NUL runs are taken out, ask again behind
    /// that (or take a chunk that holds any for suspicious). The user's rules can be anything: with
    /// them every chunk is suspicious.
    #[must_use]
    pub fn suspicious(&self, chunk: &[u8]) -> bool {
        !self.user.is_empty()
            || self
                .needles
                .as_ref()
                .is_some_and(|needles| needles.occur_in(chunk))
    }

    /// The text of one record without its secrets; `None` when nothing had to go. `state` is the
    /// file's.
    pub fn redact(&mut self, state: &mut RedactState, text: &str) -> Option<String> {
        self.find(state, text);
        self.without_spans(text)
    }

    /// Learns from a record that is not sent what the next one depends on.
    pub fn pass_over(&mut self, state: &mut RedactState, text: &str) {
        self.find(state, text);
    }

    /// Finds what must go.
    fn find(&mut self, state: &mut RedactState, text: &str) {
        self.accept();
        self.spans.found.clear();
        self.spans.end = 0;
        self.spans.endless = 0;
        if let Some(carry) = state.carry.take() {
            self.spans.add_numbered(0..carry.end(text), carry.rule);
        }
        if let Some(needles) = &self.needles {
            if state.is_in_key() {
                pem::key_lines(text, state, &mut self.spans);
            }
            needles.find_each(text.as_bytes(), |kind, hit| {
                // Inside of what goes there is nothing left to find, and never looking twice keeps
                // the whole linear.
                if hit.start >= self.spans.end {
                    look(kind, hit, text, state, &mut self.spans);
                }
            });
        }
        for (number, rule) in self.user.iter().enumerate() {
            rule.find(text, BUILTIN_RULES.len() + number, &mut self.spans);
        }
    }

    /// The last text will not be sent: it comes again, and is counted then.
    pub fn discard(&mut self) {
        self.fresh.clear();
    }

    /// The last text will be sent: what was taken out of it counts.
    pub fn accept(&mut self) {
        for rule in self.fresh.drain(..) {
            self.counts[rule] += 1;
        }
    }

    /// How many secrets were taken out since the last call, by rule; rules without any are left
    /// out.
    pub fn take_counts(&mut self) -> BTreeMap<String, u64> {
        self.accept();
        let names = BUILTIN_RULES.into_iter().map(str::to_owned);
        let names = names.chain(self.user.iter().map(|rule| rule.name.clone()));
        let mut taken = BTreeMap::new();
        for (name, count) in names.zip(&mut self.counts) {
            if *count > 0 {
                *taken.entry(name).or_default() += std::mem::take(count);
            }
        }
        taken
    }

    /// The text with each span (overlapping ones joined) replaced by its rule's name; `None`
    /// without any.
    fn without_spans(&mut self, text: &str) -> Option<String> {
        let found = &mut self.spans.found;
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut redacted = String::with_capacity(text.len() + 32);
        let mut copied = 0;
        for (range, rule) in found.iter() {
            if range.end <= copied {
                continue;
            }
            if range.start >= copied {
                let name = match rule.checked_sub(BUILTIN_RULES.len()) {
                    None => BUILTIN_RULES[*rule],
                    Some(user) => &self.user[user].name,
                };
                redacted.push_str(&text[copied..range.start]);
                redacted.push_str("[redacted:");
                redacted.push_str(name);
                redacted.push(']');
                self.fresh.push(*rule);
            }
            copied = range.end;
        }
        redacted.push_str(&text[copied..]);
        Some(redacted)
    }
}

impl UserRule {
    fn find(&self, text: &str, number: usize, spans: &mut Spans) {
        if !self.has_secret_group {
            for found in self.regex.find_iter(text) {
                spans.add_numbered(found.range(), number);
            }
            return;
        }
        for captures in self.regex.captures_iter(text) {
            if let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) {
                spans.add_numbered(secret.range(), number);
            }
        }
    }
}

/// Lets the rule of a needle look at the text around it.
fn look(kind: Kind, hit: Range<usize>, text: &str, state: &mut RedactState, spans: &mut Spans) {
    let bytes = text.as_bytes();
    let found = match kind {
        Kind::Assigned(Word::Pass) if command::is_sshpass(text, &hit) => {
            command::password_option(text, hit.end).map(|r| (r, Rule::Password))
        }
        Kind::Assigned(word) => assignment::find(text, hit, word),
        Kind::Bearer => shapes::bearer(bytes, hit.end).map(|range| (range, Rule::BearerToken)),
        Kind::Basic => shapes::basic(bytes, hit.end).map(|range| (range, Rule::BasicAuth)),
        Kind::Auth => shapes::auth(bytes, hit.end).map(|range| (range, Rule::BasicAuth)),
        Kind::Url => match shapes::webhook(bytes, hit.end) {
            Some(found) => Some(found),
            None => shapes::url_password(text, hit.end).map(|range| (range, Rule::UrlPassword)),
        },
        Kind::AwsKeyId => aws_key(bytes, hit.start, spans),
        Kind::Dsn => shapes::dsn_password(text, hit.start).map(|r| (r, Rule::UrlPassword)),
        Kind::Shape => shapes::shape(bytes, hit.start),
        Kind::Github => shapes::github(bytes, hit.start).map(|r| (r, Rule::GithubToken)),
        Kind::Slack => shapes::slack(bytes, hit.start).map(|r| (r, Rule::SlackToken)),
        Kind::Stripe => shapes::stripe(bytes, hit).map(|r| (r, Rule::StripeKey)),
        Kind::Jwt => shapes::jwt(bytes, hit.start).map(|r| (r, Rule::Jwt)),
        Kind::Private => private(text, hit, state, spans),
        Kind::Cookie => shapes::cookie(bytes, hit).map(|r| (r, Rule::Cookie)),
        Kind::Curl => command::curl_user(text, hit.end).map(|r| (r, Rule::BasicAuth)),
        Kind::Mysql => command::mysql_password(text, hit.end).map(|r| (r, Rule::Password)),
        Kind::Mongo => command::mongo_password(text, hit.end).map(|r| (r, Rule::Password)),
        Kind::RedisCli => command::redis_password(text, hit.end).map(|r| (r, Rule::Password)),
        Kind::Login => command::login_password(text, hit).map(|r| (r, Rule::Password)),
        Kind::Identified => command::sql_password(text, hit.end).map(|r| (r, Rule::Password)),
        Kind::SecureString => command::parameter(text, hit).map(|r| (r, Rule::Secret)),
    };
    if let Some((range, rule)) = found {
        // What is left behind it is an identifier, and is not looked into either.
        spans.end = spans.end.max(range.end);
        spans.add(value::within_report(bytes, range), rule);
    }
}

/// A key id of AWS, and the secret that stands beside it without a name, as tables have them.
fn aws_key(bytes: &[u8], start: usize, spans: &mut Spans) -> Option<(Range<usize>, Rule)> {
    let id = shapes::aws_key_id(bytes, start)?;
    if let Some(secret) = shapes::aws_secret_behind(bytes, id.end) {
        spans.add(secret, Rule::AwsSecretAccessKey);
    }
    Some((id, Rule::AwsAccessKeyId))
}

/// `PRIVATE KEY` of a marker line, or a key that holds one.
fn private(
    text: &str,
    hit: Range<usize>,
    state: &mut RedactState,
    spans: &mut Spans,
) -> Option<(Range<usize>, Rule)> {
    let bytes = text.as_bytes();
    let rest = &bytes[hit.end..];
    let joint = usize::from(matches!(rest.first(), Some(b' ' | b'_' | b'-')));
    let word = rest.get(joint..joint + 3)?;
    let words = hit.start..hit.end + joint + 3;
    match (rest[0], word.eq_ignore_ascii_case(b"key")) {
        (b' ', true) => {
            pem::block(bytes, words, state, spans).map(|range| (range, Rule::PrivateKey))
        }
        (_, true) => assignment::find(text, words, Word::PrivateKey),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
