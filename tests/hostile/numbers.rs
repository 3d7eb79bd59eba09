//! Numbers in the state that no clock and no file comes near.

#![cfg(test)]

use std::fs;

use crate::machine::Machine;
use crate::state::with_sum;

/// As large as numbers can be, and as large as they are believed: what is calculated with them must
/// not overflow.
const EDGES: [i64; 6] = [
    i64::MAX,
    i64::MIN,
    1 << 60,
    (1 << 60) - 1,
    -(1 << 60),
    -(1 << 60) + 1,
];

/// A day of deployments, as far as the checkpoint remembers it: of both generations, one failed, one
/// running.
const AGENT_LOG: [&str; 3] = [
    include_str!("../fuzz/corpus/v1/deployment"),
    include_str!("../fuzz/corpus/v1/failed"),
    include_str!("../fuzz/corpus/v2/failing"),
];

/// The machine with a CodeDeploy agent's log on it, and its configuration.
fn deployed() -> (Machine, String) {
    let machine = Machine::new();
    let agent = machine.path("agent");
    fs::create_dir_all(machine.path("root")).unwrap();
    fs::create_dir_all(&agent).unwrap();
    let heads = [
        "2026-11-18T21:13:20 INFO  [codedeploy-agent(28677)]: ",
        "2026-11-18T21:13:21 INFO  [codedeploy-agent(28677)]: ",
        "2026-11-18 21:13:22  INFO ",
    ];
    let mut log = String::new();
    for (text, head) in AGENT_LOG.iter().zip(heads) {
        for message in text.lines().filter_map(|line| line.strip_prefix('m')) {
            log.push_str(&format!("{head}{message}\n"));
        }
    }
    fs::write(agent.join("codedeploy-agent.log"), log).unwrap();
    let yaml = format!(
        ":log_dir: '{}'\n:root_dir: '{}'\n:program_name: codedeploy-agent\n",
        agent.display(),
        machine.path("root").display()
    );
    fs::write(machine.path("codedeployagent.yml"), yaml).unwrap();
    fs::write(machine.path("logs/a.log"), "one\ntwo\n").unwrap();
    let source = machine.source("*.log", "");
    let source = source.replace(
        "enabled = false",
        &format!(
            "config_file = \"{}\"",
            machine.path("codedeployagent.yml").display()
        ),
    );
    let config = format!(
        "{source}[events]\nenabled = true\n[[metric]]\nname = \"Lines\"\nsource = \"app\"\npattern = '(?<value>\\w)'\n"
    );
    (machine, config)
}

/// Where each whole number of a JSON text stands.
fn numbers(json: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut in_text = false;
    let mut start = None;
    let bytes = json.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if bytes[at - 1] != b'\\' => in_text = !in_text,
            b'0'..=b'9' | b'-' | b'.' | b'e' if !in_text => {
                start.get_or_insert(at);
                continue;
            }
            _ => {}
        }
        if let Some(start) = start.take()
            && json[start..at].parse::<i128>().is_ok()
        {
            found.push(start..at);
        }
    }
    found
}

/// Whatever number in the checkpoint is as large as it can be, with a checksum that is right: the
/// agent starts, goes on, and what is written later arrives. Shown with each number of a checkpoint
/// that knows files, deployments, metrics and events, each time with another of the edges.
#[test]
fn no_number_of_the_checkpoint_crashes() {
    let (machine, config) = deployed();
    machine.drain(&config).unwrap();
    let place = machine.path("state/checkpoints");
    let content = fs::read_to_string(&place).unwrap();
    let (head, body) = content.split_once('\n').unwrap();
    let head: serde_json::Value = serde_json::from_str(head).unwrap();
    for kept in ["d-OK0000001", "\"open_ms\"", "a.log", "\"events\""] {
        assert!(body.contains(kept), "{kept} is in {body}");
    }
    let numbers = numbers(body);
    assert!(numbers.len() > 100, "{} numbers", numbers.len());
    for (nth, range) in numbers.into_iter().enumerate() {
        let edge = EDGES[nth % EDGES.len()];
        let hostile = format!("{}{edge}{}", &body[..range.start], &body[range.end..]);
        let around = &body[range.start.saturating_sub(60)..range.end];
        fs::write(&place, with_sum(&head, &hostile).unwrap()).unwrap();
        let _gone = fs::remove_file(machine.path("state/checkpoints.recent"));
        let _gone = fs::remove_dir_all(machine.path("out"));
        let line = format!("line {nth}");
        fs::write(machine.path("logs/a.log"), format!("one\ntwo\n{line}\n")).unwrap();
        println!("{edge} in {around}");
        machine.drain(&config).unwrap();
        assert!(machine.messages().contains(&line), "{edge} in {around}");
    }
}
