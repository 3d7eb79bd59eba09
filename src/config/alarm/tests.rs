//! What alarms mean, and which are refused.

use std::path::PathBuf;

use super::*;
use crate::config::{Config, Note};

fn parse(text: &str) -> (AlarmsConfig, Vec<Note>) {
    let files = [(PathBuf::from("a.toml"), text.to_owned())];
    match Config::parse(&files) {
        Ok((config, notes)) => (config.alarms, notes),
        Err(mistakes) => panic!("{text}\n{mistakes:#?}"),
    }
}

/// Every preset is a valid alarm in one line (a notifying one with whom to tell), acts only in
/// ALARM, and one that acts on the instance never re-arms on missing data: shown by reading each
/// alone.
#[test]
fn every_preset_is_one_line() {
    for preset in PRESETS {
        let tells = match preset.action {
            None => "actions = [\"arn:aws:sns:eu-west-1:111122223333:oncall\"]",
            Some(_) => "",
        };
        let text = format!(
            "[alarms]\nallow_terminate = true\n[[alarm]]\npreset = \"{}\"\n{tells}",
            preset.name
        );
        let (config, _notes) = parse(&text);
        let alarm = &config.alarms[0];
        assert_eq!(&*alarm.name, preset.name);
        assert!(!alarm.description.is_empty());
        assert_eq!(alarm.ec2_action(), preset.action);
        assert!(alarm.ok_actions.is_empty() && alarm.insufficient_data_actions.is_empty());
        if preset.action.is_some() {
            assert_eq!(alarm.datapoints_to_alarm, alarm.evaluation_periods);
            assert_eq!(alarm.missing_data, MissingData::Ignore);
            assert!(alarm.evaluation_periods >= 2, "{} is hasty", preset.name);
        }
        let other_period = text.replace("[[alarm]]", "[metrics]\nperiod = \"5m\"\n[[alarm]]");
        let own = alarm.is_own_metric;
        assert_eq!(
            parse(&other_period).0.alarms[0].period_s,
            if own { 300 } else { 60 }
        );
    }
}

/// All presets that act live together: shown by one file with all of them, but for the two
/// presets that would do different things about the same hanging deployment.
#[test]
fn acting_presets_live_together() {
    let mut text = "[alarms]\nallow_terminate = true\n".to_owned();
    let acting = PRESETS.iter().filter(|preset| preset.action.is_some());
    for preset in acting.filter(|preset| preset.name != "stop-when-deployment-hangs") {
        text += &format!("[[alarm]]\npreset = \"{}\"\n", preset.name);
    }
    assert_eq!(parse(&text).0.alarms.len(), 5);
}

/// Every key arrives where it belongs: shown by a file that sets all of them and by the alarm it
/// becomes.
#[test]
fn every_key_arrives() {
    let (config, notes) = parse(
        r#"
        [metrics]
        dimensions = [["InstanceId"], ["AutoScalingGroupName", "tag:Stage"]]
        [alarms]
        manage = true
        allow_terminate = true
        max_restarts = 5
        window = "2h"
        name_prefix = "shop/{instance_id}/"
        [[alarm]]
        name = "errors"
        description = "too many"
        metric = "LostBytes"
        dimensions = ["tag:Stage", "AutoScalingGroupName"]
        statistic = "p99.9"
        comparison = ">"
        threshold = 0.5
        period = "5m"
        evaluation_periods = 4
        datapoints_to_alarm = 3
        missing_data = "breaching"
        warm_up = "10m"
        actions = ["arn:aws:sns:eu-west-1:111122223333:a"]
        ok_actions = ["arn:aws:sns:eu-west-1:111122223333:b"]
        insufficient_data_actions = ["arn:aws:lambda:eu-west-1:111122223333:function:f"]
        [[alarm]]
        name = "disk"
        namespace = "CWAgent"
        metric = "disk_used_percent"
        dimensions = { path = "/", InstanceId = "{instance_id}" }
        comparison = ">="
        threshold = 90
        [[alarm]]
        name = "install"
        metric = "LifecycleEventSeconds"
        dimensions = { LifecycleEvent = "Install" }
        comparison = ">="
        threshold = 90
        [[alarm]]
        preset = "terminate-when-deployment-fails"
        enabled = false
        "#,
    );
    assert!(config.manage && config.allow_terminate);
    assert_eq!(config.max_restarts, 5);
    assert_eq!(config.window, Duration::from_secs(7200));
    assert_eq!(config.name_prefix.text(), "shop/{instance_id}/");
    let [errors, disk, install] = &config.alarms[..] else {
        panic!("{config:#?}");
    };
    let arn = |rest: &str| vec![Action::Arn(format!("arn:aws:{rest}"))];
    let machine = |variable| DimensionValue::Machine(variable);
    let expected = Alarm {
        name: "errors".into(),
        description: "too many".to_owned(),
        namespace: "Deploywatch".to_owned(),
        metric: "LostBytes".to_owned(),
        is_own_metric: true,
        datapoint_s: 60,
        dimensions: vec![
            ("AutoScalingGroupName".to_owned(), machine(Variable::Asg)),
            (
                "Stage".to_owned(),
                machine(Variable::Tag("Stage".to_owned())),
            ),
        ],
        statistic: "p99.9".to_owned(),
        comparison: Comparison::Greater,
        threshold: 0.5,
        period_s: 300,
        evaluation_periods: 4,
        datapoints_to_alarm: 3,
        missing_data: MissingData::Breaching,
        warm_up_minutes: Some(10),
        actions: arn("sns:eu-west-1:111122223333:a"),
        ok_actions: arn("sns:eu-west-1:111122223333:b"),
        insufficient_data_actions: arn("lambda:eu-west-1:111122223333:function:f"),
    };
    assert_eq!(**errors, expected);
    assert!(!disk.is_own_metric);
    assert_eq!(
        disk.dimensions[1].1,
        DimensionValue::Literal("/".to_owned())
    );
    assert_eq!(disk.dimensions[0].1, machine(Variable::InstanceId));
    assert_eq!(disk.statistic, "Average");
    assert_eq!(disk.missing_data, MissingData::Missing);
    assert_eq!(install.dimensions[0].0, "LifecycleEvent");
    let said: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    assert!(said[0].contains("disk calls nobody"), "{said:?}");
}

/// An EC2 action's ARN is known in both of its forms and in every partition, and nothing else is
/// taken for one: shown by a table.
#[test]
fn ec2_actions_are_known_by_their_arns() {
    for action in Ec2Action::ALL {
        for region in ["eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"] {
            assert_eq!(
                arn::ec2_action_of(&arn::ec2_action(action, region)),
                Some(action)
            );
        }
    }
    let swf = "arn:aws-cn:swf:cn-north-1:111122223333:action/actions/AWS_EC2.InstanceId.Stop/1.0";
    assert_eq!(arn::ec2_action_of(swf), Some(Ec2Action::Stop));
    for other in [
        "arn:aws:sns:eu-west-1:111122223333:reboot",
        "arn:aws:automate:eu-west-1:ec2:rebooot",
        "arn:aws:automate:eu-west-1",
        "reboot",
    ] {
        assert_eq!(arn::ec2_action_of(other), None, "{other}");
    }
}

/// Off unless asked for: shown by the defaults.
#[test]
fn nothing_acts_by_default() {
    let alarms = Config::default().alarms;
    assert!(!alarms.manage && !alarms.allow_terminate && alarms.alarms.is_empty());
    assert_eq!((alarms.max_restarts, alarms.window.as_secs()), (3, 3600));
    assert!(alarms.variables().is_empty() && !alarms.acts_on_instance());
    let (alarms, _) = parse("[[alarm]]\npreset = \"stop-when-deployment-hangs\"");
    assert!(alarms.acts_on_instance());
    assert!(alarms.variables().contains(&Variable::Region));
}
