//! Redaction from outside: real CodeDeploy logs with planted secrets, and lines made to be slow.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use deploywatch::config::Redact;
use deploywatch::parse::redact::{RedactState, Redactor};

fn builtin() -> Redactor {
    Redactor::new(&Redact {
        builtin: true,
        rules: Vec::new(),
    })
}

/// Each line with a secret in it, before and after; and the counts.
fn changed_lines(log: &str) -> (Vec<(&str, String)>, BTreeMap<String, u64>) {
    let mut redactor = builtin();
    let mut state = RedactState::default();
    let mut changed = Vec::new();
    for line in log.lines() {
        let may = state.is_active() || redactor.suspicious(line.as_bytes());
        if let Some(redacted) = redactor.redact(&mut state, line) {
            assert!(may, "the prefilter missed {line}");
            changed.push((line, redacted));
        }
    }
    (changed, redactor.take_counts())
}

#[test]
fn planted_secrets_of_real_logs_go_and_nothing_else() {
    // Of excerpts of each log the CodeDeploy agents write, exactly the lines with a planted secret
    // change, none of them keeps it, and they keep what is not secret.
    let planted = [
        "hunter2",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI",
        "eyJhbGciOiJIUzI1NiJ9",
    ];
    let logs = [
        include_str!("corpus/redact/agent-1.x.log"),
        include_str!("corpus/redact/agent-2.x.log"),
        include_str!("corpus/redact/deployments-1.x.log"),
        include_str!("corpus/redact/scripts-1.x.log"),
        include_str!("corpus/redact/scripts-2.x.log"),
    ];
    let mut counts = BTreeMap::new();
    for log in logs {
        let has_secret = |line: &str| planted.iter().any(|secret| line.contains(secret));
        let (changed, counted) = changed_lines(log);
        let lines: Vec<_> = changed.iter().map(|(line, _)| *line).collect();
        let want: Vec<_> = log.lines().filter(|line| has_secret(line)).collect();
        assert_eq!(lines, want);
        for (line, redacted) in &changed {
            assert!(!has_secret(redacted), "{redacted}");
            assert_eq!(line[..19], redacted[..19]);
        }
        for (rule, count) in counted {
            *counts.entry(rule).or_default() += count;
        }
    }
    let rules: Vec<_> = counts.keys().map(String::as_str).collect();
    assert_eq!(
        rules,
        [
            "authorization",
            "aws-access-key-id",
            "aws-secret-access-key",
            "password"
        ]
    );
    assert!(counts.values().all(|&count: &u64| count > 0));
}

/// What was planted in the corpus, each in a form of its own.
const PLANTED: [&str; 4] = [
    "hunter2",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI",
    "eyJhbGciOiJIUzI1NiJ9",
];

fn files_below(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the corpus") {
        let path = entry.expect("an entry of it").path();
        match path.is_dir() {
            true => files_below(&path, into),
            false => into.push(path),
        }
    }
}

/// A log of the corpus, unpacked.
fn text_of(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("a file of the corpus");
    let mut plain = Vec::new();
    match path.extension().is_some_and(|end| end == "gz") {
        true => drop(
            flate2::read::GzDecoder::new(&*bytes)
                .read_to_end(&mut plain)
                .expect("a packed log"),
        ),
        false => plain = bytes,
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[test]
fn in_the_whole_corpus_planted_secrets_go_and_nothing_else() {
    // Of every log in the corpus exactly the lines with a planted secret change, and none keeps
    // it: in all files of both generations.
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files = Vec::new();
    for generation in ["1.x", "2.x", "heads"] {
        files_below(&corpus.join(generation), &mut files);
    }
    let mut with_secrets = 0;
    for path in &files {
        let log = text_of(path);
        let has_secret = |line: &str| PLANTED.iter().any(|secret| line.contains(secret));
        let (changed, _) = changed_lines(&log);
        let want: Vec<_> = log.lines().filter(|line| has_secret(line)).collect();
        let lines: Vec<_> = changed.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, want, "{}", path.display());
        for (_, redacted) in &changed {
            assert!(!has_secret(redacted), "{}: {redacted}", path.display());
        }
        with_secrets += usize::from(!want.is_empty());
    }
    assert!(
        files.len() > 40 && with_secrets > 5,
        "{} files, {with_secrets} with secrets",
        files.len()
    );
}

#[test]
fn failed_hooks_in_the_agent_log_keep_their_json() {
    // The escaped JSON in which 1.x repeats a hook's output is as before but for the two values.
    let log = include_str!("corpus/redact/agent-1.x.log");
    let (changed, _) = changed_lines(log);
    let (before, after) = &changed[0];
    let want = before
        .replace("AKIAIOSFODNN7EXAMPLE", "[redacted:aws-access-key-id]")
        .replace("hunter2-example", "[redacted:password]");
    assert_eq!(*after, want);
}

#[test]
fn poisonous_lines_cost_linear_time() {
    // Many beginnings of a rule in one line, over which rules that look again and again at the same
    // bytes would sit for minutes; the limit leaves room for a slow machine.
    for poison in [
        "://",
        "://u:",
        "pwd=/",
        "password=\"",
        "password=\\\"",
        "token:{",
        "token=",
        "/secret:a",
        "eyJ",
        "eyJ-",
        "eyJa.",
        "AKIA",
        "xoxb-",
        "ghp_",
        "bearer ",
        "basic ",
        "basic AAAA",
        "authorization: digest ",
        "password=)",
        ")",
        "\\",
        "password=\\",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----{",
        "-----END PRIVATE KEY-----",
        "A-----END PRIVATE KEY-----",
        "\u{1b}[0m",
        "token\u{1b}[0m",
        "password=,a",
        "pass=1",
        "signature=",
        "token  ",
        "--token a=",
        "secret_access_key ",
        "access_key=AKIA",
        "signature:a",
        "sessionid:a",
        "password={{}",
        "password=<>",
        "password=[a]",
        "aiza",
        "-AIza",
        "Ghp_",
        "GLPAT-",
        "iqoj",
        "-SG.",
        "npm_",
        "_sk-ant-",
        "a:@tcp(",
        "a:b@tcp(",
        "bindpw=",
        "password='},host_command_identifier:\"A\")",
    ] {
        let text = poison.repeat(300_000 / poison.len());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let after_key = format!("password={text}");
            for text in [text, after_key] {
                let _changed = builtin().redact(&mut RedactState::default(), &text);
            }
            sender.send(())
        });
        let ended = receiver.recv_timeout(Duration::from_secs(20));
        assert!(ended.is_ok(), "{poison}");
    }
}
