//! The words a secret can stand behind, and one fast search for all of them.
//!
//! The search is for bytes in lower case: each block of the haystack is lowered into a buffer on
//! the stack (which the compiler vectorises) and searched with SIMD (Teddy, from `aho_corasick`'s
//! packed searchers), which a case-insensitive automaton could not use. Blocks overlap by the
//! longest needle.

use std::ops::Range;

use aho_corasick::packed::{self, MatchKind};
use aho_corasick::{AhoCorasick, PatternID};

/// What a needle hints at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key whose value goes.
    Assigned(Word),
    /// `Bearer …`
    Bearer,
    /// `Basic …`
    Basic,
    /// A URL that may hold a password.
    Url,
    /// `user:…@tcp(host)`
    Dsn,
    /// AKIA…, ASIA…
    AwsKeyId,
    /// `"Type":"SecureString"`
    SecureString,
    /// What its beginning and its length give away: `IQoJ…`, `glpat-…`.
    Shape,
    /// `"auth":"…"`, `_auth=…`
    Auth,
    /// ghp_… and its siblings.
    Github,
    /// xoxb-… and its siblings.
    Slack,
    /// sk_live_…, rk_test_… and their siblings.
    Stripe,
    /// eyJ…
    Jwt,
    /// The marker lines of a private key, or `private_key` and its siblings.
    Private,
    /// `Cookie: …` and `Set-Cookie: …`
    Cookie,
    /// `curl -u …`
    Curl,
    /// `mysql -p…`
    Mysql,
    /// `mongo -p …`
    Mongo,
    /// `redis-cli -a …`
    RedisCli,
    /// `docker login -p …`
    Login,
    /// `IDENTIFIED BY '…'`, `IDENTIFIED WITH … BY '…'`
    Identified,
}

/// The telling word in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Pass,
    Pwd,
    Secret,
    Token,
    ApiKey,
    PrivateKey,
    /// `_key`, `accesskey`, of which the word before says whether it is a secret.
    Key,
    Authorization,
    Signature,
    SessionId,
}

/// At most 64 of at least three bytes, which is what the searcher takes; in lower case. Which is found does not
/// depend on their order, since none begins another. The speed does: the order decides which share a bucket of
/// the searcher, which stops where the first three bytes could be any of a bucket's, and at the beginning of a
/// search, of which it knows no byte before, where the third or second could be. This one is the best of a hundred
/// thousand exchanges, with sixteen buckets and with eight (ARM, and machines without AVX2), for ordinary logs and
/// their lines' beginnings. One word more anywhere moves all behind it to other buckets: look for an order anew.
const NEEDLES: [(&str, Kind); 60] = [
    ("dckr_pat_", Kind::Shape),
    ("github_pat_", Kind::Github),
    ("sk-proj-", Kind::Shape),
    ("k_live_", Kind::Stripe),
    ("secret", Kind::Assigned(Word::Secret)),
    ("cookie", Kind::Cookie),
    ("auth\\\"", Kind::Auth),
    ("sessionid", Kind::Assigned(Word::SessionId)),
    ("api key", Kind::Assigned(Word::ApiKey)),
    ("basic ", Kind::Basic),
    ("pypi-ag", Kind::Shape),
    ("_key", Kind::Assigned(Word::Key)),
    ("sig=", Kind::Assigned(Word::Signature)),
    ("authorization", Kind::Assigned(Word::Authorization)),
    ("auth\"", Kind::Auth),
    ("identified ", Kind::Identified),
    ("login", Kind::Login),
    ("ghu_", Kind::Github),
    ("sg.", Kind::Shape),
    ("sessid", Kind::Assigned(Word::SessionId)),
    ("sk-ant-", Kind::Shape),
    ("gho_", Kind::Github),
    ("k_test_", Kind::Stripe),
    ("mysql", Kind::Mysql),
    ("private", Kind::Private),
    ("ghs_", Kind::Github),
    ("xapp-", Kind::Shape),
    ("signature", Kind::Assigned(Word::Signature)),
    ("eyj", Kind::Jwt),
    ("accesskey", Kind::Assigned(Word::Key)),
    ("redis-cli", Kind::RedisCli),
    ("bindpw", Kind::Assigned(Word::Pwd)),
    ("npm_", Kind::Shape),
    ("_auth=", Kind::Auth),
    (":\\/\\/", Kind::Url),
    ("mongo", Kind::Mongo),
    ("securestring", Kind::SecureString),
    ("bearer", Kind::Bearer),
    ("pw=", Kind::Assigned(Word::Pwd)),
    ("curl", Kind::Curl),
    ("pw\"", Kind::Assigned(Word::Pwd)),
    ("hvs.", Kind::Shape),
    ("glpat-", Kind::Shape),
    ("xox", Kind::Slack),
    ("aiza", Kind::Shape),
    ("licensekey", Kind::Assigned(Word::Key)),
    ("pwd", Kind::Assigned(Word::Pwd)),
    ("@tcp(", Kind::Dsn),
    ("token", Kind::Assigned(Word::Token)),
    ("ghr_", Kind::Github),
    ("://", Kind::Url),
    ("akia", Kind::AwsKeyId),
    ("accountkey", Kind::Assigned(Word::Key)),
    ("iqoj", Kind::Shape),
    ("pw:", Kind::Assigned(Word::Pwd)),
    ("apikey", Kind::Assigned(Word::ApiKey)),
    ("asia", Kind::AwsKeyId),
    ("pass", Kind::Assigned(Word::Pass)),
    ("ghp_", Kind::Github),
    ("-key", Kind::Assigned(Word::Key)),
];

/// Length of the longest needle, `authorization`.
const NEEDLE_BYTES_MAX: usize = 13;

/// A block that stays in the first-level cache.
const BLOCK_BYTES: usize = 4096;

/// Buffers for ordinary and for long lines, which are cheaper to clear.
const LINE_BYTES: usize = 256;
const LONG_LINE_BYTES: usize = 1024;

/// The compiled search.
#[derive(Debug)]
pub(super) struct Needles(Searcher);

#[derive(Debug)]
enum Searcher {
    Packed(packed::Searcher),
    /// On machines without the instructions.
    Automaton(AhoCorasick),
}

impl Needles {
    pub(super) fn new() -> Self {
        let words = NEEDLES.map(|(needle, _)| needle);
        // Sixteen buckets (AVX2 only) see far fewer false candidates in text than eight do, which
        // makes the search three times as fast.
        let packed = [Some(true), None].into_iter().find_map(|sixteen_buckets| {
            packed::Config::new()
                .match_kind(MatchKind::LeftmostFirst)
                .only_teddy_fat(sixteen_buckets)
                .builder()
                .extend(words)
                .build()
        });
        Self(match packed {
            Some(searcher) => Searcher::Packed(searcher),
            None => Searcher::Automaton(
                AhoCorasick::builder()
                    .match_kind(aho_corasick::MatchKind::LeftmostFirst)
                    .build(words)
                    .expect("a few short needles fit into an automaton"),
            ),
        })
    }

    /// Whether any needle is in the haystack.
    pub(super) fn occur_in(&self, haystack: &[u8]) -> bool {
        let mut buffer = [0; BLOCK_BYTES];
        blocks(haystack.len(), BLOCK_BYTES).any(|block| {
            let lowered = lower(&haystack[block], &mut buffer);
            match &self.0 {
                Searcher::Packed(searcher) => searcher.find(lowered).is_some(),
                Searcher::Automaton(searcher) => searcher.is_match(lowered),
            }
        })
    }

    /// Hands on every needle in the haystack, from left to right, none overlapping another.
    pub(super) fn find_each(&self, haystack: &[u8], hit: impl FnMut(Kind, Range<usize>)) {
        if haystack.len() <= LINE_BYTES {
            self.find_in_blocks(haystack, &mut [0; LINE_BYTES], hit);
        } else if haystack.len() <= LONG_LINE_BYTES {
            self.find_in_blocks(haystack, &mut [0; LONG_LINE_BYTES], hit);
        } else {
            self.find_in_blocks(haystack, &mut [0; BLOCK_BYTES], hit);
        }
    }

    fn find_in_blocks(
        &self,
        haystack: &[u8],
        buffer: &mut [u8],
        mut hit: impl FnMut(Kind, Range<usize>),
    ) {
        // What lies in the overlap of two blocks may be found twice; only the first counts.
        let mut seen = 0;
        let mut report = |pattern: PatternID, found: Range<usize>| {
            if found.start >= seen {
                seen = found.end;
                hit(NEEDLES[pattern.as_usize()].1, found);
            }
        };
        for block in blocks(haystack.len(), buffer.len()) {
            let start = block.start;
            let lowered = lower(&haystack[block], buffer);
            match &self.0 {
                Searcher::Packed(searcher) => {
                    for found in searcher.find_iter(lowered) {
                        report(found.pattern(), start + found.start()..start + found.end());
                    }
                }
                Searcher::Automaton(searcher) => {
                    for found in searcher.find_iter(lowered) {
                        report(found.pattern(), start + found.start()..start + found.end());
                    }
                }
            }
        }
    }
}

/// The haystack cut into blocks, each beginning a needle's length before the end of the last.
fn blocks(len: usize, block_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = len.min(start + block_bytes);
        let block = start..end;
        done = end == len;
        start = end.saturating_sub(NEEDLE_BYTES_MAX - 1);
        Some(block)
    })
}

fn lower<'b>(block: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let lowered = &mut buffer[..block.len()];
    lowered.copy_from_slice(block);
    lowered.make_ascii_lowercase();
    lowered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_are_found_wherever_blocks_are_cut() {
        // Each needle, in any case, at every position around the borders of blocks of both sizes,
        // is found once and where it is.
        let needles = Needles::new();
        assert!(
            NEEDLES
                .iter()
                .all(|(needle, _)| needle.len() <= NEEDLE_BYTES_MAX)
        );
        let begins = |a: &str, b: &str| a != b && b.starts_with(a);
        for (one, _) in NEEDLES {
            assert!(NEEDLES.iter().all(|(other, _)| !begins(one, other)));
        }
        for (needle, kind) in NEEDLES {
            for around in [
                0,
                LINE_BYTES,
                BLOCK_BYTES,
                2 * BLOCK_BYTES - NEEDLE_BYTES_MAX,
            ] {
                for at in around.saturating_sub(30)..around + 5 {
                    let mut haystack = vec![b'~'; at];
                    haystack.extend_from_slice(needle.to_ascii_uppercase().as_bytes());
                    haystack.extend_from_slice(b"~~~~");
                    let mut hits = Vec::new();
                    needles.find_each(&haystack, |kind, range| hits.push((kind, range)));
                    assert_eq!(hits, [(kind, at..at + needle.len())], "{needle} at {at}");
                    assert!(needles.occur_in(&haystack));
                }
            }
        }
        // With eight buckets, too, there is room for all.
        let slim = packed::Config::new().only_teddy_fat(Some(false)).builder();
        let slim = slim
            .clone()
            .extend(NEEDLES.map(|(needle, _)| needle))
            .build();
        assert!(slim.is_some());
        assert!(!needles.occur_in(&[b'~'; 10_000]));
        assert!(!needles.occur_in(b""));
    }
}
