//! The packages on a booted machine: install, crash, cut, fill, upgrade, remove, with systemd as
//! process 1, under load, and every line that was on the disk must arrive.
//!
//! tests/vm/run starts this. It needs a network namespace of its own (so nothing here reaches any
//! network), in which it listens under the service's own name and at the address of the instance
//! metadata service: the agent in the guest runs with the configuration of the package, unchanged.
//! The same program, inside the guest, plays the CodeDeploy agent and looks at the disk.
//!
//! Without `DEPLOYWATCH_VM=1`, as in a plain `cargo test`, it only says how it is run.

#![expect(clippy::unwrap_used, reason = "this is a test")]

mod codedeploy;
mod deb;
mod guest;
mod inspect;
mod ledger;
mod power;
mod rpm;
mod stage;
#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the end-to-end tests, which use all of it"
)]
#[path = "../support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use guest::Parts;
use power::Power;

/// A scenario: a story of one machine, told by assertions.
type Scenario = (&'static str, fn(&Parts));

const SCENARIOS: &[Scenario] = &[
    ("deb", deb::tell),
    ("rpm", rpm::tell),
    ("short", deb::tell_shortly),
];
/// What is told unless others are named.
const TOLD: &[&str] = &["deb", "rpm"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["codedeploy", run, revisions, test] => {
            codedeploy::play(run, revisions.parse().unwrap(), test);
        }
        ["inspect"] => inspect::run(),
        ["newer"] => inspect::make_newer(),
        _ if std::env::var_os("DEPLOYWATCH_VM").is_none() => {
            println!("the tests on a booted machine are run by tests/vm/run");
        }
        wanted => return run(wanted),
    }
    ExitCode::SUCCESS
}

/// Runs the scenarios named.
fn run(wanted: &[&str]) -> ExitCode {
    let path = |name: &str| PathBuf::from(std::env::var_os(name).expect(name));
    let tools = path("DEPLOYWATCH_VM_TOOLS");
    let parts = Parts {
        power: match std::env::var_os("DEPLOYWATCH_VM_EMULATED") {
            Some(_) => Power::Emulated(tools),
            None => Power::UserMode(tools),
        },
        base: path("DEPLOYWATCH_VM_BASE"),
        payload: path("DEPLOYWATCH_VM_PAYLOAD"),
        scratch: path("DEPLOYWATCH_VM_SCRATCH"),
    };
    let tools = parts.power.tools();
    for made in [tools, &parts.base, &parts.payload, &parts.scratch] {
        guest::require(made);
    }
    let wanted = if wanted.is_empty() { TOLD } else { wanted };
    for name in wanted {
        let is_known = SCENARIOS.iter().any(|(known, _)| known == name);
        assert!(is_known, "there is no story {name:?}");
    }
    stage::make_network();
    let (mut passed, mut failed) = (0, 0);
    for (name, tell) in SCENARIOS {
        if !wanted.contains(name) {
            continue;
        }
        println!("vm::{name} ...");
        let began = Instant::now();
        let told = catch_unwind(AssertUnwindSafe(|| tell(&parts)));
        let word = if told.is_ok() { "ok" } else { "FAILED" };
        println!("test vm::{name} ... {word} ({:.0?})", began.elapsed());
        match told {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}
