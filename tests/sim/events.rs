//! Events against the simulated service: the real `Events`, a virtual clock, a service with
//! outages, throttling, refusals entry by entry and lost answers, and kills and reboots in between.

use std::collections::{BTreeMap, BTreeSet};

use deploywatch::config::events::EventsConfig;
use deploywatch::config::{Config, Identity};
use deploywatch::events::{Age, EventKind, Events, Incident, Saved};

use super::world::clock::Clock;
use super::world::events::MemEvents;
use super::world::fuse::Fuse;
use super::world::wire::Mood;

/// Seeds that are played: each is an hour of virtual time with faults, and its recovery.
const SEEDS: u64 = 60;

/// Something that truly happened.
struct Truth {
    kind: EventKind,
    number: usize,
    age: Age,
    /// In which boot it was found.
    boot: usize,
    /// As the agent dates it: found again after a kill, a sickness has another time.
    at_ms: i64,
}

impl Truth {
    fn report(&self, events: &mut Events, clock: &Clock) {
        let deployment = self.kind == EventKind::DeploymentFailed;
        let incident = Incident {
            deployment_id: deployment.then(|| format!("d-{:09}", self.number)),
            output: Some("x".repeat(self.number % 5_000)),
            ..Incident::new(self.kind, self.at_ms)
        };
        events.report(incident, self.age, clock.now());
    }
}

/// The state on disk: what the agent saved, and of how many truths that knows.
#[derive(Default)]
struct Disk {
    saved: Option<Saved>,
    truths: usize,
}

fn started(saved: Option<Saved>, boot: usize, seed: u64) -> Events {
    let config = EventsConfig {
        enabled: true,
        ..Config::default().events
    };
    let mut events = Events::new(config, saved, &format!("boot-{boot}"), seed);
    events.learn(&Identity {
        instance_id: Some("i-1".to_owned()),
        complete: true,
        ..Identity::default()
    });
    events
}

/// Whatever the service does and however often the agent is killed or the machine boots: each true
/// incident arrives under one id at most, and, unless the machine went down first, exactly one; no
/// old one ever does, and none after a boot that was found before it; each call is legal. Shown by
/// an hour of faults for each of many seeds, and what has arrived some minutes after their end.
#[test]
fn each_true_incident_arrives_under_exactly_one_id() {
    for seed in 0..SEEDS {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut service = MemEvents::new(seed, Fuse::default());
    let mut clock = Clock::default();
    let (mut events, mut disk) = (started(None, 0, seed), Disk::default());
    let mut truths: Vec<Truth> = Vec::new();
    let mut arrived: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut boot, mut kills) = (0, 0);
    for second in 0..4_800_u64 {
        clock.advance_to(second * 1_000);
        service.wire.advance_to(clock.ms, clock.true_ms());
        let faulty = second < 3_600;
        if second % 300 == 0 {
            service.wire.mood = match faulty {
                true => Mood::drawn(&mut rng),
                false => Mood::default(),
            };
        }
        if faulty && rng.u8(0..60) == 0 {
            let kinds = [
                EventKind::DeploymentFailed,
                EventKind::CodeDeployAgentUnhealthy,
            ];
            truths.push(Truth {
                kind: kinds[rng.usize(0..2)],
                number: truths.len(),
                age: if rng.u8(0..5) == 0 {
                    Age::Old
                } else {
                    Age::News
                },
                boot,
                at_ms: clock.now().wall_ms,
            });
            truths[truths.len() - 1].report(&mut events, &clock);
        }
        // Saving may come late, but what is sent is saved.
        if !faulty || rng.u8(0..3) == 0 {
            disk = Disk {
                saved: Some(events.saved()),
                truths: truths.len(),
            };
            events.confirm_saved();
        }
        events.step(clock.now(), &mut service);
        for take in service.takes.drain(..) {
            let detail: serde_json::Value =
                serde_json::from_str(&take.entry.detail).expect("a detail is JSON");
            let id = detail["id"].as_str().expect("an id").to_owned();
            let truth = truths
                .iter()
                .find(|truth| match truth.kind {
                    EventKind::DeploymentFailed => id.ends_with(&format!("d-{:09}", truth.number)),
                    _ => id.ends_with(&format!("unhealthy/{}", truth.at_ms)),
                })
                .unwrap_or_else(|| panic!("seed {seed}: {id} is no truth"));
            assert_eq!(truth.age, Age::News, "seed {seed}: {id} is old");
            assert_eq!(truth.boot, boot, "seed {seed}: {id} is of an earlier boot");
            assert!(take.true_ms >= truth.at_ms);
            let entry = arrived.entry(id).or_insert((truth.number, 0));
            entry.1 += 1;
        }
        if faulty && rng.u16(0..400) == 0 {
            kills += 1;
            service.wire.forget();
            if rng.bool() {
                boot += 1;
                clock.reboot();
            }
            events = started(disk.saved.clone(), boot, rng.u64(..));
            // What the agent found and did not save, it finds again.
            for truth in &mut truths[disk.truths..] {
                truth.at_ms = clock.now().wall_ms + truth.number as i64;
                truth.boot = boot;
                truth.report(&mut events, &clock);
            }
        }
    }
    assert_eq!(service.wire.violations, Vec::<String>::new(), "seed {seed}");
    let numbers: BTreeSet<usize> = arrived.values().map(|(number, _)| *number).collect();
    assert_eq!(
        numbers.len(),
        arrived.len(),
        "seed {seed}: one incident under two ids"
    );
    let counts = events.status().counts;
    let forgiven = truths.iter().filter(|truth| truth.boot < boot).count();
    let news = truths.iter().filter(|truth| truth.age == Age::News);
    let missing: Vec<usize> = news
        .filter(|truth| !numbers.contains(&truth.number) && truth.boot == boot)
        .map(|truth| truth.number)
        .collect();
    assert_eq!(missing, [0; 0], "seed {seed}: {counts:?} {forgiven}");
    let repeats: usize = arrived.values().map(|(_, times)| times - 1).sum();
    assert!(
        kills > 0 || service.doubts > 0 || repeats == 0,
        "seed {seed}"
    );
    assert!(events.is_idle() && service.wire.calls > 5 && service.wire.next_ms().is_none());
}
