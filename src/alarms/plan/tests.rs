//! Laws of the plan, held against a model of the service.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::alarms::spec::Impossible;
use crate::ports::alarm::{AlarmState, Comparison, MissingData};

const PREFIX: &str = "deploywatch/i-0abc/";

fn spec(name: &str) -> AlarmSpec {
    AlarmSpec {
        name: format!("{PREFIX}{name}"),
        description: "d".to_owned(),
        namespace: "Deploywatch".to_owned(),
        metric: "Heartbeat".to_owned(),
        dimensions: vec![("InstanceId".to_owned(), "i-0abc".to_owned())],
        statistic: "Sum".to_owned(),
        comparison: Comparison::Less,
        threshold: 1.0,
        period_s: 60,
        evaluation_periods: 3,
        datapoints_to_alarm: 3,
        missing_data: MissingData::Ignore,
        warm_up_minutes: None,
        alarm_actions: vec!["arn:aws:automate:eu-west-1:ec2:reboot".to_owned()],
        ok_actions: Vec::new(),
        insufficient_data_actions: Vec::new(),
        by_hand: BTreeMap::new(),
    }
}

fn present(spec: AlarmSpec, owner: Owner) -> Present {
    Present {
        alarm: ServiceAlarm {
            arn: format!(
                "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:{}",
                spec.name
            ),
            spec,
            other_kind: None,
            actions_enabled: true,
            state: AlarmState::Ok,
            state_reason: String::new(),
            state_since_ms: None,
        },
        owner,
    }
}

/// The service, as far as a plan can change it.
fn apply(mut there: Vec<Present>, plan: &Plan) -> Vec<Present> {
    for change in &plan.changes {
        match change {
            Change::Create(spec) => {
                assert!(there.iter().all(|p| p.alarm.spec.name != spec.name));
                there.push(present(spec.clone(), Owner::Us));
            }
            Change::Delete(spec) => there.retain(|p| p.alarm.spec.name != spec.name),
            Change::Update { spec, .. } | Change::Adopt { spec, .. } => {
                let found = there.iter_mut().find(|p| p.alarm.spec.name == spec.name);
                let found = found.expect("only what is there is updated");
                found.alarm.spec = spec.clone();
                found.alarm.other_kind = None;
                found.owner = Owner::Us;
            }
        }
    }
    there
}

fn any_spec(names: &'static str) -> impl Strategy<Value = AlarmSpec> {
    let arns = || {
        let arn = prop_oneof![
            Just("arn:aws:automate:eu-west-1:ec2:reboot".to_owned()),
            Just("arn:aws:swf:eu-west-1:111122223333:action/actions/AWS_EC2.InstanceId.Terminate/1.0".to_owned()),
            "arn:aws:sns:eu-west-1:111122223333:[a-d]",
        ];
        proptest::collection::btree_set(arn, 0..=5).prop_map(|set| set.into_iter().collect())
    };
    (
        names,
        (1..5_u32, 1..4_u32, -2..3_i32),
        arns(),
        arns(),
        prop_oneof![Just(MissingData::Ignore), Just(MissingData::Breaching)],
        proptest::option::of(1..3_u32),
    )
        .prop_map(
            |(name, (period, periods, threshold), actions, ok, missing, warm_up)| AlarmSpec {
                period_s: period * 60,
                evaluation_periods: periods,
                threshold: f64::from(threshold) / 2.0,
                alarm_actions: actions,
                ok_actions: ok,
                missing_data: missing,
                warm_up_minutes: warm_up,
                ..spec(&name)
            },
        )
}

fn any_present() -> impl Strategy<Value = Present> {
    let by_hand = proptest::option::of(Just(("Unit".to_owned(), "Count".to_owned())));
    let kind = proptest::option::of(Just("metric math".to_owned()));
    (
        any_spec("[a-e]"),
        any::<bool>(),
        any::<bool>(),
        by_hand,
        kind,
    )
        .prop_map(|(mut spec, ours, elsewhere, by_hand, other_kind)| {
            if elsewhere {
                spec.name = spec.name.replace(PREFIX, "deploywatch/i-0abcd/");
            }
            spec.by_hand = by_hand.into_iter().collect();
            let mut there = present(spec, if ours { Owner::Us } else { Owner::Other });
            there.alarm.other_kind = other_kind;
            there
        })
}

fn distinct<T>(all: Vec<T>, name: impl Fn(&T) -> String) -> Vec<T> {
    let by_name: BTreeMap<String, T> = all.into_iter().map(|item| (name(&item), item)).collect();
    by_name.into_values().collect()
}

fn any_case() -> impl Strategy<Value = (Wanted, Vec<Present>)> {
    let wanted = proptest::collection::vec((any_spec("[a-e]"), 0..5), 0..6);
    (wanted, proptest::collection::vec(any_present(), 0..8)).prop_map(|(wanted, there)| {
        let wanted = distinct(wanted, |(spec, _)| spec.name.clone());
        let (impossible, possible): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(_, die)| *die == 0);
        let wanted = Wanted {
            prefix: PREFIX.to_owned(),
            specs: possible.into_iter().map(|(spec, _)| spec).collect(),
            impossible: impossible
                .into_iter()
                .map(|(spec, _)| Impossible {
                    name: spec.name,
                    reason: "x".to_owned(),
                })
                .collect(),
        };
        (
            wanted,
            distinct(there, |there| there.alarm.spec.name.clone()),
        )
    })
}

proptest! {
    /// Applying a plan leaves nothing to plan, whatever was there: any wanted alarms against any
    /// service, reverting and adopting.
    #[test]
    fn applying_a_plan_leaves_nothing_to_do((wanted, there) in any_case(), adopt in any::<bool>()) {
        let by_hand = if adopt { ByHand::Adopt } else { ByHand::Revert };
        let after = apply(there.clone(), &plan(&wanted, &there, by_hand));
        let again = plan(&wanted, &after, by_hand);
        prop_assert!(again.is_empty(), "{again:?}");
    }

    /// What is not ours is never touched: no change names an alarm outside the prefix, one that
    /// cannot be made here, or (unless adopting) one without our tag.
    #[test]
    fn what_is_not_ours_stays((wanted, there) in any_case(), adopt in any::<bool>()) {
        let by_hand = if adopt { ByHand::Adopt } else { ByHand::Revert };
        let planned = plan(&wanted, &there, by_hand);
        for change in &planned.changes {
            prop_assert!(change.name().starts_with(PREFIX));
            prop_assert!(wanted.impossible.iter().all(|alarm| alarm.name != change.name()));
            let stranger = there
                .iter()
                .any(|p| p.alarm.spec.name == change.name() && p.owner == Owner::Other);
            let adopts = matches!(change, Change::Adopt { .. });
            prop_assert!(!stranger || adopts);
        }
    }

    /// Adopting never adopts an action on the instance: the only ones are those wanted.
    #[test]
    fn no_action_on_the_instance_is_adopted((wanted, there) in any_case()) {
        for change in plan(&wanted, &there, ByHand::Adopt).changes {
            let (Change::Update { spec, .. } | Change::Adopt { spec, .. }) = change else {
                continue;
            };
            let asked = wanted.specs.iter().find(|other| other.name == spec.name).unwrap();
            for (got, asked) in [
                (&spec.alarm_actions, &asked.alarm_actions),
                (&spec.ok_actions, &asked.ok_actions),
            ] {
                prop_assert!(got.len() <= ACTIONS_MAX);
                for action in got.iter().filter(|a| arn::ec2_action_of(a).is_some()) {
                    prop_assert!(asked.contains(action));
                }
            }
        }
    }
}

/// A difference names the key and both values, in the words of the configuration: shown by one
/// alarm with three of them.
#[test]
fn a_difference_names_key_and_values() {
    let wanted = Wanted {
        prefix: PREFIX.to_owned(),
        specs: vec![spec("a")],
        impossible: Vec::new(),
    };
    let mut there = present(spec("a"), Owner::Us);
    there.alarm.spec.threshold = 0.5;
    there.alarm.spec.ok_actions = vec!["arn:aws:sns:eu-west-1:111122223333:x".to_owned()];
    there.alarm.spec.by_hand = [("Unit".to_owned(), "Count".to_owned())].into();
    let planned = plan(&wanted, std::slice::from_ref(&there), ByHand::Revert);
    let [Change::Update { differences, .. }] = &planned.changes[..] else {
        panic!("{planned:?}");
    };
    let texts: Vec<String> = differences
        .iter()
        .map(|d| format!("{}: {} -> {}", d.key, d.from, d.to))
        .collect();
    assert_eq!(
        texts,
        [
            "threshold: 0.5 -> 1",
            "ok_actions: arn:aws:sns:eu-west-1:111122223333:x -> ",
            "added by hand: Unit=Count -> ",
        ]
    );
    let adopting = plan(&wanted, &[there], ByHand::Adopt);
    let [Change::Update { differences, .. }] = &adopting.changes[..] else {
        panic!("{adopting:?}");
    };
    assert_eq!(differences.len(), 1, "{differences:?}");
}
