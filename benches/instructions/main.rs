//! What the work on a line costs, in instructions: counted by valgrind's callgrind, so that a busy
//! machine does not blur it, and held against a stored baseline.
//!
//! ```text
//! cargo bench                      count, compare with baseline.tsv, fail above +5 %
//! cargo bench -- drain             only workloads whose name contains this
//! cargo bench -- --save            count and write baseline.tsv
//! cargo bench -- --times 10        count ten times and say how far apart the counts lie
//! cargo bench -- --profile NAME    count once and keep callgrind's file, for callgrind_annotate
//! ```
//!
//! Needs valgrind. Each workload runs in a process of its own (this program, `--run NAME`); only
//! what happens inside [`measured`] is counted, so preparing is free. Counts depend on the compiler
//! and its version: with another one than the baseline's they are shown and not compared. A new one
//! wants a new baseline, saved in a commit of its own.

mod baseline;
mod callgrind;
mod drain;
#[path = "../../tests/support/muted.rs"]
mod muted;
#[path = "../../tests/support/nobody.rs"]
mod nobody;
#[path = "../../tests/support/oblivion.rs"]
mod oblivion;
mod parts;
mod text;

use std::process::ExitCode;

use baseline::Baseline;

/// One thing that is counted.
struct Workload {
    /// What it is called in the baseline.
    name: &'static str,
    /// What one unit is: the count is divided by the number of them.
    unit: &'static str,
    /// Prepares, then does the work inside [`measured`], and says how many units that were.
    run: fn() -> u64,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "drain/plain",
        unit: "line",
        run: drain::plain,
    },
    Workload {
        name: "drain/agent-log",
        unit: "line",
        run: drain::agent_log,
    },
    Workload {
        name: "drain/deployments-log",
        unit: "line",
        run: drain::deployments_log,
    },
    Workload {
        name: "drain/scripts-logs",
        unit: "line",
        run: drain::scripts_logs,
    },
    Workload {
        name: "drain/backlogs",
        unit: "line",
        run: drain::backlogs,
    },
    Workload {
        name: "idle/minute",
        unit: "file",
        run: drain::idle_minute,
    },
    Workload {
        name: "parse/plain",
        unit: "line",
        run: parts::parse_plain,
    },
    Workload {
        name: "parse/agent-log",
        unit: "line",
        run: parts::parse_agent_log,
    },
    Workload {
        name: "redact/innocent",
        unit: "line",
        run: parts::redact_innocent,
    },
    Workload {
        name: "redact/secrets",
        unit: "line",
        run: parts::redact_secrets,
    },
    Workload {
        name: "timestamp/auto",
        unit: "line",
        run: parts::timestamp_auto,
    },
    Workload {
        name: "encode/plain",
        unit: "line",
        run: parts::encode_plain,
    },
    Workload {
        name: "encode/escapes",
        unit: "line",
        run: parts::encode_escapes,
    },
];

/// Does the work that is counted. Callgrind switches on at this name and off at its end, so there
/// is one function of this name and it is never inlined.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut wanted = Vec::new();
    let mut save = false;
    let mut times = 1;
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--run" => return run(&arguments.next().unwrap_or_default()),
            "--profile" => return profile(&arguments.next().unwrap_or_default()),
            "--save" => save = true,
            "--times" => {
                times = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(1)
                    .max(1);
            }
            _ => wanted.push(word),
        }
    }
    let chosen = WORKLOADS.iter().filter(|workload| {
        wanted.is_empty() || wanted.iter().any(|word| workload.name.contains(word))
    });
    let mut baseline = match Baseline::load() {
        Ok(baseline) => baseline,
        Err(error) => return fail(&error),
    };
    let mut worse = Vec::new();
    for workload in chosen {
        let counts: Result<Vec<f64>, String> = (0..times)
            .map(|_| callgrind::count(workload.name))
            .collect();
        let mut counts = match counts {
            Ok(counts) => counts,
            Err(error) => return fail(&error),
        };
        counts.sort_by(f64::total_cmp);
        let (least, most) = (counts[0], counts[counts.len() - 1]);
        let verdict = baseline.judge(workload.name, least);
        let spread = match times {
            1 => String::new(),
            _ => format!("  spread {:.2} %", (most / least - 1.0) * 100.0),
        };
        println!(
            "{:<24} {least:>10.1} instructions/{}{spread}  {verdict}",
            workload.name, workload.unit
        );
        if verdict.is_worse() && !save {
            worse.push(workload.name);
        }
        baseline.note(workload.name, least);
    }
    if save {
        return match baseline.save() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        };
    }
    match baseline.foreign() {
        Err(error) => return fail(&error),
        Ok(Some(other)) => {
            println!("SKIPPED comparing the instructions: the baseline is of {other}");
            return ExitCode::SUCCESS;
        }
        Ok(None) if worse.is_empty() => return ExitCode::SUCCESS,
        Ok(None) => {}
    }
    fail(&format!(
        "more than {} % above the baseline: {}",
        baseline::ABOVE_MAX * 100.0,
        worse.join(", ")
    ))
}

/// The inner process: one workload, its units on standard output.
fn run(name: &str) -> ExitCode {
    match WORKLOADS.iter().find(|workload| workload.name == name) {
        Some(workload) => {
            println!("{}", (workload.run)());
            ExitCode::SUCCESS
        }
        None => fail(&format!("no workload is called {name}")),
    }
}

fn profile(name: &str) -> ExitCode {
    match callgrind::profile(name) {
        Ok(path) => {
            println!("callgrind_annotate --auto=no {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("instructions: {why}");
    ExitCode::FAILURE
}
