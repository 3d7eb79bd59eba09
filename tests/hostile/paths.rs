//! Names and things that an application can put where logs are looked for.

#![cfg(test)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use deploywatch::cli::status::render;
use deploywatch::cli::terminal::Colour;

use crate::machine::Machine;

/// Names that a terminal, a journal, a service or a template could take for something else.
fn names() -> Vec<OsString> {
    let mut names: Vec<OsString> = [
        "new\nline.log",
        "<3>journal\n<0>priority.log",
        "\x1b[2J\x1b]0;title\x07.log",
        "tab\tback\x08\r.log",
        "\u{202e}gol.live.log",
        "..log.log",
        "...log",
        "{deployment_id}.log",
        "{instance_id|x}.log",
        "a:b*c.log",
        "%s%n.log",
        "aws\\.log",
        "$(reboot).log",
        "'\"`;.log",
        "-rf.log",
        " .log",
        "ünï✓.log",
    ]
    .map(OsString::from)
    .into();
    names.push(OsStr::from_bytes(b"\xff\xfe\x80.log").to_owned());
    names.push(OsStr::from_bytes(&[b'y'; 251]).to_owned());
    names.last_mut().unwrap().push(".log");
    let raw = [b"\xc3".as_slice(), &[b'z'; 250], b".log"].concat();
    names.push(OsStr::from_bytes(&raw).to_owned());
    names
}

/// Each file's line arrives whatever its name, in a stream whose name is legal, has the template's
/// levels and no more, and nothing that is shown to people can move their terminal: shown with one
/// file of every bad name.
#[test]
fn hostile_names_are_harmless_everywhere() {
    let machine = Machine::new();
    for (nth, name) in names().iter().enumerate() {
        fs::write(machine.path("logs").join(name), format!("line {nth:02}\n")).unwrap();
    }
    let config = machine.source("*.log", "stream = \"x/{file_name}/{deployment_id|none}\"");
    let status = machine.drain(&config).unwrap();
    let want: Vec<String> = (0..names().len())
        .map(|nth| format!("line {nth:02}"))
        .collect();
    assert_eq!(machine.messages(), want);
    for (stream, _) in machine.arrived() {
        assert!(
            stream.len() <= 512 && !stream.contains([':', '*']),
            "{stream:?}"
        );
        assert!(!stream.contains(char::is_control), "{stream:?}");
        assert_eq!(stream.matches('/').count(), 2, "{stream:?}");
        assert!(
            stream.starts_with("x/") && stream.ends_with("/none"),
            "{stream:?}"
        );
        let middle = stream.split('/').nth(1).unwrap();
        assert!(!middle.chars().all(|c| c == '.'), "{stream:?}");
    }
    let shown = render(&status, 120, Colour::Off);
    let is_bad = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!shown.contains(is_bad), "{shown}");
    assert!(!shown.contains("\n<0>"), "{shown}");
    let json = serde_json::to_string(&status).unwrap();
    assert!(!json.contains(char::is_control));
}

/// A path nearly as long as the system allows is read and named like any other: shown at 4,000
/// bytes.
#[test]
fn the_longest_path_is_read() {
    let machine = Machine::new();
    let mut path = machine.path("logs");
    let part = "d".repeat(240);
    while path.as_os_str().len() + part.len() + 12 < 4_000 {
        path.push(&part);
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("deep.log"), "far down\n").unwrap();
    let status = machine.drain(&machine.source("**/*.log", "")).unwrap();
    assert_eq!(machine.messages(), ["far down"]);
    assert_eq!(status.problems, Vec::<String>::new());
    let shown = render(&status, 80, Colour::Off);
    assert!(
        shown.lines().all(|line| line.chars().count() <= 120),
        "{shown}"
    );
}

/// Among links, FIFOs, sockets, devices and planted hard links only real files below the root are
/// read; what is refused is said with its remedy, and nothing hangs.
#[test]
fn only_real_files_are_read() {
    let machine = Machine::new();
    let logs = machine.path("logs");
    let secret = machine.path("secret");
    fs::write(&secret, "shadow\n").unwrap();
    fs::create_dir(logs.join("sub")).unwrap();
    fs::write(logs.join("good.log"), "good\n").unwrap();
    fs::write(logs.join("sub/inner.log"), "inner\n").unwrap();
    symlink(&secret, logs.join("link-out.log")).unwrap();
    symlink("../secret", logs.join("link-relative.log")).unwrap();
    symlink("/proc/self/environ", logs.join("environ.log")).unwrap();
    symlink("/dev/zero", logs.join("zero.log")).unwrap();
    symlink(machine.path("logs"), logs.join("sub/up")).unwrap();
    symlink("loop.log", logs.join("loop.log")).unwrap();
    symlink("/", logs.join("sub/root")).unwrap();
    let fifo = Command::new("mkfifo").arg(logs.join("fifo.log")).status();
    assert!(fifo.unwrap().success());
    let _socket = UnixListener::bind(logs.join("socket.log")).unwrap();
    fs::hard_link(&secret, logs.join("planted.log")).unwrap();
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o777)).unwrap();

    let config = machine.source("**/*.log", "");
    let status = machine.drain(&config).unwrap();
    assert_eq!(machine.messages(), ["good", "inner"]);
    let said = status.problems.join("\n");
    assert!(said.contains("planted.log cannot be read"), "{said}");
    assert!(said.contains("hard_links = \"allow\""), "{said}");
    assert_eq!(status.problems.len(), 1, "a link up was followed: {said}");
}

/// The binary's own log, which a journal reads line by line, keeps one event to one line whatever
/// the files are called; and a run ends well: shown by the real binary over files of bad names.
#[test]
fn the_own_log_cannot_be_forged() {
    let machine = Machine::new();
    for name in names() {
        fs::write(machine.path("logs").join(name), "x\n").unwrap();
    }
    fs::write(machine.path("logs").join("a\n<0>forged.log"), "x\n").unwrap();
    let config = format!(
        "[agent]\nstate_dir = \"{}\"\nlog_level = \"debug\"\n[logs]\nsink = \"directory\"\ndirectory = \"{}\"\n{}",
        machine.path("state").display(),
        machine.path("out").display(),
        machine.source("*.log", "")
    );
    let file = machine.path("a.toml");
    fs::write(&file, config).unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_deploywatch"))
            .args(args)
            .arg("--config")
            .arg(&file)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("XDG_RUNTIME_DIR", machine.path("state"))
            .output()
            .unwrap()
    };
    let ran = run(&["run", "--once"]);
    let log = String::from_utf8(ran.stderr).expect("a log is text");
    assert_eq!(ran.status.code(), Some(0), "{log}");
    assert!(
        !log.contains(|c: char| c.is_control() && c != '\n'),
        "{log:?}"
    );
    for line in log.lines() {
        assert!(line.starts_with("20") && line.contains("Z "), "{line:?}");
    }
    let checked = run(&["check"]);
    let text = String::from_utf8(checked.stdout).expect("text");
    assert_eq!(checked.status.code(), Some(0), "{text}");
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&machine.path("state")), 0o700);
    for entry in fs::read_dir(machine.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let allowed = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path) & !allowed, 0, "{path:?}");
    }
}
