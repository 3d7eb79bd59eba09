//! Secrets that try every way out.

#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use deploywatch::cli::status::render;
use deploywatch::cli::terminal::Colour;

use crate::machine::Machine;

/// What was planted in the logs of the corpus, and here.
const PLANTED: [&str; 6] = [
    "hunter2",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI",
    "eyJhbGciOiJIUzI1NiJ9",
    "q7ZpX9vK2mB4nT6w",
    "MIIEpAIBAAKCAQEA0123456789",
];

/// A line of a private key, of which each has another number.
fn key_line(nth: usize) -> String {
    format!("MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz+/ABCDEFGH{nth:02}")
}

/// A private key that is printed line by line goes, also when the agent is restarted between any two of
/// its lines and remembers nothing: shown with a restart at each of them.
#[test]
fn a_key_is_a_key_over_a_restart() {
    let mut lines = vec!["-----BEGIN RSA PRIVATE KEY-----".to_owned()];
    lines.extend((0..12).map(key_line));
    lines.push("-----END RSA PRIVATE KEY-----".to_owned());
    for cut in 1..lines.len() {
        let machine = Machine::new();
        let config = machine.source("*.log", "");
        let path = machine.path("logs/a.log");
        let mut file = fs::File::create(&path).unwrap();
        writeln!(file, "before\n{}", lines[..cut].join("\n")).unwrap();
        machine.drain(&config).unwrap();
        writeln!(file, "{}\nafter", lines[cut..].join("\n")).unwrap();
        machine.drain(&config).unwrap();
        let messages = machine.messages();
        assert!(messages.contains(&"before".to_owned()) && messages.contains(&"after".to_owned()));
        assert_eq!(messages.len(), lines.len() + 2, "cut at {cut}");
        let is_leak = |message: &String| message.contains("MIIEpA");
        assert!(!messages.iter().any(is_leak), "cut at {cut}: {messages:?}");
    }
}

/// The bytes of every file below a directory, with its path.
fn contents(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => contents(&path, into),
            false => into.push((
                path.display().to_string(),
                fs::read(&path).unwrap_or_default(),
            )),
        }
    }
}

/// No planted secret is in anything the agent writes: events, metrics and their dimensions, incidents,
/// state, its own log at its most talkative, `check`, `status` for people and machines. Shown by the real binary over real logs of both
/// CodeDeploy agents and a log of ours, and by looking through every byte it left.
#[test]
fn no_secret_leaves_by_any_door() {
    let machine = Machine::new();
    let agent = machine.path("agent");
    fs::create_dir(&agent).unwrap();
    fs::write(
        agent.join("codedeploy-agent.log"),
        concat!(
            include_str!("../corpus/redact/agent-1.x.log"),
            include_str!("../corpus/redact/agent-2.x.log")
        ),
    )
    .unwrap();
    let scripts = machine.path("root/9fb43944-176a-43f3-8093-3a53bc771e35/d-SECRET001/logs");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(
        scripts.join("scripts.log"),
        include_str!("../corpus/redact/scripts-1.x.log"),
    )
    .unwrap();
    let yaml = format!(
        ":log_dir: '{}'\n:root_dir: '{}'\n:program_name: codedeploy-agent\n",
        agent.display(),
        machine.path("root").display()
    );
    let yaml_path = machine.path("codedeployagent.yml");
    fs::write(&yaml_path, yaml).unwrap();
    let long = "x".repeat(1_100_000);
    let now = "2026-11-21T02:00:00Z";
    let app = format!(
        "{now} login user=bob password=q7ZpX9vK2mB4nT6w\n{now} {long} token=q7ZpX9vK2mB4nT6w {long}\n\
         {now} {{\"key\":\"-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n\"}}\n",
        key_line(1)
    );
    fs::write(machine.path("logs/app.log"), app).unwrap();
    let source = machine.source("*.log", "").replace(
        "enabled = false",
        &format!("config_file = \"{}\"", yaml_path.display()),
    );
    let config = format!(
        "[agent]\nstate_dir = \"{}\"\nlog_level = \"trace\"\n[logs]\nsink = \"directory\"\ndirectory = \"{}\"\n\
         [events]\nenabled = true\n{source}\
         [[metric]]\nname = \"Logins\"\nsource = \"app\"\npattern = 'password=(?<Who>\\S+)'\ndimensions = [[\"Who\"]]\n",
        machine.path("state").display(),
        machine.path("out").display(),
    );
    let file = machine.path("a.toml");
    fs::write(&file, &config).unwrap();
    let mut left = Vec::new();
    for args in [
        &["run", "--once"] as &[&str],
        &["check"],
        &["run", "--once"],
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_deploywatch"))
            .args(args)
            .arg("--config")
            .arg(&file)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("XDG_RUNTIME_DIR", machine.path("state"))
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(0), "{args:?}: {log}");
        left.push((format!("{args:?} said"), [ran.stdout, ran.stderr].concat()));
    }
    // Deployments, their failures and last output are told from the state, too.
    let status = machine.drain(&config).unwrap();
    assert!(!status.deployments.deployments.is_empty());
    let redacted = |source: &str| &status.sources[source].redacted;
    assert!(!redacted("app").is_empty() && !redacted("agent").is_empty());
    for text in [
        serde_json::to_string(&status).unwrap(),
        render(&status, 200, Colour::Off),
    ] {
        left.push(("status".to_owned(), text.into_bytes()));
    }
    contents(&machine.path("out"), &mut left);
    contents(&machine.path("state"), &mut left);
    let events = machine.arrived();
    assert!(events.len() > 20, "{events:?}");
    let goes = |(_, text): &(String, String)| text.contains("[redacted:password]");
    assert!(events.iter().any(goes));
    for (place, bytes) in &left {
        for secret in PLANTED {
            let found = memchr::memmem::find(bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
}
