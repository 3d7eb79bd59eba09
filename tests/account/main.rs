//! The account's side: the CloudFormation template and the function that posts to Slack.
//!
//! cfn-lint holds the template against CloudFormation's own schemas, without a network. What it
//! does not see is tested in Python beside it, where the template can be worked out for any choice
//! of parameters (`template_test.py`), and its patterns held against events by the matcher of
//! moto's EventBridge (`patterns_test.py`), which also delivers by them (`delivery_test.py`). The Slack function is tested with nothing but Python.
//!
//! Where Python or its packages cannot be had, the tests say SKIPPED and pass, unless `CI=true` or
//! `DEPLOYWATCH_ACCOUNT=required`: then they fail.
//!
//! `localstack/run` shows more, in an emulator that is too heavy for `cargo test`: that the stack is
//! made, that events come out of its targets, that alarms go off. Shown nowhere, since only AWS can:
//! that e-mail arrives, that Lambda runs the function, that CloudTrail delivers into the bucket.

#![expect(clippy::unwrap_used, reason = "this is a test")]

#[path = "../support/python.rs"]
mod pinned;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of this test's Python parts.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/account"))
}

/// The template.
fn template() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/packaging/cloudformation/deploywatch.yaml"
    ))
}

/// The interpreter with the packages, which are installed by the first who asks.
fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| pinned::interpreter("account", folder(), "DEPLOYWATCH_ACCOUNT"))
        .clone()
}

/// Runs a command without a way to AWS and returns what it said.
fn succeeds(command: &mut Command) -> String {
    let output = command
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Nobody's account.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// A unittest file passes, and ran at least so many tests.
fn passes(python: &Path, file: &str, tests_min: usize) {
    passes_with(Command::new(python).arg(folder().join(file)), tests_min);
}

fn passes_with(command: &mut Command, tests_min: usize) {
    let said = succeeds(command);
    let ran = said
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok());
    assert!(ran >= Some(tests_min), "only {ran:?} tests ran:\n{said}");
}

#[test]
fn cfn_lint_finds_nothing() {
    // The template keeps to CloudFormation's schemas: shown by cfn-lint, which must say nothing
    // about it, and something about one with a mistake.
    let Some(python) = python() else {
        return;
    };
    let lint = python.parent().unwrap().join("cfn-lint");
    let said = succeeds(Command::new(&lint).arg(template()));
    assert_eq!(said, "");
    let text = std::fs::read_to_string(template()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml");
    std::fs::write(&broken, text.replace("      IsLogging: true\n", "")).unwrap();
    let output = Command::new(&lint).arg(&broken).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn the_template_is_right_where_cfn_lint_does_not_look() {
    // References under every choice of parameters, privileges, actions, targets, the dashboard:
    // each test in the file says its own.
    if let Some(python) = python() {
        passes(&python, "template_test.py", 21);
    }
}

#[test]
fn the_instances_policy_is_what_iam_policy_prints() {
    // The template and the command must ask for the same: shown for a configuration with events,
    // in two partitions.
    let Some(python) = python() else {
        return;
    };
    let folder_of_test = tempfile::tempdir().unwrap();
    let config = folder_of_test.path().join("deploywatch.toml");
    std::fs::write(&config, "[events]\nenabled = true\nbus = \"ops\"\n").unwrap();
    let printed = |region: &str| -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_deploywatch"))
            .args([
                "iam-policy",
                "--region",
                region,
                "--account",
                "111122223333",
            ])
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let policies = ["eu-west-1", "cn-north-1"].map(|region| (region, printed(region)));
    let file = folder_of_test.path().join("policies.json");
    let text = serde_json::to_string(&BTreeMap::from(policies)).unwrap();
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(python);
    command.arg(folder().join("policy_test.py"));
    passes_with(command.env("POLICIES", &file), 1);
}

#[test]
fn each_event_matches_exactly_its_rules() {
    // Events of every level and state of the three services match the rules they should and no
    // others: each test in the file says its own.
    if let Some(python) = python() {
        passes(&python, "patterns_test.py", 5);
    }
}

#[test]
fn events_come_out_of_the_queue_and_stand_in_the_history() {
    // The template's own rules and targets, in moto's EventBridge, deliver what they should: the
    // test in the file says how.
    if let Some(python) = python() {
        passes(&python, "delivery_test.py", 1);
    }
}

#[test]
fn the_slack_function_posts_what_happened() {
    // The function's behaviour against a webhook on loopback: each test in the file says its own.
    // It needs no package, so any Python will do.
    if python().is_some() {
        passes(Path::new("python3"), "slack_test.py", 6);
    }
}
