//! Twice the input is twice the work: no text, pattern or name takes longer than its length explains.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;

use deploywatch::config::{Config, PathPattern, Redact, Source};
use deploywatch::event::{FileId, Now, Offset, Skip};
use deploywatch::parse::redact::{RedactState, Redactor};
use deploywatch::parse::{Chunk, Ending, Memory, Next, Parser};
use jiff::tz::TimeZone;

/// Times the input is made longer.
const LONGER: usize = 8;

/// Times the work may grow with it. Quadratic work would grow 64 times.
const GROWTH_MAX: u64 = 28;

/// Work too small to be measured, in nanoseconds: constant costs would be all that is seen.
const NOTHING_NS: u64 = 3_000_000;

/// Processor time this thread has used: what others do on the machine does not count.
fn used_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The least that some work took in two tries.
fn work_ns(mut work: impl FnMut()) -> u64 {
    let tries = (0..2).map(|_| {
        let before = used_ns();
        work();
        used_ns() - before
    });
    tries.min().unwrap_or_default()
}

/// The work on `LONGER` times the input is not out of proportion.
fn assert_linear(what: &str, bytes: usize, work: impl Fn(usize)) {
    let short = work_ns(|| work(bytes)).max(NOTHING_NS);
    let long = work_ns(|| work(bytes * LONGER));
    println!("{what}: {short} ns, then {long} ns");
    assert!(
        long <= short * GROWTH_MAX,
        "{what}: {short} ns, then {long} ns for {LONGER} times"
    );
}

/// Pieces that begin one thing or another again and again.
const POISON: [&str; 64] = [
    "://",
    "://u:",
    "pwd=/",
    "password=\"",
    "password=\\\"",
    "token:{",
    "eyJ",
    "eyJa.",
    "AKIA",
    "bearer ",
    "basic AAAA",
    "authorization: digest ",
    "password=)",
    ")",
    "\\",
    "password=\\",
    "-----BEGIN PRIVATE KEY-----{",
    "A-----END PRIVATE KEY-----",
    "token\u{1b}[0m",
    "password=,a",
    "--token a=",
    "cookie:",
    "cookie: a=",
    "set-cookie: a=b;",
    "curl ",
    "curl -u",
    "curl -u a:",
    "mysql ",
    "mysql -p'",
    "private_",
    "sk_live_",
    "glpat-",
    "docker login ",
    "docker login -p",
    "sshpass -p '",
    "-storepass ",
    "identified by '",
    "curl -su",
    "\"password\",\"value\":",
    "(\"password\",",
    "<a key=\"password\">",
    "password is generated for ",
    "password is generated for x: ",
    "AKIAIOSFODNN7EXAMPLE-",
    "AKIAIOSFODNN7EXAMPLE ",
    "eyJwYXlsb2Fk",
    "IQoJ",
    "'password=a ",
    "mysql '-p",
    "mongo -p '",
    "redis-cli -a",
    "securestring --value '",
    "securestring --value ",
    "\"SecureString\",\"Value\":",
    "auth\":",
    "_auth=AAAA",
    "env password ",
    "pw=",
    "password:[",
    "\\x22password\\x22:",
    "%22password%22%3A",
    "password&quot;:",
    "password for ",
    "identified with ",
];

/// Redaction, of whole lines and of lines that are cut.
#[test]
fn redaction_is_linear() {
    let rules = Redact {
        builtin: true,
        rules: Vec::new(),
    };
    for poison in POISON {
        assert_linear(poison, 16_384, |bytes| {
            let text = poison.repeat(bytes / poison.len());
            let mut redactor = Redactor::new(&rules);
            let mut state = RedactState::default();
            let _part = redactor.redact_part(&mut state, &text);
            let _whole = redactor.redact(&mut state, &text);
            let _cut = redactor.cut_before(text.as_bytes(), text.len() / 2);
            redactor.recall(&mut state, text.as_bytes());
        });
    }
}

fn source(rest: &str) -> Arc<Source> {
    let text = format!("[[source]]\nname = \"a\"\npaths = [\"/x/*\"]\n{rest}\n");
    let (config, _) = Config::parse(&[("a.toml".into(), text)]).unwrap();
    Arc::clone(&config.sources[0])
}

/// Reads a file in chunks of what one turn reads, as the agent does.
fn read(source: &Arc<Source>, bytes: &[u8]) {
    let mut parser = Parser::new(Arc::clone(source), TimeZone::UTC).unwrap();
    let mut memory = Memory::at(None);
    let now = Now {
        mono_ms: 0,
        wall_ms: 1_795_000_000_000,
    };
    let chunk = Chunk {
        file: FileId(1),
        start: Offset(0),
        bytes,
        ending: Ending::Final,
        text: parser.begin(&memory, bytes),
    };
    let mut at = 0;
    while at < bytes.len() {
        let taken = match parser.next(&memory, &chunk, at, now) {
            Next::Event(event, taken) | Next::Unwanted(event, taken) => {
                let _ack = event.skip(Skip::Filtered);
                taken
            }
            Next::Skipped(_ack, _, taken) => taken,
            Next::Incomplete(_) => panic!("a final chunk is complete"),
        };
        at += taken.bytes;
        parser.take(&mut memory, taken);
    }
}

/// Parsing, with each way to tell records apart and the users' patterns that are slow elsewhere.
#[test]
fn parsing_is_linear() {
    let sources = [
        "event_bytes_max = 1000",
        "multiline = \"java\"\nevent_bytes_max = 1000",
        "multiline = \"python\"\nstrip_ansi = true",
        "multiline = { start = '^(a+)+$' }\nevent_bytes_max = 1000",
        "exclude_lines = ['(x+x+)+y', '(.*)*z$']",
        "timestamp = { json = \"ts\" }",
        "timestamp = \"%Y-%m-%d %H:%M:%S\"",
    ];
    let texts = [
        "\n",
        "\tat a\n",
        "xxxxxxxxxxxxxxxx",
        "\x1b[",
        "\x1b]0;",
        "[[{{\"ts\":",
        "{\"ts\":1}\n",
        "\r\n",
        "\0",
        "\u{e9}",
        "2026-11-21 01:00:00 ",
        "password=",
        "Caused by: x\n",
    ];
    for rest in sources {
        let source = source(rest);
        for text in texts {
            assert_linear(&format!("{text:?} with {rest}"), 16_384, |bytes| {
                read(&source, text.repeat(bytes / text.len()).as_bytes());
            });
        }
    }
}

/// Paths against patterns with many wildcards.
#[test]
fn matching_paths_is_linear() {
    let pattern =
        PathPattern::parse(&format!("/r{}/*b*b*b*b.log", "/**/*a*a*a*".repeat(20))).unwrap();
    assert_linear("names", 200, |bytes| {
        let path = format!("/r{}", "/aaaaaaa".repeat(bytes / 8));
        assert!(!pattern.matches(Path::new(&path)));
    });
    assert_linear("a name", 2_048, |bytes| {
        let path = format!("/r/{}", "a".repeat(bytes));
        assert!(!pattern.matches(Path::new(&path)));
    });
}

/// A configuration file of many keys, and one that is nested deep.
#[test]
fn reading_a_configuration_is_linear() {
    for (what, piece) in [
        ("nested", "a=["),
        ("keys", "# x\n"),
        ("mistakes", "[[source]]\nname = 1\n"),
    ] {
        assert_linear(what, 4_096, |bytes| {
            let text = piece.repeat(bytes / piece.len());
            let _answer = Config::parse(&[("a.toml".into(), text)]);
        });
    }
}
