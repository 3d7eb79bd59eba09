//! House style as a test: who may import whom, what only the edges may call, how long things may
//! be, what must not be said. A failure names file, line, rule and remedy.
//!
//! The source is looked at as text, with comments and the contents of strings blanked out: no
//! parser is worth its weight here. `tests.rs` files, `tests/` folders and everything from a
//! `#[cfg(test)]` that opens a module on are test code and free of most rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, from its signature to its brace.
const FUNCTION_LINES_MAX: usize = 60;

/// Files that are longer, with their length. May only shrink: what is here and is not needed, or
/// is larger than the truth, fails too.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions that are longer, as `file::function`, with their length. May only shrink.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Which top-level modules a module may name, besides itself. `None`: all of them.
const ARROWS: &[(&str, Option<&[&str]>)] = &[
    ("main", None),
    ("lib", None),
    ("agent", None),
    ("cli", None),
    ("config", Some(&["event", "ports"])),
    ("ports", Some(&["event"])),
    ("event", Some(&[])),
    ("status", Some(&["event"])),
    ("tail", Some(&["event", "ports", "config"])),
    ("parse", Some(&["event", "ports", "config"])),
    ("codedeploy", Some(&["event", "ports", "config", "status"])),
    ("events", Some(&["event", "ports", "config", "status"])),
    ("alarms", Some(&["event", "ports", "config", "status"])),
    ("metrics", Some(&["event", "ports", "config", "status"])),
    ("ship", Some(&["event", "ports", "config", "status"])),
    ("os", Some(&["event", "ports", "config", "status"])),
    ("aws", Some(&["event", "ports", "config"])),
    ("directory", Some(&["event", "ports", "config"])),
];

/// Modules that may touch the machine and the network.
const EDGES: &[&str] = &["os", "aws", "main", "directory", "cli"];

/// What only the edges may name.
const EDGE_CALLS: &[(&str, &str)] = &[
    ("std::fs", "ask `ports::Files` or `ports::Store`"),
    ("TcpStream", "ask a port"),
    ("TcpListener", "ask a port"),
    ("UdpSocket", "ask a port"),
    ("ToSocketAddrs", "ask a port"),
    ("UnixStream", "ask a port"),
    ("UnixListener", "ask a port"),
    ("std::thread", "the middle has one thread, the caller's"),
    ("Instant::now", "take `event::Now`"),
    ("SystemTime::now", "take `event::Now`"),
    ("Timestamp::now", "take `event::Now`"),
    ("Zoned::now", "take `event::Now`"),
    ("tokio", "tokio lives in `aws/`"),
    ("process::exit", "return an error"),
];

/// Randomness that no seed decides.
const UNSEEDED: &[&str] = &[
    "fastrand::u8(",
    "fastrand::u16(",
    "fastrand::u32(",
    "fastrand::u64(",
    "fastrand::usize(",
    "fastrand::i64(",
    "fastrand::f64(",
    "fastrand::bool(",
    "fastrand::shuffle(",
    "fastrand::choice(",
    "Rng::new()",
];

/// What no code outside tests may say.
const NOWHERE: &[(&str, &str)] = &[
    ("todo!", "write it"),
    ("unimplemented!", "write it"),
    ("dbg!", "use `tracing`"),
    (
        ".unwrap()",
        "return an error, or `expect` with the invariant",
    ),
    ("#[allow(", "use `#[expect(…, reason = …)]`"),
    ("#![allow(", "use `#[expect(…, reason = …)]`"),
];

/// Words that mean nothing to who reads the repository, found anywhere, comments included.
/// Written in two parts, so that this file does not hold them.
const UNSAID: &[(&str, &str)] = &[
    ("DESIGN", ".md"),
    ("GUIDE", ".md"),
    ("/work", "/"),
    ("../", "shared"),
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
];

/// Folders whose text is checked for [`UNSAID`].
const TEXT_FOLDERS: &[&str] = &["src", "tests", "conf", "packaging"];

/// Broken rules, each with its place and remedy.
type Findings = Vec<String>;

/// The source keeps the house's rules: shown by looking at every file of it.
#[test]
fn the_house_is_tidy() {
    let mut findings = Findings::new();
    let sources = sources();
    assert!(
        sources.len() > 10,
        "the source is not where it is looked for"
    );
    for source in &sources {
        check_arrows(source, &mut findings);
        check_calls(source, &mut findings);
        check_head(source, &mut findings);
    }
    check_lengths(&sources, &mut findings);
    check_words(&mut findings);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// One file under `src/`.
struct Source {
    /// Relative to the crate.
    path: String,
    /// The top-level module it belongs to.
    module: String,
    text: String,
    /// The text with comments and strings blanked out, cut where the tests begin.
    code: String,
}

impl Source {
    fn read(path: &Path, root: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).expect("a readable source file");
        let below = path.strip_prefix(root.join("src")).expect("under src");
        let module = below.iter().next()?.to_str()?.trim_end_matches(".rs");
        let name = path.file_name()?.to_str()?;
        let is_test =
            name == "tests.rs" || name == "testing.rs" || below.iter().any(|part| part == "tests");
        let blank = blanked(&text);
        let end = if is_test { 0 } else { tests_begin(&blank) };
        Some(Self {
            path: format!("src/{}", below.display()),
            module: module.to_owned(),
            code: blank[..end].to_owned(),
            text,
        })
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All sources; files that are modules for tests only have no code to check.
fn sources() -> Vec<Source> {
    let mut sources = all_sources();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        let is_test = |module: &String| {
            stem == module
                || stem
                    .strip_prefix(module.as_str())
                    .is_some_and(|s| s.starts_with('/'))
        };
        if tests.iter().any(is_test) {
            source.code.clear();
        }
    }
    sources
}

/// Paths, without their ending, of the modules a file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let dir = stem.trim_end_matches("/mod").trim_end_matches("/lib");
    let marked = source.code.split("#[cfg(test)]").skip(1);
    marked
        .filter_map(|behind| {
            let (head, _) = behind.split_once(';')?;
            let (before, name) = head.rsplit_once("mod ")?;
            let plain = before
                .trim()
                .chars()
                .all(|letter| letter.is_alphabetic() || "() ".contains(letter));
            plain.then(|| format!("{dir}/{}", name.trim()))
        })
        .collect()
}

fn all_sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    let is_rust = |path: &&PathBuf| path.extension().is_some_and(|end| end == "rs");
    paths
        .iter()
        .filter(is_rust)
        .filter_map(|path| Source::read(path, &root()))
        .collect()
}

fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn check_arrows(source: &Source, findings: &mut Findings) {
    let modules: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == source.module) else {
        findings.push(format!(
            "{}:1: a module without a line in ARROWS: decide whom it may import",
            source.path
        ));
        return;
    };
    let Some(allowed) = allowed else {
        return;
    };
    for (line, named) in imports(&source.code) {
        let ours = modules.contains(named.as_str());
        if ours && named != source.module && !allowed.contains(&named.as_str()) {
            findings.push(format!(
                "{}:{line}: `{}` may not import `{named}`: move what both need to `event` or \
                 `ports`, or let the agent carry it",
                source.path, source.module
            ));
        }
    }
}

/// The names behind `crate::`, also within braces, each with its line.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for letter in list.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push((line, first_name(&word)));
                        word.clear();
                    }
                    _ => {}
                }
                if letter != ',' || depth > 0 {
                    word.push(letter);
                }
            }
            found.push((line, first_name(&word)));
        } else {
            found.push((line, first_name(rest)));
        }
    }
    found
}

fn first_name(path: &str) -> String {
    let is_name = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    path.trim_start().chars().take_while(is_name).collect()
}

fn check_calls(source: &Source, findings: &mut Findings) {
    let is_edge = EDGES.contains(&source.module.as_str());
    for (number, line) in source.lines() {
        let place = format!("{}:{number}", source.path);
        for (call, remedy) in EDGE_CALLS.iter().filter(|_| !is_edge) {
            if names(line, call) {
                findings.push(format!(
                    "{place}: only the edges may name `{call}`: {remedy}"
                ));
            }
        }
        for call in UNSEEDED.iter().filter(|_| !is_edge) {
            if line.contains(call) {
                findings.push(format!("{place}: `{call}` draws from no seed: take a seed"));
            }
        }
        for (call, remedy) in NOWHERE {
            if line.contains(call) {
                findings.push(format!("{place}: `{call}` outside tests: {remedy}"));
            }
        }
    }
}

/// Whether a line names a thing, not only a longer one.
fn names(line: &str, what: &str) -> bool {
    line.match_indices(what).any(|(at, _)| {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let before = line[..at].chars().next_back();
        let after = line[at + what.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn check_head(source: &Source, findings: &mut Findings) {
    if !source.text.starts_with("//!") {
        findings.push(format!(
            "{}:1: begins without `//!`: say what the module owns",
            source.path
        ));
    }
}

fn check_lengths(sources: &[Source], findings: &mut Findings) {
    let mut files = BTreeMap::new();
    let mut functions = BTreeMap::new();
    for source in sources {
        let lines = source.code.lines().count();
        files.insert(source.path.clone(), (lines, 1));
        for (name, line, lines) in function_lengths(&source.code) {
            let longest = functions
                .entry(format!("{}::{name}", source.path))
                .or_insert((lines, line));
            if lines > longest.0 {
                *longest = (lines, line);
            }
        }
    }
    ratchet("file", &files, FILE_LINES_MAX, LONG_FILES, findings);
    ratchet(
        "function",
        &functions,
        FUNCTION_LINES_MAX,
        LONG_FUNCTIONS,
        findings,
    );
}

/// Lengths are under the limit, or under their exception, which must be needed and exact.
fn ratchet(
    what: &str,
    lengths: &BTreeMap<String, (usize, usize)>,
    limit: usize,
    exceptions: &[(&str, usize)],
    findings: &mut Findings,
) {
    for (name, (lines, at)) in lengths {
        let exception = exceptions.iter().find(|(excepted, _)| excepted == name);
        let allowed = exception.map_or(limit, |(_, lines)| *lines);
        if *lines > allowed {
            findings.push(format!(
                "{name}:{at}: a {what} of {lines} lines, {allowed} are allowed: split it"
            ));
        }
    }
    for (name, allowed) in exceptions {
        let lines = lengths.get(*name).map_or(0, |(lines, _)| *lines);
        if lines < *allowed || *allowed <= limit {
            findings.push(format!(
                "tests/tidy.rs: the exception for {name} says {allowed}, the truth is {lines}: \
                 lower it, or take it out at {limit}"
            ));
        }
    }
}

/// Name, first line and number of lines of every function with a body.
fn function_lengths(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    let mut pending: Option<(String, usize)> = None;
    let mut depth = 0;
    let mut brackets = 0;
    for (at, line) in code.lines().enumerate() {
        if pending.is_none()
            && let Some(name) = function_name(line)
        {
            pending = Some((name, at));
            brackets = 0;
        }
        for letter in line.chars() {
            match letter {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                ';' if brackets <= 0 => pending = None,
                '{' => {
                    if let Some((name, line)) = pending.take() {
                        open.push((name, line, depth));
                    }
                    depth += 1;
                }
                '}' => {
                    depth -= 1;
                    if open.last().is_some_and(|(_, _, outer)| *outer == depth)
                        && let Some((name, line, _)) = open.pop()
                    {
                        found.push((name, line + 1, at - line + 1));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let at = line.find("fn ")?;
    let before = line[..at].chars().next_back();
    let name = first_name(&line[at + 3..]);
    let is_start = before.is_none_or(|letter| letter == ' ' || letter == '(');
    (is_start && !name.is_empty()).then_some(name)
}

fn check_words(findings: &mut Findings) {
    let mut paths: Vec<PathBuf> = ["README.md", "Cargo.toml"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    for folder in TEXT_FOLDERS {
        walk(&root().join(folder), &mut paths);
    }
    for path in paths {
        // What is not text has no words; recorded output is quoted as it is.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let below = path
            .strip_prefix(root())
            .unwrap_or(&path)
            .display()
            .to_string();
        if below.starts_with("tests/corpus") || below.starts_with("tests/golden") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for (one, two) in UNSAID {
                let word = format!("{one}{two}");
                if line.contains(&word) {
                    findings.push(format!(
                        "{below}:{}: says `{word}`: nobody who reads this can follow it; say \
                         what is meant, or do it",
                        number + 1
                    ));
                }
            }
        }
    }
}

/// Where the tests of a file begin: at the first `#[cfg(test)]` before a module with a body.
fn tests_begin(code: &str) -> usize {
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]") {
        let at = from + at;
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let head: String = rest
            .chars()
            .take_while(|letter| !"{;".contains(*letter))
            .collect();
        let has_body = rest[head.len()..].starts_with('{');
        if head.contains("mod ") && has_body {
            return at;
        }
        from = at + 1;
    }
    code.len()
}

/// The text with the contents of comments, strings and character literals replaced by blanks;
/// line breaks stay.
fn blanked(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = match letters[at] {
            '/' if letters.get(at + 1) == Some(&'/') => line_end(&letters, at),
            '/' if letters.get(at + 1) == Some(&'*') => comment_end(&letters, at),
            '"' => string_end(&letters, at),
            'r' if !follows_name(&letters, at) => raw_string_end(&letters, at),
            '\'' => letter_end(&letters, at),
            _ => at,
        };
        if end == at {
            out.push(letters[at]);
            at += 1;
            continue;
        }
        for letter in &letters[at..end] {
            out.push(if *letter == '\n' { '\n' } else { ' ' });
        }
        at = end;
    }
    out
}

fn follows_name(letters: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|at| letters[at]);
    before.is_some_and(|letter| (letter.is_alphanumeric() && letter != 'b') || letter == '_')
}

fn line_end(letters: &[char], at: usize) -> usize {
    let length = letters[at..].iter().position(|letter| *letter == '\n');
    length.map_or(letters.len(), |length| at + length)
}

fn comment_end(letters: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < letters.len() {
        match (letters[here], letters[here + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                here += 1;
                continue;
            }
        }
        here += 2;
        if depth == 0 {
            return here;
        }
    }
    letters.len()
}

fn string_end(letters: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < letters.len() {
        match letters[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    letters.len()
}

/// The end of `r"…"` or `r#"…"#`; `at` itself when it is neither.
fn raw_string_end(letters: &[char], at: usize) -> usize {
    let hashes = letters[at + 1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    let open = at + 1 + hashes;
    if letters.get(open) != Some(&'"') {
        return at;
    }
    let mut here = open + 1;
    while here < letters.len() {
        let closes = letters[here] == '"'
            && letters[here + 1..]
                .iter()
                .take(hashes)
                .filter(|letter| **letter == '#')
                .count()
                == hashes;
        if closes {
            return here + 1 + hashes;
        }
        here += 1;
    }
    letters.len()
}

/// The end of a character literal; `at` itself for a lifetime.
fn letter_end(letters: &[char], at: usize) -> usize {
    match (letters.get(at + 1), letters.get(at + 2)) {
        (Some('\\'), _) => {
            let close = letters[at + 3..].iter().position(|letter| *letter == '\'');
            close.map_or(letters.len(), |length| at + 3 + length + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Each rule finds what it is for: shown on small pieces of bad code.
#[test]
fn the_rules_can_fail() {
    let source = |module: &str, code: &str| Source {
        path: format!("src/{module}.rs"),
        module: module.to_owned(),
        text: code.to_owned(),
        code: blanked(code)[..tests_begin(&blanked(code))].to_owned(),
    };
    let arrows = |module, code| {
        let mut findings = Findings::new();
        check_arrows(&source(module, code), &mut findings);
        findings.len()
    };
    assert_eq!(arrows("tail", "use crate::ship::Batch;"), 1);
    assert_eq!(arrows("tail", "use crate::{event::Now, ship, os};"), 2);
    assert_eq!(arrows("tail", "fn f() { crate::agent::run() }"), 1);
    assert_eq!(arrows("tail", "// crate::agent\nuse crate::event::Now;"), 0);
    assert_eq!(
        arrows("tail", "#[cfg(test)]\nmod tests { use crate::ship; }"),
        0
    );
    assert_eq!(arrows("nobody", ""), 1);
    let calls = |module, code| {
        let mut findings = Findings::new();
        check_calls(&source(module, code), &mut findings);
        findings.len()
    };
    assert_eq!(calls("ship", "use std::fs;\nlet a = Instant::now();"), 2);
    assert_eq!(calls("os", "use std::fs;\nlet a = Instant::now();"), 0);
    assert_eq!(calls("os", "a.unwrap(); // b.unwrap()\n#[allow(x)]"), 2);
    assert_eq!(
        calls("ship", "let a = fastrand::u64(..); let s = \"dbg!\";"),
        1
    );
    assert_eq!(calls("ship", "use std::fsx; let c = '\"'; todo!()"), 1);
    let code = "fn a(x: [u8; 2]) {\n  if x {\n  }\n}\ntrait T {\n  fn b(&self);\n}\nfn c() {}\n";
    let lengths = function_lengths(code);
    assert_eq!(lengths, [("a".to_owned(), 1, 4), ("c".to_owned(), 8, 1)]);
}

/// An exception that is not needed, or too generous, fails; a needed and exact one does not.
#[test]
fn exceptions_only_shrink() {
    let lengths = BTreeMap::from([("a".to_owned(), (70, 1)), ("b".to_owned(), (50, 1))]);
    let check = |exceptions: &[(&str, usize)]| {
        let mut findings = Findings::new();
        ratchet("function", &lengths, 60, exceptions, &mut findings);
        findings.len()
    };
    assert_eq!(check(&[]), 1);
    assert_eq!(check(&[("a", 70)]), 0);
    assert_eq!(check(&[("a", 80)]), 1);
    assert_eq!(check(&[("a", 70), ("b", 60)]), 1);
    assert_eq!(check(&[("a", 70), ("gone", 90)]), 1);
}
