//! The stage against a model of the service: each true incident arrives under exactly one id.

#[path = "../../tests/support/event_schema.rs"]
mod event_schema;

use event_schema::EventSchema;
use proptest::prelude::*;

use super::*;
use crate::event::{EpochMs, Target};
use crate::ports::{ErrorClass, EventCall, EventEntry};

/// EventBridge as far as the stage meets it, with its limits.
#[derive(Default)]
struct Model {
    /// What to do with the next calls.
    faults: VecDeque<Fault>,
    answers: VecDeque<crate::ports::EventAnswer>,
    /// What was accepted.
    accepted: Vec<EventEntry>,
    calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Every entry is taken.
    None,
    /// The whole call fails; nothing is taken.
    Fails(ErrorClass),
    /// All is taken, and the answer gets lost.
    Lost,
    /// These entries (by bit) fail with this class, the others are taken.
    Partly(u16, ErrorClass),
    /// An answer for fewer entries than there were; all were taken.
    Short,
}

fn error(class: ErrorClass) -> ServiceError {
    ServiceError {
        class,
        code: "Model".to_owned(),
        message: "says no".to_owned(),
    }
}

impl EventService for Model {
    fn submit(&mut self, id: CallId, call: EventCall) {
        self.calls += 1;
        assert!((1..=10).contains(&call.entries.len()));
        let bytes: usize = call.entries.iter().map(EventEntry::counted_bytes).sum();
        assert!(bytes < 256 * 1024, "{bytes}");
        for entry in &call.entries {
            assert!(entry.detail_type.len() <= 128 && !entry.source.starts_with("aws."));
            let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
            assert!(detail.is_object());
        }
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        let result = match fault {
            Fault::Fails(class) => Err(error(class)),
            Fault::None | Fault::Lost | Fault::Short => {
                let mut answers: Vec<_> = call.entries.iter().map(|_| Ok(())).collect();
                self.accepted.extend(call.entries);
                match fault {
                    Fault::Lost => Err(error(ErrorClass::RetrySoon)),
                    Fault::Short => {
                        answers.pop();
                        Ok(answers)
                    }
                    _ => Ok(answers),
                }
            }
            Fault::Partly(bits, class) => {
                let entries = call.entries.into_iter().enumerate();
                let answers = entries.map(|(at, entry)| {
                    if bits >> at & 1 == 1 {
                        return Err(error(class));
                    }
                    self.accepted.push(entry);
                    Ok(())
                });
                Ok(answers.collect())
            }
        };
        self.answers
            .push_back(crate::ports::EventAnswer { id, result });
    }

    fn answer(&mut self) -> Option<crate::ports::EventAnswer> {
        self.answers.pop_front()
    }
}

impl Model {
    fn ids(&self) -> Vec<String> {
        let ids = self.accepted.iter().map(|entry| {
            let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
            detail["id"].as_str().unwrap().to_owned()
        });
        ids.collect()
    }
}

fn identity() -> Identity {
    Identity {
        instance_id: Some("i-0123456789abcdef0".to_owned()),
        hostname: Some("ip-10-0-0-1".to_owned()),
        region: Some("eu-west-1".to_owned()),
        account_id: Some("111122223333".to_owned()),
        asg: Some("web".to_owned()),
        complete: true,
        ..Identity::default()
    }
}

fn config() -> EventsConfig {
    EventsConfig {
        enabled: true,
        ..crate::config::Config::default().events
    }
}

fn started(saved: Option<Saved>, boot: &str) -> Events {
    let mut events = Events::new(config(), saved, boot, 7);
    events.learn(&identity());
    events
}

fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall_ms: 1_700_000_000_000 + mono_ms as i64,
    }
}

fn failed(number: u64) -> Incident {
    Incident {
        deployment_id: Some(format!("d-{number:09}")),
        ..Incident::new(EventKind::DeploymentFailed, number as i64)
    }
}

/// Steps until nothing waits; the time goes on to whatever is due.
fn drain(events: &mut Events, service: &mut Model, mut mono_ms: u64) -> u64 {
    for _ in 0..2_000 {
        let _saved = events.saved();
        events.confirm_saved();
        events.step(at(mono_ms), service);
        events.step(at(mono_ms), service);
        match events.next_due_ms() {
            Some(due_ms) => mono_ms = mono_ms.max(due_ms),
            None if events.is_idle() => return mono_ms,
            None => {}
        }
    }
    panic!("it does not come to an end: {events:?}");
}

fn faults() -> impl Strategy<Value = Fault> {
    let class = prop_oneof![
        Just(ErrorClass::RetrySoon),
        Just(ErrorClass::Throttled),
        Just(ErrorClass::RetrySlowly),
    ];
    prop_oneof![
        2 => Just(Fault::None),
        2 => class.clone().prop_map(Fault::Fails),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Short),
        2 => (any::<u16>(), class).prop_map(|(bits, class)| Fault::Partly(bits, class)),
    ]
}

#[derive(Clone, Debug)]
enum Act {
    /// Something happens; sometimes it is reported twice, or is old.
    Happens(Kind),
    Save,
    Step(u64),
    /// kill -9: the agent comes back with what was saved, and finds again what it found since.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Failure,
    /// Found by looking, dated by when it was found: another time after a crash.
    Sickness,
    Twice,
    Old,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let kind = prop_oneof![
        Just(Kind::Failure),
        Just(Kind::Sickness),
        Just(Kind::Twice),
        Just(Kind::Old)
    ];
    prop::collection::vec(
        prop_oneof![
            3 => kind.prop_map(Act::Happens),
            2 => Just(Act::Save),
            4 => (0_u64..5_000).prop_map(Act::Step),
            1 => Just(Act::Crash),
        ],
        0..60,
    )
}

/// An incident of the world, and the time at which the agent last found it.
struct Truth {
    kind: Kind,
    number: u64,
    found_ms: u64,
}

impl Truth {
    fn report(&self, events: &mut Events) {
        let incident = match self.kind {
            Kind::Sickness => Incident::new(
                EventKind::CodeDeployAgentUnhealthy,
                at(self.found_ms).wall_ms,
            ),
            _ => failed(self.number),
        };
        let age = match self.kind {
            Kind::Old => Age::Old,
            _ => Age::News,
        };
        let times = if self.kind == Kind::Twice { 2 } else { 1 };
        for _ in 0..times {
            events.report(incident.clone(), age, at(self.found_ms));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the service answers and whenever the agent is killed, each true incident arrives,
    /// under exactly one id, and no old one does; a repeat comes only after a crash or an answer
    /// that was lost: shown by random schedules against the model, each followed by good weather.
    #[test]
    fn each_incident_has_exactly_one_id(
        acts in acts(),
        faults in prop::collection::vec(faults(), 0..20),
    ) {
        let mut service = Model { faults: faults.clone().into(), ..Model::default() };
        let mut events = started(None, "boot");
        let mut saved = None;
        let (mut truths, mut saved_truths): (Vec<Truth>, usize) = (Vec::new(), 0);
        let (mut mono_ms, mut crashes) = (1, 0);
        for act in acts {
            mono_ms += 1;
            match act {
                Act::Happens(kind) => {
                    let number = truths.len() as u64;
                    truths.push(Truth { kind, number, found_ms: mono_ms });
                    truths[number as usize].report(&mut events);
                }
                Act::Save => {
                    saved = Some(events.saved());
                    saved_truths = truths.len();
                    events.confirm_saved();
                }
                Act::Step(ms) => {
                    mono_ms += ms;
                    events.step(at(mono_ms), &mut service);
                }
                Act::Crash => {
                    crashes += 1;
                    service.answers.clear();
                    // As it would be read from disk.
                    let stored = serde_json::to_string(&saved).unwrap();
                    events = started(serde_json::from_str(&stored).unwrap(), "boot");
                    for truth in &mut truths[saved_truths..] {
                        mono_ms += 1;
                        truth.found_ms = mono_ms;
                        truth.report(&mut events);
                    }
                }
            }
        }
        service.faults.clear();
        drain(&mut events, &mut service, mono_ms);
        let ids = service.ids();
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let news = truths.iter().filter(|truth| truth.kind != Kind::Old).count();
        prop_assert_eq!(distinct.len(), news, "{:?}", ids);
        let lost = faults.iter().filter(|f| matches!(f, Fault::Lost | Fault::Short)).count();
        if crashes == 0 && lost == 0 {
            prop_assert_eq!(ids.len(), news, "nothing comes twice");
            prop_assert_eq!(events.status().counts.sent, news as u64);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every request is within the service's limits however large the incidents are: the model
    /// judges; and memory stays bounded through an outage, the newest being kept.
    #[test]
    fn an_outage_is_bounded(
        incidents in 1_usize..600,
        text in "(\\PC|\u{0}|\n){0,60}",
        times in 1_usize..200,
    ) {
        let mut service = Model::default();
        let mut events = started(None, "boot");
        let long = text.repeat(times);
        for number in 0..incidents {
            let incident = Incident {
                output: Some(long.clone()),
                reason: Some(long.clone()),
                script: Some(long.clone()),
                ..failed(number as u64)
            };
            events.report(incident, Age::News, at(number as u64));
            prop_assert!(events.waiting.len() <= WAITING_MAX);
            prop_assert!(events.waiting_bytes <= WAITING_BYTES_MAX);
        }
        let dropped = events.status().counts.no_room as usize;
        drain(&mut events, &mut service, 1_000);
        let ids = service.ids();
        prop_assert_eq!(ids.len() + dropped, incidents);
        prop_assert_eq!(events.waiting_bytes, 0);
        let newest = format!("i-0123456789abcdef0/deployment_failed/d-{:09}", incidents - 1);
        prop_assert_eq!(ids.last(), Some(&newest));
    }
}

/// Ten entries make one request, an eleventh the next; only what failed is sent again, by index:
/// shown by the calls and what they hold.
#[test]
fn entries_are_retried_by_index() {
    let bits = 0b10_0000_0101;
    let mut service = Model {
        faults: [Fault::Partly(bits, ErrorClass::Throttled)].into(),
        ..Model::default()
    };
    let mut events = started(None, "boot");
    for number in 0..11 {
        events.report(failed(number), Age::News, at(0));
    }
    drain(&mut events, &mut service, 0);
    let ids = service.ids();
    let number = |id: &str| id[id.len() - 2..].parse::<u64>().unwrap();
    let order: Vec<u64> = ids.iter().map(|id| number(id)).collect();
    assert_eq!(order[..8], [1, 3, 4, 5, 6, 7, 8, 10]);
    let mut rest = order[8..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, [0, 2, 9]);
    assert_eq!(events.status().counts.sent, 11);
}

/// A request is closed before it is too large, and not earlier: shown with the largest incidents there
/// are, of which ten do not fit; the model judges each request.
#[test]
fn a_request_is_closed_before_it_is_too_large() {
    let mut service = Model::default();
    let mut events = started(None, "boot");
    // In JSON each becomes six bytes.
    let long = Some("\u{1}".repeat(2 * OUTPUT_BYTES_MAX));
    for number in 0..ENTRIES_MAX as u64 {
        let incident = Incident {
            output: long.clone(),
            reason: long.clone(),
            script: long.clone(),
            ..failed(number)
        };
        events.report(incident, Age::News, at(0));
    }
    drain(&mut events, &mut service, 0);
    assert_eq!(service.accepted.len(), ENTRIES_MAX);
    let bytes = service.accepted[0].counted_bytes();
    let fit = REQUEST_BYTES_MAX / bytes;
    assert!((1..ENTRIES_MAX).contains(&fit), "{bytes}");
    assert_eq!(service.calls, ENTRIES_MAX.div_ceil(fit));
}

/// An entry that the service never takes costs only itself, whether it is named or the call fails
/// as a whole: shown for both.
#[test]
fn a_bad_entry_costs_only_itself() {
    let invalid = ErrorClass::Invalid;
    let named = vec![Fault::Partly(0b100, invalid)];
    let mut unnamed = vec![Fault::Fails(invalid), Fault::None, Fault::None];
    unnamed.push(Fault::Fails(invalid));
    for faults in [named, unnamed] {
        let mut service = Model {
            faults: faults.into(),
            ..Model::default()
        };
        let mut events = started(None, "boot");
        for number in 0..6 {
            events.report(failed(number), Age::News, at(0));
        }
        drain(&mut events, &mut service, 0);
        let counts = events.status().counts;
        assert_eq!((counts.sent, counts.refused), (5, 1));
        assert_eq!(service.accepted.len(), 5);
        // It is not taken up again either.
        events.report(failed(2), Age::News, at(1));
        assert_eq!(events.status().counts.repeated, 1);
    }
}

/// One kind that may not be sent does not hold up the others: shown with more of them than a
/// request holds.
#[test]
fn what_is_not_permitted_does_not_block_the_rest() {
    let mut service = Model {
        faults: [Fault::Partly(0x3ff, ErrorClass::RetrySlowly)].into(),
        ..Model::default()
    };
    let mut events = started(None, "boot");
    for number in 0..15 {
        events.report(failed(number), Age::News, at(0));
    }
    let _saved = events.saved();
    events.confirm_saved();
    for _ in 0..4 {
        events.step(at(1), &mut service);
    }
    assert_eq!(service.accepted.len(), 5);
    assert!(events.status().last_error.is_none());
}

/// Nothing leaves before it is saved; and what was reported after the saving does not either:
/// shown by steps around both.
#[test]
fn only_what_is_saved_leaves() {
    let mut service = Model::default();
    let mut events = started(None, "boot");
    events.report(failed(1), Age::News, at(0));
    assert!(events.is_dirty());
    events.step(at(1), &mut service);
    let _saved = events.saved();
    assert!(!events.is_dirty());
    events.report(failed(2), Age::News, at(1));
    events.step(at(2), &mut service);
    assert_eq!(service.calls, 0);
    events.confirm_saved();
    events.step(at(3), &mut service);
    events.step(at(3), &mut service);
    assert_eq!(
        service.ids(),
        ["i-0123456789abcdef0/deployment_failed/d-000000001"]
    );
}

/// Old news is never sent: not what happened before, not what waited through a reboot or for a
/// day, not what nobody wants (any more); each is counted. Shown for all of them.
#[test]
fn old_news_is_never_sent() {
    let mut service = Model::default();
    let mut events = started(None, "one");
    events.report(failed(1), Age::Old, at(0));
    events.report(failed(2), Age::News, at(0));
    let saved = events.saved();

    let mut after = started(Some(saved.clone()), "two");
    drain(&mut after, &mut service, 10);
    let counts = after.status().counts;
    assert_eq!((counts.old, counts.before_boot), (1, 1));

    let mut late = started(Some(saved.clone()), "one");
    late.step(at(WAIT_MS_MAX), &mut service);
    assert_eq!(late.status().counts.expired, 1);
    assert!(late.is_idle());

    let mut unwanted = started(Some(saved), "one");
    unwanted.reload(EventsConfig {
        disable: [EventKind::DeploymentFailed].into(),
        ..config()
    });
    unwanted.report(failed(3), Age::News, at(1));
    drain(&mut unwanted, &mut service, 1);
    assert_eq!(service.calls, 0);

    let mut on_time = started(Some(late.saved()), "one");
    on_time.report(failed(4), Age::News, at(WAIT_MS_MAX));
    drain(&mut on_time, &mut service, WAIT_MS_MAX);
    assert_eq!(service.accepted.len(), 1);
}

/// What was sent before a restart is not sent again after it, though its records are read again: shown
/// with a restart in the same boot and one in the next.
#[test]
fn what_was_sent_is_remembered_over_a_restart() {
    for boot in ["one", "two"] {
        let mut service = Model::default();
        let mut events = started(None, "one");
        events.report(failed(1), Age::News, at(0));
        drain(&mut events, &mut service, 0);
        let mut after = started(Some(events.saved()), boot);
        after.report(failed(1), Age::News, at(1));
        drain(&mut after, &mut service, 1);
        assert_eq!(service.accepted.len(), 1);
        assert_eq!(after.status().counts.repeated, 1);
    }
}

/// That the CodeDeploy agent is well is told only after it was told that it is not, also when the
/// one was told before a boot and the other after: shown by what waits.
#[test]
fn only_who_was_sick_gets_well() {
    let sick = EventKind::CodeDeployAgentUnhealthy;
    let well = EventKind::CodeDeployAgentHealthy;
    let mut events = started(None, "boot-1");
    let mut at_ms = 0;
    let mut report = |events: &mut Events, kind| {
        at_ms += 1_000;
        let before = events.status().waiting;
        events.report(Incident::new(kind, at_ms), Age::News, at(0));
        events.status().waiting - before
    };
    assert_eq!(report(&mut events, well), 0);
    assert_eq!(report(&mut events, sick), 1);
    let mut events = started(Some(events.saved()), "boot-2");
    assert_eq!(report(&mut events, well), 1);
    assert_eq!(report(&mut events, well), 0);
    assert_eq!(report(&mut events, sick), 1);
    assert_eq!(report(&mut events, well), 1);
}

/// While it is not known where this is, an event waits, but not for long once the instance is
/// known: shown by what is sent when.
#[test]
fn it_waits_for_the_identity_a_while() {
    let mut service = Model::default();
    let mut events = Events::new(config(), None, "boot", 7);
    events.report(failed(1), Age::News, at(0));
    let _saved = events.saved();
    events.confirm_saved();
    events.step(at(60_000), &mut service);
    events.learn(&Identity {
        complete: false,
        region: None,
        ..identity()
    });
    assert_eq!(events.next_due_ms(), Some(IDENTITY_WAIT_MS));
    events.step(at(IDENTITY_WAIT_MS - 1), &mut service);
    assert_eq!(service.calls, 0);
    events.step(at(IDENTITY_WAIT_MS), &mut service);
    assert_eq!(service.calls, 1);
    assert!(service.accepted[0].resources.is_empty());
}

/// Trouble is told in status until it is over: shown around a failing call.
#[test]
fn trouble_is_told() {
    let mut service = Model {
        faults: [Fault::Fails(ErrorClass::RetrySlowly)].into(),
        ..Model::default()
    };
    let mut events = started(None, "boot");
    events.report(failed(1), Age::News, at(0));
    let _saved = events.saved();
    events.confirm_saved();
    events.step(at(0), &mut service);
    events.step(at(0), &mut service);
    assert_eq!(
        events.status().last_error.as_deref(),
        Some("Model: says no")
    );
    let problem = events.problem().expect("a problem");
    assert!(
        problem.contains("bus default: Model: says no;"),
        "{problem}"
    );
    let due_ms = events.next_due_ms().unwrap();
    assert!((1_000..=2_000).contains(&due_ms), "{due_ms}");
    drain(&mut events, &mut service, due_ms);
    assert_eq!(events.status().last_error, None);
    assert_eq!(events.problem(), None);
}

/// The size of an entry is counted as the service does: shown by hand.
#[test]
fn an_entry_is_counted_as_the_service_does() {
    let entry = EventEntry {
        time_ms: 0,
        source: "ab",
        detail_type: "cde",
        detail: "{\"ä\":1}".to_owned(),
        resources: vec!["arn:1".to_owned(), "arn:22".to_owned()],
    };
    assert_eq!(entry.counted_bytes(), 14 + 2 + 3 + 8 + 5 + 6);
}

/// One incident of each kind, as it looks in the world.
fn one_of_each() -> Vec<Incident> {
    const BEGAN_MS: EpochMs = 1_795_255_200_000;
    let log = |group: &str, stream: &str| {
        Some(Target {
            group: group.to_owned(),
            stream: stream.to_owned(),
        })
    };
    let deployment = |kind| Incident {
        deployment_id: Some("d-8ABCDEF12".to_owned()),
        deployment_group_id: Some("9fd2fbef-2157-40d8-91e7-6845af69e2d2".to_owned()),
        started_ms: Some(BEGAN_MS),
        duration_ms: Some(4_321),
        log: log("/codedeploy/scripts", "d-8ABCDEF12/i-0123456789abcdef0"),
        ..Incident::new(kind, BEGAN_MS + 4_321)
    };
    let script = |kind| Incident {
        lifecycle_event: Some("AfterInstall".to_owned()),
        script: Some("hooks/after_install.sh".to_owned()),
        ..deployment(kind)
    };
    let sentence = |kind, reason: &str| Incident {
        reason: Some(reason.to_owned()),
        log: log("/codedeploy/agent", "i-0123456789abcdef0"),
        ..Incident::new(kind, BEGAN_MS)
    };
    vec![
        Incident {
            exit_code: Some(3),
            error_code: Some("ScriptFailed".to_owned()),
            reason: Some("Script at specified location: hooks/after_install.sh failed with exit code 3".to_owned()),
            output: Some("migrating the database\nERROR: relation \"orders\" <does> not exist & more\npassword=[redacted]".to_owned()),
            ..script(EventKind::LifecycleEventFailed)
        },
        deployment(EventKind::DeploymentSucceeded),
        Incident {
            signal: Some("KILL".to_owned()),
            error_code: Some("ScriptFailed".to_owned()),
            output: Some("out of memory".to_owned()),
            ..script(EventKind::DeploymentFailed)
        },
        Incident {
            reason: Some("no sign of life for 30 minutes".to_owned()),
            ..script(EventKind::DeploymentHanging)
        },
        sentence(
            EventKind::CodeDeployAgentUnhealthy,
            "no successful poll since 2026-11-21T09:57:00Z",
        ),
        sentence(EventKind::CodeDeployAgentHealthy, "it polls again"),
        Incident {
            log: None,
            ..sentence(EventKind::ActionsSuspended, "4 boots within 60 minutes")
        },
        Incident {
            log: None,
            ..sentence(EventKind::ActionsResumed, "no boot for 60 minutes")
        },
        Incident {
            reason: Some("removed or truncated before it was read".to_owned()),
            lost: Some(Lost {
                number: 17,
                source: "app".to_owned(),
                bytes: 4_096,
            }),
            log: None,
            ..Incident::new(EventKind::BytesLost, BEGAN_MS)
        },
    ]
}

/// What EventBridge makes of an entry.
fn envelope(entry: &EventEntry) -> serde_json::Value {
    let time = jiff::Timestamp::from_millisecond(entry.time_ms).unwrap();
    serde_json::json!({
        "version": "0",
        "id": "6f5b8a0e-0000-4000-8000-000000000000",
        "detail-type": entry.detail_type,
        "source": entry.source,
        "account": "111122223333",
        "time": format!("{time:.0}"),
        "region": "eu-west-1",
        "resources": entry.resources,
        "detail": serde_json::from_str::<serde_json::Value>(&entry.detail).unwrap(),
    })
}

/// Events change only on purpose, since others read them (the account's rules and the Slack
/// function are tested with this very file): shown by one of each kind, to the letter.
/// `GOLDEN_UPDATE=1` writes it anew.
#[test]
fn events_are_as_they_were() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/account/own.ndjson");
    let mut text = String::new();
    for incident in one_of_each() {
        let entry = detail::entry(&incident.bounded(), &identity()).unwrap();
        text += &format!("{}\n", envelope(&entry));
    }
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}

/// The published schema holds for real events of every kind, and would notice another shape:
/// shown with one of each, and with each of its fields renamed or taken away.
#[test]
fn events_keep_to_the_schema() {
    let schema = EventSchema::published();
    let mut kinds = std::collections::BTreeSet::new();
    for incident in one_of_each() {
        let entry = detail::entry(&incident.bounded(), &identity()).unwrap();
        let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
        assert_eq!(schema.complaint(&detail), None, "in {detail}");
        kinds.insert(detail["kind"].to_string());
        for key in detail.as_object().unwrap().keys() {
            let mut renamed = detail.clone();
            let value = renamed.as_object_mut().unwrap().remove(key).unwrap();
            renamed["something_else"] = value;
            assert!(schema.complaint(&renamed).is_some(), "{key} renamed passes");
        }
        for key in ["version", "id", "kind", "time", "instance_id"] {
            let mut without = detail.clone();
            without.as_object_mut().unwrap().remove(key);
            assert!(schema.complaint(&without).is_some(), "{key} is not missed");
        }
    }
    assert_eq!(kinds.len(), EventKind::ALL.len());
}

proptest! {
    /// The schema holds whatever is reported: shown with incidents whose texts are hostile and
    /// whose numbers are extreme.
    #[test]
    fn hostile_events_keep_to_the_schema(
        which in 0_usize..9,
        text in "(\\PC|\u{0}|\n|\"|\\\\){0,40}",
        times in 1_usize..200,
        exit_code in any::<i32>(),
        at_ms in any::<i64>(),
        duration_ms in any::<u64>(),
    ) {
        let long = text.repeat(times);
        let mut incident = one_of_each().swap_remove(which);
        for field in [
            &mut incident.deployment_id, &mut incident.lifecycle_event, &mut incident.script,
            &mut incident.error_code, &mut incident.reason, &mut incident.output,
        ] {
            if field.is_some() {
                *field = Some(long.clone());
            }
        }
        incident.exit_code = Some(exit_code);
        incident.duration_ms = Some(duration_ms);
        incident.at_ms = at_ms;
        incident.started_ms = Some(at_ms);
        let entry = detail::entry(&incident.bounded(), &identity()).unwrap();
        prop_assert!(entry.counted_bytes() < REQUEST_BYTES_MAX / 4);
        let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
        prop_assert_eq!(EventSchema::published().complaint(&detail), None, "in {}", detail);
    }
}
