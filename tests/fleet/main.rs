//! A fleet that shares one account's quotas, in simulated time: many agents' real batches, pace and
//! backoff against one throttling service, through a deployment that fails everywhere at once and
//! through the end of an hour's outage.
//!
//! ```text
//! cargo test --test fleet                                             200 agents, quotas to scale
//! FLEET_AGENTS=10000 cargo test --release --test fleet -- --nocapture the account's real quotas
//! ```
//!
//! The quotas go with the number of agents, so that each agent's share stays that of one in ten
//! thousand. Same seed, same run.

mod account;
mod agent;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use account::Account;
use agent::{Agent, Lines};
use deploywatch::event::Now;

/// The fleet whose shares of the quotas are simulated.
const FLEET: u64 = 10_000;

/// A run that takes longer than this, in simulated time, has collapsed.
const PATIENCE_MS: u64 = 4 * 3_600_000;

/// What a run came to.
#[derive(Debug)]
struct Outcome {
    /// When the last line of the first, the median and the last agent had its answer.
    done_ms: [u64; 3],
    puts: u64,
    throttled: u64,
    failed: u64,
    creates: u64,
}

fn agents() -> u64 {
    let wanted = std::env::var("FLEET_AGENTS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Lets the fleet work until every line has its answer.
fn run(name: &str, account: &mut Account, lines_of: impl Fn(u64) -> Vec<Lines>) -> Outcome {
    let mut agents: Vec<Agent> = (0..agents())
        .map(|nth| Agent::new(nth, lines_of(nth)))
        .collect();
    let mut wakes: BinaryHeap<Reverse<(u64, usize)>> =
        (0..agents.len()).map(|nth| Reverse((0, nth))).collect();
    let mut done = Vec::with_capacity(agents.len());
    while let Some(Reverse((at_ms, nth))) = wakes.pop() {
        assert!(at_ms < PATIENCE_MS, "{name}: agent {nth} is not done");
        let now = Now {
            mono_ms: at_ms,
            wall_ms: agent::START_MS.saturating_add_unsigned(at_ms),
        };
        match agents[nth].step(account, now) {
            Some(next_ms) => wakes.push(Reverse((next_ms.max(at_ms + 1), nth))),
            None => done.push(at_ms),
        }
    }
    for agent in &agents {
        agent.assert_all_delivered_once();
    }
    let outcome = Outcome {
        done_ms: [done[0], done[done.len() / 2], done[done.len() - 1]],
        puts: account.puts,
        throttled: account.throttled,
        failed: account.failed,
        creates: account.creates,
    };
    println!("{name}, {} agents: {outcome:?}", agents.len());
    outcome
}

/// A hook that fails on all instances in the same second and prints much neither loses a line nor
/// makes the fleet collapse: shown with a new stream for each instance, of which the account may
/// create 50 a second; all is there in little more than the time these take, with few calls more
/// than the least.
#[test]
fn a_deployment_that_fails_everywhere() {
    let mut account = Account::new(agents(), FLEET);
    let outcome = run("a failing deployment", &mut account, |_| {
        let burst = Lines {
            stream: "scripts",
            exists: false,
            from_ms: 10_000,
            count: 3_000,
            each_ms: 1,
        };
        let record = Lines {
            stream: "deployments",
            exists: true,
            from_ms: 10_000,
            count: 100,
            each_ms: 100,
        };
        vec![burst, record]
    });
    // 10,000 streams at 50 a second.
    let least_ms = FLEET * 1_000 / account::CREATES_PER_S;
    let [_, median_ms, last_ms] = outcome.done_ms;
    assert!(last_ms < 10_000 + least_ms * 2, "{outcome:?}");
    assert!(last_ms < median_ms * 4, "somebody starved: {outcome:?}");
    assert!(outcome.puts < agents() * 40, "{outcome:?}");
    assert!(outcome.creates < agents() * 40, "{outcome:?}");
}

/// After an hour without the service the fleet comes back without a stampede: shown by lines that
/// were written through the outage, all there within half a minute after it, failed calls few beside
/// the hour, and hardly any call too many when it ends.
#[test]
fn the_end_of_an_hours_outage() {
    let end_ms = 3_660_000;
    let mut account = Account::new(agents(), FLEET);
    account.outage_ms = 60_000..end_ms;
    let outcome = run("an hour's outage", &mut account, |nth| {
        vec![Lines {
            stream: "app",
            exists: true,
            from_ms: nth * 7 % 1_000,
            count: 360,
            each_ms: 10_000,
        }]
    });
    let [_, _, last_ms] = outcome.done_ms;
    println!("caught up {} ms after its end", last_ms - end_ms);
    assert!(last_ms < end_ms + 30_000, "{outcome:?}");
    // A try every 7.5 s on the average, at the worst.
    assert!(outcome.failed < agents() * 3_600 / 5, "{outcome:?}");
    assert!(outcome.throttled < outcome.puts, "{outcome:?}");
}
