//! Whatever the service or the network does, nothing is lost, and order stays.

#![cfg(test)]

use std::time::{Duration, Instant};

use crate::support::cloud::{Cloud, now_ms};
use crate::support::fault::{Dice, Fault, Trouble};
use crate::support::lines::{Writer, append};
use crate::support::listener::Gate;
use crate::support::oracle::{APP, Findings, findings, wait_complete};
use crate::support::rules::{HOUR_MS, PAST_MS_MAX};
use crate::support::state::{Action, Gzip, PutSeen};
use crate::support::world::World;
use crate::{LIMIT, SLOWLY};

/// The writer's pause between calls: the pace of the load, not a wait for anything.
const PACE: Duration = Duration::from_millis(10);

/// A service, a world with the source `app` over `*.log`, and a writer of `app.log`.
fn scene() -> (Cloud, World, Writer) {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    world.set("logs", "flush_interval = \"100ms\"");
    world.app_source("*.log");
    let writer = Writer::open(&world.log("app.log"), "app");
    (cloud, world, writer)
}

/// Writes at an even pace until the state of the service is as wanted.
#[track_caller]
fn write_until(cloud: &Cloud, writer: &mut Writer, met: impl Fn(&Cloud) -> bool) {
    let limit = Instant::now() + SLOWLY;
    while !met(cloud) {
        assert!(Instant::now() < limit, "{}", cloud.state().summary());
        writer.write(5);
        std::thread::sleep(PACE);
    }
}

/// Waits until all has arrived, and says what is wrong with it.
#[track_caller]
fn finish(cloud: &Cloud, writer: &Writer) -> Findings {
    wait_complete(cloud, SLOWLY, writer, APP);
    findings(cloud, writer, APP)
}

/// During an outage (the service's errors, then broken connections, then nobody listening) lines
/// wait in their file; after it all arrive, in order.
#[test]
fn after_an_outage_everything_arrives_in_order() {
    let (cloud, world, mut writer) = scene();
    let _agent = world.start();
    write_until(&cloud, &mut writer, |cloud| cloud.state().total() > 0);
    cloud.fault(Fault::new(Trouble::Html(503)));
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("html") >= 2
    });
    cloud.clear_faults();
    cloud.fault(Fault::new(Trouble::ResetBefore));
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("reset before") >= 2
    });
    cloud.set_gate(Gate::Refuse);
    let until = Instant::now() + Duration::from_secs(1);
    write_until(&cloud, &mut writer, |_| Instant::now() > until);
    cloud.clear_faults();
    cloud.set_gate(Gate::Open);
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("ok") > 5
    });
    finish(&cloud, &writer).assert_none_lost();
}

/// The service's own errors never make a line come twice: what was not taken is sent again, once.
#[test]
fn throttling_and_errors_double_nothing() {
    let (cloud, world, mut writer) = scene();
    let throttle = Fault::new(Trouble::Throttle).on(Action::Put).times(3);
    cloud.fault(throttle);
    cloud.fault(Fault::new(Trouble::Html(500)).on(Action::Put).times(2));
    cloud.fault(Fault::new(Trouble::Garbage).on(Action::Put).times(1));
    cloud.fault(
        Fault::new(Trouble::Throttle)
            .on(Action::CreateGroup)
            .times(2),
    );
    cloud.fault(
        Fault::new(Trouble::Throttle)
            .on(Action::CreateStream)
            .times(2),
    );
    let _agent = world.start();
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("ok") > 5
    });
    assert_eq!(cloud.state().answered("throttle"), 7);
    assert_eq!(cloud.state().answered("html"), 2);
    finish(&cloud, &writer).assert_exact();
}

/// An answer that never comes leads to a second sending, so lines may come twice but never get
/// lost, and what comes twice is what the lost answers were about.
#[test]
fn lost_answers_lose_no_line() {
    let (cloud, world, mut writer) = scene();
    let _agent = world.start();
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("ok") > 2
    });
    cloud.fault(Fault::new(Trouble::LoseAnswer).on(Action::Put).times(3));
    write_until(&cloud, &mut writer, |cloud| {
        cloud.state().answered("lost answer") == 3
            && cloud
                .state()
                .puts
                .last()
                .is_some_and(|put| put.answer == "ok")
    });
    let findings = finish(&cloud, &writer);
    findings.assert_none_lost();
    let unanswered = |put: &&PutSeen| put.answer == "lost answer";
    let lost: usize = cloud
        .state()
        .puts
        .iter()
        .filter(unanswered)
        .map(|put| put.events)
        .sum();
    assert!(
        findings.doubled <= lost as u64,
        "{} > {lost}",
        findings.doubled
    );
}

/// A mix of every trouble, from a seed, loses nothing and keeps the order.
#[test]
fn a_mix_of_troubles_loses_nothing() {
    let (cloud, world, mut writer) = scene();
    cloud.state().dice = Dice::new(20_261_121);
    cloud.fault(Fault::new(Trouble::Any).chance(300));
    let _agent = world.start();
    write_until(&cloud, &mut writer, |cloud| cloud.state().puts.len() > 30);
    cloud.clear_faults();
    let findings = finish(&cloud, &writer);
    findings.assert_none_lost();
    assert_eq!(findings.alien, 0, "{findings:#?}");
}

/// Events that the service refuses one by one, for being too old, are counted by reason and hold
/// nothing up.
#[test]
fn refused_events_are_counted() {
    let cloud = Cloud::start();
    let mut world = World::new(&cloud);
    let path = world.log("app.log");
    world.source(&format!(
        "name = \"app\"\npaths = [\"{}\"]\ngroup = \"/app\"\nstream = \"s\"\ntimestamp = \"auto\"",
        path.display()
    ));
    let line = |time_ms: i64, text: &str| {
        let time = jiff::Timestamp::from_millisecond(time_ms).unwrap();
        format!("{} {text}\n", time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    };
    let (now, old) = (now_ms(), now_ms() - PAST_MS_MAX - 30 * HOUR_MS);
    let mut text = String::new();
    for number in 0..7 {
        text.push_str(&line(old + number, "old"));
    }
    for number in 0..20 {
        text.push_str(&line(now + number, "new"));
    }
    std::fs::write(&path, text).unwrap();
    let _agent = world.start();
    world.wait_status(LIMIT, "all is accounted for", |status| {
        let counts = status.sources.get("app");
        counts.is_some_and(|counts| (counts.events_delivered, counts.refused.too_old) == (20, 7))
    });
    let messages = cloud.messages("/app", "s");
    assert_eq!(messages.len(), 20);
    assert!(messages.iter().all(|message| message.ends_with(" new")));
    assert_eq!(cloud.state().rejected, 7);
    cloud.assert_no_violations();
}

/// An event that the service will never take is found among thousands, put aside on disk (without the
/// secrets it may have) and counted; the lines around it arrive, once.
#[test]
fn one_poisoned_event_harms_only_itself() {
    let (cloud, mut world, mut writer) = scene();
    let secret = world.log("secret.txt");
    world.source(&format!(
        "name = \"secret\"\npaths = [\"{}\"]\ngroup = \"/app\"\nstream = \"secret\"",
        secret.display()
    ));
    std::fs::write(&secret, "VENOM with password=hunter2\n").unwrap();
    cloud.state().poison.push("VENOM".into());
    writer.write(2_000);
    std::io::Write::write_all(&mut append(&writer.path), b"a line with VENOM in it\n").unwrap();
    writer.write(2_000);
    let _agent = world.start();
    finish(&cloud, &writer).assert_exact();
    world.wait_status(LIMIT, "the events are counted", |status| {
        let is_counted = |source| {
            let counts = status.sources.get(source);
            counts.is_some_and(|counts| counts.refused.invalid == 1)
        };
        is_counted("app") && is_counted("secret")
    });
    let dead = world.contents("state/dead-letter").concat();
    assert!(dead.contains("a line with VENOM in it"), "{dead}");
    let kept = "VENOM with password=[redacted:password]";
    assert!(dead.contains(kept) && !dead.contains("hunter2"), "{dead}");
}

/// Two streams, one forbidden: the other is as fast as ever, and when the permission comes so
/// does the first. The own log says what is wrong.
#[test]
fn a_forbidden_stream_delays_no_other() {
    let (cloud, world, mut writer) = scene();
    let mut forbidden = Writer::open(&world.log("forbidden.log"), "forbidden");
    forbidden.write(3_000);
    cloud.fault(Fault::new(Trouble::DENIED).at("/app", "forbidden.log"));
    let agent = world.start();
    cloud.wait(LIMIT, "the first is forbidden", |state| {
        state.answered("AccessDeniedException") > 0
    });
    for count in 1..=5 {
        writer.write(1);
        cloud.wait(Duration::from_secs(5), "the other goes on", |state| {
            state.events("/app", "app.log").len() == count
        });
    }
    world.wait_status(LIMIT, "it is said", |status| {
        status
            .targets
            .iter()
            .any(|target| target.last_answer.contains("AccessDenied"))
    });
    agent.wait_said(SLOWLY, "stream forbidden.log: AccessDenied");
    cloud.clear_faults();
    wait_complete(&cloud, SLOWLY, &forbidden, ("/app", "forbidden.log"));
    findings(&cloud, &forbidden, ("/app", "forbidden.log")).assert_exact();
    finish(&cloud, &writer).assert_exact();
}

/// A service that takes no gzip is served without, whichever way it says so.
#[test]
fn gzip_refused_is_gzip_left_out() {
    for gzip in [Gzip::Refused, Gzip::Ignored] {
        let (cloud, world, mut writer) = scene();
        writer.write(500);
        let agent = world.start();
        cloud.wait(LIMIT, "the first lines arrive", |state| {
            state.total() == 500
        });
        let zipped = |put: &PutSeen| put.gzip && put.wire_bytes < put.events * 100;
        assert!(
            cloud.state().puts.iter().all(zipped),
            "{:?}",
            cloud.state().puts
        );
        cloud.state().gzip = gzip;
        writer.write(500);
        finish(&cloud, &writer).assert_exact();
        let last = cloud.state().puts.last().cloned().unwrap();
        assert!(!last.gzip && (last.group, last.stream) == ("/app".into(), "app.log".into()));
        agent.stop(LIMIT);
    }
}

/// A clock that is off is put right by the service's answers, for signatures; every line arrives.
#[test]
fn a_clock_that_is_off_does_not_stop_delivery() {
    for ahead_ms in [10 * 60 * 1000, -10 * 60 * 1000] {
        let (cloud, world, mut writer) = scene();
        cloud.state().clock_ahead_ms = ahead_ms;
        writer.write(100);
        let agent = world.start();
        finish(&cloud, &writer).assert_exact();
        assert!(cloud.state().answered("InvalidSignatureException") > 0);
        agent.stop(LIMIT);
    }
}

/// With no network at all the agent stays up and says so; when the service comes, so do the lines.
#[test]
fn without_a_network_the_agent_waits() {
    let (cloud, world, mut writer) = scene();
    cloud.set_gate(Gate::Refuse);
    writer.write(100);
    let mut agent = world.start();
    world.wait_status(LIMIT, "it says that it cannot deliver", |status| {
        status.targets.iter().any(|target| {
            !["", "ok"].contains(&target.last_answer.as_str()) && target.pending_bytes > 0
        })
    });
    agent.assert_runs();
    cloud.set_gate(Gate::Open);
    finish(&cloud, &writer).assert_exact();
    agent.stop(LIMIT);
}
