//! Single promises, each by a case of its own.

use std::collections::BTreeMap;

use super::*;
use BuiltinMetric::{
    BacklogBytes, CodeDeployAgentHealthy, DeploymentRunningSeconds, DeploymentsFailed,
    LastDeploymentFailed, LifecycleEventSeconds, LostBytes,
};

/// Every metric that is published comes each minute with the documented set and unit, zeros
/// included, aligned to the minute; gauges nobody set do not come: shown by the data of two
/// minutes.
#[test]
fn every_minute_has_its_data() {
    let mut agent = Agent::new("");
    agent.metrics.gauge(BacklogBytes, Some(17.0));
    agent.minutes(1);
    agent.metrics.gauge(BacklogBytes, Some(18.0));
    agent.minutes(2);
    let mut seen: Vec<String> = Vec::new();
    for datum in agent.service.data() {
        assert_eq!(
            datum.dimensions,
            [("InstanceId".to_owned(), "i-1".to_owned())]
        );
        assert_eq!(datum.resolution_s, 60);
        let minute = (datum.time_ms - NOON_MS) / 60_000;
        if minute < 2 {
            seen.push(format!(
                "{minute} {} {} {:?}",
                datum.name, datum.unit, datum.numbers
            ));
        }
    }
    seen.sort();
    let expected: Vec<String> = [(0, "17.0"), (1, "18.0")]
        .into_iter()
        .flat_map(|(minute, backlog)| {
            [
                format!("{minute} BacklogBytes Bytes One({backlog})"),
                format!("{minute} DeploymentsFailed Count One(0.0)"),
                format!("{minute} DeploymentsSucceeded Count One(0.0)"),
                format!("{minute} Heartbeat Count One(1.0)"),
                format!("{minute} LostBytes Bytes One(0.0)"),
                format!("{minute} RefusedEvents Count One(0.0)"),
            ]
        })
        .collect();
    assert_eq!(seen, expected);
}

/// A period leaves in one call, within the jitter after its end, and instances differ in it: shown
/// by when the call comes for some seeds.
#[test]
fn a_period_is_one_call_at_a_time_of_its_own() {
    let mut times = BTreeSet::new();
    for seed in 0..10 {
        let mut agent = Agent::new("");
        agent.metrics = Metrics::new(&config(""), None, seed);
        agent.metrics.learn(&identity());
        agent.step();
        let calls = agent.service.calls;
        while agent.service.calls == calls {
            agent.pass(100);
            assert!(agent.now.wall_ms <= NOON_MS + 70_100, "never sent");
        }
        assert!(agent.now.wall_ms >= NOON_MS + 60_000);
        times.insert(agent.now.wall_ms);
        agent.pass(30_000);
        assert_eq!(agent.service.calls, calls + 1);
    }
    assert!(times.len() > 5, "{times:?}");
}

/// A late count lands in its own period, as a second datum where the first was sent; no gauge or
/// zero comes again: shown by a count an hour old.
#[test]
fn a_late_count_keeps_its_time() {
    let mut agent = Agent::new("");
    agent.count(DeploymentsFailed, 2.0);
    agent.minutes(60);
    agent
        .metrics
        .count(DeploymentsFailed, 3.0, NOON_MS + 59_999);
    agent.minutes(2);
    let failed = agent.service.ones("DeploymentsFailed");
    let first: Vec<_> = failed.iter().filter(|(at, _)| *at == 0).collect();
    assert_eq!(first, [&(0, 2.0), &(0, 3.0)]);
    let others = failed.iter().filter(|(at, _)| *at > 0);
    assert!(others.clone().count() >= 60 && others.clone().all(|(_, value)| *value == 0.0));
    let beats = agent.service.ones("Heartbeat");
    let distinct: BTreeSet<i64> = beats.iter().map(|(at, _)| *at).collect();
    assert_eq!(distinct.len(), beats.len());
}

/// High resolution: data every ten seconds, marked so: shown by a minute's heartbeats.
#[test]
fn high_resolution_is_ten_seconds() {
    let mut agent = Agent::new("[metrics]\nperiod = \"10s\"");
    for _ in 0..65 {
        agent.pass(1_000);
    }
    let beats = agent.service.ones("Heartbeat");
    assert_eq!(
        beats[..6],
        [
            (0, 1.0),
            (10, 1.0),
            (20, 1.0),
            (30, 1.0),
            (40, 1.0),
            (50, 1.0)
        ]
    );
    assert!(
        agent
            .service
            .data()
            .iter()
            .all(|datum| datum.resolution_s == 1)
    );
}

/// Durations keep every value under the lifecycle event's own series: shown by those of two
/// events.
#[test]
fn durations_have_a_series_for_each_event() {
    let mut agent = Agent::new("");
    for (event, seconds) in [
        ("Install", 2.0),
        ("AfterInstall", 1.5),
        ("Install", 2.0),
        ("Install", 9.0),
    ] {
        agent
            .metrics
            .time(LifecycleEventSeconds, event, seconds, agent.now.wall_ms);
    }
    agent.minutes(2);
    let seconds: Vec<_> = agent
        .service
        .data()
        .into_iter()
        .filter(|datum| datum.name == "LifecycleEventSeconds")
        .map(|datum| (datum.dimensions[0].1.clone(), datum.numbers.clone()))
        .collect();
    let expected = [
        ("AfterInstall".to_owned(), Numbers::Many(vec![(1.5, 1.0)])),
        (
            "Install".to_owned(),
            Numbers::Many(vec![(2.0, 2.0), (9.0, 1.0)]),
        ),
    ];
    assert_eq!(seconds, expected);
}

/// A clock that jumps back makes no gauge or zero of a period a second time, and one that jumped
/// far forward and back leaves no hole: shown by the heartbeats of both.
#[test]
fn a_clock_that_jumps_back_repeats_nothing() {
    let mut agent = Agent::new("");
    agent.metrics.gauge(LastDeploymentFailed, Some(0.0));
    agent.minutes(30);
    agent.metrics.gauge(LastDeploymentFailed, Some(1.0));
    agent.now.wall_ms -= 20 * 60_000;
    agent.minutes(19);
    assert!(
        agent
            .service
            .ones("LastDeploymentFailed")
            .iter()
            .all(|(_, value)| *value == 0.0)
    );
    agent.now.wall_ms += 10 * 3_600_000;
    agent.minutes(2);
    agent.now.wall_ms -= 10 * 3_600_000;
    agent.minutes(10);
    let beats: Vec<i64> = agent
        .service
        .ones("Heartbeat")
        .iter()
        .map(|(at, _)| *at)
        .collect();
    let distinct: BTreeSet<i64> = beats.iter().copied().collect();
    assert_eq!(distinct.len(), beats.len(), "{beats:?}");
    // Of minute 30 the agent saw only a moment, by a clock that then went back.
    let mut lived = (0..38).filter(|minute| *minute != 30);
    assert!(
        lived.all(|minute| distinct.contains(&(minute * 60))),
        "{beats:?}"
    );
}

/// Where the service says that the system's date is wrong, data have the service's, nothing that was
/// dated ahead is sent, and the times to come keep their heartbeats: shown by a date that is two
/// hours ahead for half an hour, of which the service knows after some minutes.
#[test]
fn the_services_date_is_the_date() {
    const AHEAD_MS: i64 = 2 * 3_600_000;
    let mut agent = Agent::new("");
    agent.minutes(10);
    agent.now.wall_ms += AHEAD_MS;
    agent.service.mood = Mood::Refusing(ErrorClass::RetrySoon);
    agent.minutes(3);
    agent
        .metrics
        .count(DeploymentsFailed, 1.0, agent.now.wall_ms);
    agent.service.mood = Mood::Well;
    agent.service.offset_ms = -AHEAD_MS;
    agent.minutes(27);
    agent
        .metrics
        .count(DeploymentsFailed, 2.0, agent.now.wall_ms);
    agent.minutes(2);
    agent.now.wall_ms -= AHEAD_MS;
    agent.service.offset_ms = 0;
    agent.minutes(130);
    let beats = agent.service.ones("Heartbeat");
    let minutes: BTreeSet<i64> = beats.iter().map(|(at, _)| at / 60).collect();
    assert_eq!(minutes.len(), beats.len());
    let missing: Vec<i64> = (0..170)
        .filter(|minute| !minutes.contains(minute))
        .collect();
    assert!(
        missing.iter().all(|minute| (9..14).contains(minute)),
        "{missing:?}"
    );
    assert!(minutes.iter().all(|minute| *minute <= 172), "{minutes:?}");
    let failed: Vec<_> = agent.service.ones("DeploymentsFailed");
    let failed: Vec<_> = failed
        .into_iter()
        .filter(|(_, value)| *value > 0.0)
        .collect();
    assert_eq!(failed, [(40 * 60, 2.0)]);
    assert!(agent.metrics.status(agent.now).refused["too_new"] > 0);
}

/// What is too far in the future, too old or no number is refused and counted, and nothing else
/// is: shown by one of each.
#[test]
fn what_the_service_would_refuse_is_refused_here() {
    let mut agent =
        Agent::new("[[metric]]\nname = \"N\"\nsource = \"app\"\npattern = 'n=(?<value>\\S+)'");
    let wall_ms = agent.now.wall_ms;
    agent
        .metrics
        .count(DeploymentsFailed, 1.0, wall_ms + 6 * 60_000);
    agent
        .metrics
        .count(DeploymentsFailed, 1.0, wall_ms - 14 * 86_400_000);
    agent.metrics.count(LostBytes, f64::NAN, wall_ms);
    agent.metrics.gauge(BacklogBytes, Some(f64::INFINITY));
    for text in ["n=inf", "n=nan", "n=1e200", "n=twelve", "n=-0.0", "n=7"] {
        agent.hear(text);
    }
    agent.minutes(2);
    let refused = agent.metrics.status(agent.now).refused;
    let expected = [("not_a_number", 6), ("too_new", 1), ("too_old", 1)];
    assert_eq!(
        refused,
        BTreeMap::from(expected.map(|(k, v)| (k.to_owned(), v)))
    );
    let numbers: Vec<_> = agent
        .service
        .data()
        .iter()
        .filter(|d| d.name == "N")
        .map(|d| d.numbers.clone())
        .collect();
    assert_eq!(numbers, [Numbers::Many(vec![(0.0, 1.0), (7.0, 1.0)])]);
}

/// One datum that the service calls invalid costs itself only: shown by a call with one bad metric
/// among many, of which all others arrive once.
#[test]
fn one_bad_datum_costs_itself_only() {
    let many: String = (0..40)
        .map(|n| format!("[[metric]]\nname = \"M{n}\"\nsource = \"app\"\npattern = 'x'\n"))
        .collect();
    let mut agent = Agent::new(&many);
    agent.service.poison = Some("M17");
    agent.hear("x");
    agent.minutes(2);
    for n in 0..40 {
        let ones = agent.service.ones(&format!("M{n}"));
        let expected = if n == 17 { 0 } else { 1 };
        assert_eq!(
            ones.iter().filter(|one| **one == (0, 1.0)).count(),
            expected,
            "M{n} {ones:?}"
        );
    }
    assert!(agent.refused("invalid") >= 1);
    assert_eq!(agent.service.ones("Heartbeat")[0], (0, 1.0));
}

/// Failures are waited for longer and longer, each call is the same, and what came meanwhile
/// follows with its own time: shown by an hour without the service.
#[test]
fn an_outage_is_retried_and_caught_up() {
    for class in [
        ErrorClass::RetrySoon,
        ErrorClass::Throttled,
        ErrorClass::RetrySlowly,
    ] {
        let mut agent = Agent::new("");
        agent.service.mood = Mood::Refusing(class);
        agent.minutes(30);
        let calls = agent.service.calls;
        assert!((5..70).contains(&calls), "{class:?}: {calls} calls");
        agent.minutes(30);
        assert!(agent.metrics.status(agent.now).retry_ms.is_some());
        agent.service.mood = Mood::Well;
        agent.minutes(6);
        let beats: BTreeSet<i64> = agent
            .service
            .ones("Heartbeat")
            .iter()
            .map(|(at, _)| at / 60)
            .collect();
        assert!(
            (0..64).all(|minute| beats.contains(&minute)),
            "{class:?} {beats:?}"
        );
        assert_eq!(agent.metrics.status(agent.now).refused, BTreeMap::new());
    }
}

/// That nothing is published is told while it lasts: a missing permission at once, anything else when
/// it has lasted for a minute; shown by each kind of failure and the end of it.
#[test]
fn a_person_hears_that_nothing_is_published() {
    for (class, minutes) in [
        (ErrorClass::RetrySlowly, 0),
        (ErrorClass::RetrySoon, 1),
        (ErrorClass::Throttled, 1),
    ] {
        let mut agent = Agent::new("");
        agent.service.mood = Mood::Refusing(class);
        while agent.service.calls == 0 {
            assert_eq!(agent.metrics.problem(agent.now), None);
            agent.now.mono_ms += 1_000;
            agent.now.wall_ms += 1_000;
            agent.step();
        }
        let at_once = agent.metrics.problem(agent.now);
        assert_eq!(at_once.is_some(), minutes == 0, "{class:?} {at_once:?}");
        agent.minutes(2);
        let later = agent.metrics.problem(agent.now).expect("a problem");
        assert!(later.contains("Deploywatch: Code: text; "), "{later}");
        agent.service.mood = Mood::Well;
        agent.minutes(6);
        assert_eq!(agent.metrics.problem(agent.now), None);
    }
}

/// An outage of three weeks keeps within its bound, in memory and on disk, gives up what is beyond
/// two weeks, and loses no count that is younger: shown by a deployment that fails each day.
#[test]
fn a_long_outage_is_bounded() {
    let mut agent = Agent::new("");
    agent.service.mood = Mood::Refusing(ErrorClass::RetrySlowly);
    for _ in 0..21 {
        agent.count(DeploymentsFailed, 1.0);
        agent.metrics.gauge(BacklogBytes, Some(5.0));
        for _ in 0..1440 {
            agent.now.mono_ms += 60_000;
            agent.now.wall_ms += 60_000;
            agent
                .metrics
                .step(agent.now, &mut agent.service, &mut OpenBorder);
            agent.metrics.confirm_saved(agent.metrics.version);
        }
        assert!(agent.metrics.registry.builtin_pending.weight() <= registry::BUILTIN_WEIGHT_MAX);
    }
    let saved = serde_json::to_vec(&agent.metrics.saved()).unwrap();
    assert!(saved.len() < 600_000, "{} bytes", saved.len());
    agent.service.mood = Mood::Well;
    agent.minutes(10);
    assert!(agent.refused("no_room") > 0);
    let failed: f64 = agent
        .service
        .ones("DeploymentsFailed")
        .iter()
        .map(|one| one.1)
        .sum();
    assert_eq!(failed, 13.0);
    assert_eq!(
        agent.metrics.status(agent.now).pending,
        agent.metrics.registry.builtin_pending.len()
    );
}

/// A hostile log fills neither memory nor bill: each metric keeps to its number of series, texts
/// are cut and cleaned, the rest is counted, and built-in data arrive all the same: shown by
/// thousands of labels and times.
#[test]
fn a_hostile_log_is_bounded() {
    let mut agent = Agent::new(
        "[[metric]]\nname = \"H\"\nsource = \"app\"\npattern = 'u=(?<User>.*)'\n\
         dimensions = [[\"User\"], [\"InstanceId\"]]\nseries_max = 5",
    );
    let long = "é".repeat(260);
    for n in 0..11_000_i64 {
        let time_ms = agent.now.wall_ms - n * 60_000;
        agent.metrics.hear("app", &format!("u={n}{long}"), time_ms);
        if n % 500 == 0 {
            let weight = agent.metrics.registry.custom_pending.weight();
            assert!(weight <= registry::CUSTOM_WEIGHT_MAX, "{weight}");
        }
    }
    agent.hear("u=   ");
    agent.minutes(4);
    let users: BTreeSet<String> = agent
        .service
        .data()
        .iter()
        .flat_map(|datum| datum.dimensions.iter())
        .filter(|(name, _)| name == "User")
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(users.len(), 5, "{users:?}");
    assert!(
        users
            .iter()
            .all(|user| user.len() == 255 && user.ends_with('_'))
    );
    assert_eq!(
        (agent.refused("too_many_series"), agent.refused("no_label")),
        (10_995, 1)
    );
    assert!(agent.refused("no_room") > 0);
    assert!(agent.service.ones("Heartbeat").len() >= 3);
    let saved = serde_json::to_vec(&agent.metrics.saved()).unwrap();
    assert!(saved.len() < 20_000, "{} bytes", saved.len());
}

/// Series that nobody used for an hour make room for others: shown by a new one refused before
/// and taken after.
#[test]
fn unused_series_make_room() {
    let text = "[[metric]]\nname = \"H\"\nsource = \"app\"\npattern = 'u=(?<User>.*)'\n\
                dimensions = [[\"User\"]]\nseries_max = 1";
    let mut agent = Agent::new(text);
    agent.hear("u=a");
    agent.restart(text);
    agent.step();
    agent.hear("u=b");
    assert_eq!(agent.refused("too_many_series"), 1);
    agent.minutes(62);
    agent.hear("u=b");
    assert_eq!(agent.refused("too_many_series"), 1);
}

/// Nothing leaves before it is known on whose behalf; a set without a value is left out and said:
/// shown before and after the identity is known.
#[test]
fn a_set_without_a_value_is_left_out() {
    let text = "[metrics]\ndimensions = [[\"InstanceId\"], [\"AutoScalingGroupName\"]]";
    let mut agent = Agent::new(text);
    agent.metrics = Metrics::new(&config(text), None, 3);
    agent.minutes(3);
    assert_eq!(agent.service.calls, 0);
    agent.metrics.learn(&identity());
    agent.minutes(2);
    assert!(agent.service.ones("Heartbeat").len() >= 4);
    let status = agent.metrics.status(agent.now);
    assert_eq!(status.without_value, ["AutoScalingGroupName"]);
    assert_eq!(status.refused, BTreeMap::new());
}

/// What another instance counted, of whose disk this one is a copy, is not this one's news: shown
/// by a restart under another identity.
#[test]
fn a_copied_disk_brings_no_news() {
    let mut agent = Agent::new("");
    agent.service.mood = Mood::Refusing(ErrorClass::RetrySoon);
    agent.count(DeploymentsFailed, 1.0);
    agent.minutes(5);
    agent.service = Service::new();
    let saved = agent.metrics.saved();
    agent.metrics = Metrics::new(&config(""), Some(saved), 9);
    agent.minutes(1);
    assert_eq!(agent.service.calls, 0);
    agent.metrics.learn(&Identity {
        instance_id: Some("i-2".to_owned()),
        ..identity()
    });
    agent.minutes(3);
    assert!(
        agent
            .service
            .ones("DeploymentsFailed")
            .iter()
            .all(|one| one.1 == 0.0)
    );
    assert!(
        agent
            .service
            .data()
            .iter()
            .all(|datum| datum.dimensions[0].1 == "i-2")
    );
    assert!(agent.refused("other_instance") > 0);
}

/// A restart in mid-period costs no heartbeat, and a gauge nobody set again is not made up: shown
/// by a kill over the end of a minute.
#[test]
fn a_restart_leaves_no_hole() {
    let mut agent = Agent::new("");
    agent.metrics.gauge(CodeDeployAgentHealthy, Some(1.0));
    agent.metrics.gauge(DeploymentRunningSeconds, Some(5.0));
    agent.minutes(2);
    agent.pass(50_000);
    agent.restart("");
    agent.metrics.gauge(CodeDeployAgentHealthy, Some(1.0));
    agent.minutes(3);
    let beats: Vec<i64> = agent
        .service
        .ones("Heartbeat")
        .iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(beats[..4], [0, 60, 120, 180]);
    let healthy: Vec<i64> = agent
        .service
        .ones("CodeDeployAgentHealthy")
        .iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(healthy[..3], [0, 60, 180]);
    assert_eq!(agent.service.ones("DeploymentRunningSeconds").len(), 2);
}

/// A disk that cannot be written does not silence the heartbeat: shown by never confirming.
#[test]
fn a_full_disk_does_not_silence_the_heartbeat() {
    let mut agent = Agent::new("");
    for _ in 0..600 {
        agent.now.mono_ms += 1_000;
        agent.now.wall_ms += 1_000;
        agent
            .metrics
            .step(agent.now, &mut agent.service, &mut OpenBorder);
    }
    assert!(agent.service.ones("Heartbeat").len() >= 8);
}

/// Nothing is sent before the state that holds it is saved: shown by a period that waits for it.
#[test]
fn nothing_leaves_unsaved() {
    let mut agent = Agent::new("");
    for _ in 0..80 {
        agent.now.mono_ms += 1_000;
        agent.now.wall_ms += 1_000;
        agent
            .metrics
            .step(agent.now, &mut agent.service, &mut OpenBorder);
    }
    assert_eq!(agent.service.calls, 0);
    assert!(
        agent
            .metrics
            .next_due()
            .is_some_and(|due| due > agent.now.mono_ms)
    );
    agent.metrics.confirm_saved(agent.metrics.saved().version);
    assert!(
        agent
            .metrics
            .next_due()
            .is_some_and(|due| due <= agent.now.mono_ms)
    );
    agent
        .metrics
        .step(agent.now, &mut agent.service, &mut OpenBorder);
    assert_eq!(agent.service.calls, 1);
}

/// Another configuration changes what is counted from then on and loses nothing; switched off,
/// nothing is sent: shown by three configurations one after the other.
#[test]
fn a_reload_takes_over() {
    let mut agent = Agent::new("");
    agent.count(DeploymentsFailed, 4.0);
    agent.metrics.reload(&config(
        "[metrics]\nnamespace = \"N\"\nperiod = \"10s\"\ndisable = [\"DeploymentsFailed\"]",
    ));
    agent.minutes(2);
    assert_eq!(agent.service.ones("DeploymentsFailed"), [(0, 4.0)]);
    assert!(agent.service.ones("Heartbeat").len() >= 10);
    agent.metrics.reload(&config("[metrics]\nenabled = false"));
    let calls = agent.service.calls;
    agent.count(DeploymentsFailed, 4.0);
    agent.minutes(2);
    assert_eq!(
        (agent.service.calls, agent.metrics.status(agent.now).pending),
        (calls, 0)
    );
    assert_eq!(agent.metrics.next_due(), None);
}
