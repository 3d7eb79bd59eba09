//! Metrics against the simulated service: the real `Metrics`, a virtual clock, a service with
//! outages, throttling, timeouts and lost answers, and kills in between.

use std::collections::BTreeMap;

use deploywatch::config::metric::BuiltinMetric;
use deploywatch::config::{Config, Identity};
use deploywatch::metrics::{Metrics, OpenBorder};
use deploywatch::ports::{Datum, Numbers};

use super::world::clock::Clock;
use super::world::fuse::Fuse;
use super::world::metrics::{MemMetrics, Take};
use super::world::wire::Mood;

/// Seeds that are played: each is an hour of virtual time with faults, and its recovery.
const SEEDS: u64 = 60;

/// Data that were delivered, judged as they come.
#[derive(Default)]
struct Oracle {
    /// A call that was taken and may be repeated word for word: nobody could tell the agent.
    doubtful: Option<Vec<Datum>>,
    failed: BTreeMap<i64, f64>,
    beats: BTreeMap<i64, u32>,
    calls: usize,
}

impl Oracle {
    fn see(&mut self, take: Take) {
        self.calls += 1;
        let repeats = self.doubtful.as_ref() == Some(&take.data);
        // Also after a good answer the agent may be killed before it has saved that.
        self.doubtful = Some(take.data.clone());
        assert!(take.true_ms > 0 && take.call.0 > 0);
        if repeats {
            return;
        }
        for datum in take.data {
            let Numbers::One(value) = datum.numbers else {
                panic!("{datum:?}");
            };
            match datum.name.as_str() {
                "DeploymentsFailed" => *self.failed.entry(datum.time_ms).or_default() += value,
                "Heartbeat" => *self.beats.entry(datum.time_ms).or_default() += 1,
                _ => {}
            }
        }
    }
}

fn identity() -> Identity {
    Identity {
        instance_id: Some("i-1".to_owned()),
        complete: true,
        ..Identity::default()
    }
}

/// Whatever the service does and however often the agent is killed, every count arrives in its own
/// minute, every minute the agent lived through has one heartbeat, and each call is legal: shown by
/// an hour of faults for each of many seeds, and what has arrived some minutes after their end.
#[test]
fn every_count_and_every_heartbeat_arrives() {
    for seed in 0..SEEDS {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let config = Config::default().metrics;
    let mut service = MemMetrics::new(seed, Fuse::default());
    let mut clock = Clock::default();
    let mut metrics = Metrics::new(&config, None, seed);
    metrics.learn(&identity());
    let mut oracle = Oracle::default();
    let mut expected: BTreeMap<i64, f64> = BTreeMap::new();
    let mut value = 1.0;
    let first_ms = clock.true_ms();
    for second in 0..4_200_u64 {
        clock.advance_to(second * 1_000);
        service.wire.advance_to(clock.ms, clock.true_ms());
        service.wall_ms = clock.now().wall_ms;
        let faulty = second < 3_600;
        if second % 300 == 0 {
            service.wire.mood = if faulty {
                Mood::drawn(&mut rng)
            } else {
                Mood::default()
            };
        }
        if faulty && rng.u8(0..100) == 0 && value < 1e15 {
            let at_ms = clock.true_ms() - rng.i64(0..3_600_000);
            metrics.count(BuiltinMetric::DeploymentsFailed, value, at_ms);
            *expected.entry(at_ms / 60_000 * 60_000).or_default() += value;
            // Another power of two each, so that sums tell which counts are in them.
            value *= 2.0;
        }
        metrics.step(clock.now(), &mut service, &mut OpenBorder);
        for take in service.takes.drain(..) {
            oracle.see(take);
        }
        let saved = metrics.saved();
        metrics.confirm_saved(saved.version);
        if faulty && rng.u16(0..900) == 0 {
            metrics = Metrics::new(&config, Some(saved), rng.u64(..));
            metrics.learn(&identity());
            service.forget();
        }
        assert!(metrics.next_due().is_some());
    }
    assert_eq!(service.wire.violations, Vec::<String>::new(), "seed {seed}");
    oracle.failed.retain(|_, value| *value != 0.0);
    assert_eq!(oracle.failed, expected, "seed {seed}");
    let minutes = (clock.true_ms() - first_ms) / 60_000;
    let beats: Vec<u32> = oracle.beats.values().copied().collect();
    assert!(
        beats.iter().all(|times| *times == 1),
        "seed {seed} {beats:?}"
    );
    assert!(beats.len() as i64 >= minutes - 1, "seed {seed} {beats:?}");
    assert!(oracle.calls > 10 && !service.answered.is_empty() && service.wire.calls > 10);
    assert!(service.wire.next_ms().is_none_or(|ms| ms >= clock.ms));
}
