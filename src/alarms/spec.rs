//! From the configuration and what is known of this instance to alarms as the service takes them.

use crate::config::Identity;
use crate::config::alarm::{ALARM_NAME_MAX, Action, Alarm, AlarmsConfig, DimensionValue, arn};
use crate::config::template::{Rendered, Variable, Vars};
use crate::ports::alarm::AlarmSpec;

/// What shall be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What every name begins with: an alarm that begins otherwise is none of ours.
    pub prefix: String,
    /// The alarms, in the order of the configuration.
    pub specs: Vec<AlarmSpec>,
    /// Alarms that cannot be made on this machine; what there is of them is left as it is.
    pub impossible: Vec<Impossible>,
}

/// An alarm that cannot be made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// Its whole name.
    pub name: String,
    /// Why, a fragment for people.
    pub reason: String,
}

/// Why it cannot be said yet, or at all, what shall be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// This will still be learnt.
    #[error("{0} is not known yet")]
    Waiting(&'static str),
    /// This will not.
    #[error("{0} is not known and will not be: alarms need it")]
    Unknown(&'static str),
}

/// What shall be there according to the configuration, on this machine.
///
/// # Errors
/// As long as instance id, Region, or a value in the names or dimensions may still be learnt.
pub fn wanted(config: &AlarmsConfig, identity: &Identity) -> Result<Wanted, Unready> {
    let known = |value: &Option<String>, name| match value {
        Some(value) if !value.is_empty() => Ok(value.clone()),
        _ if identity.complete => Err(Unready::Unknown(name)),
        _ => Err(Unready::Waiting(name)),
    };
    let instance_id = known(&identity.instance_id, "instance_id")?;
    let region = known(&identity.region, "region")?;
    let vars = Vars {
        identity,
        source: "",
        file_name: "",
        deployment_id: None,
        deployment_group_id: None,
    };
    let prefix = match config.name_prefix.render(&vars) {
        Rendered::Name(prefix) => prefix,
        Rendered::Waiting(variable) => return Err(Unready::Waiting(variable)),
    };
    let mut wanted = Wanted {
        prefix,
        specs: Vec::new(),
        impossible: Vec::new(),
    };
    for alarm in &config.alarms {
        let name = format!("{}{}", wanted.prefix, alarm.name);
        let dimensions = dimensions(alarm, &vars)?;
        match spec(alarm, name.clone(), dimensions, (&instance_id, &region)) {
            Ok(spec) => wanted.specs.push(spec),
            Err(reason) => wanted.impossible.push(Impossible { name, reason }),
        }
    }
    Ok(wanted)
}

/// Whether an alarm does anything to the instance, whoever had it do so.
#[must_use]
pub fn acts_on_instance(spec: &AlarmSpec) -> bool {
    let lists = [
        &spec.alarm_actions,
        &spec.ok_actions,
        &spec.insufficient_data_actions,
    ];
    let mut actions = lists.into_iter().flatten();
    actions.any(|action| arn::ec2_action_of(action).is_some())
}

/// Names and values; an `Err` inside where this machine has no such value.
fn dimensions(
    alarm: &Alarm,
    vars: &Vars<'_>,
) -> Result<Result<Vec<(String, String)>, String>, Unready> {
    let mut all = Vec::new();
    for (name, value) in &alarm.dimensions {
        let value = match value {
            DimensionValue::Literal(value) => value,
            DimensionValue::Machine(variable) => match machine_value(variable, vars.identity) {
                Some(value) if !value.is_empty() => value,
                None if !vars.identity.complete => return Err(Unready::Waiting(variable.word())),
                _ => return Ok(Err(format!("this machine has no value for {name}"))),
            },
        };
        all.push((name.clone(), value.clone()));
    }
    Ok(Ok(all))
}

fn machine_value<'a>(variable: &Variable, identity: &'a Identity) -> Option<&'a String> {
    match variable {
        Variable::InstanceId => identity.instance_id.as_ref(),
        Variable::Hostname => identity.hostname.as_ref(),
        Variable::Region => identity.region.as_ref(),
        Variable::AccountId => identity.account_id.as_ref(),
        Variable::Asg => identity.asg.as_ref(),
        Variable::Tag(name) => identity.tags.get(name),
        Variable::DeploymentId
        | Variable::DeploymentGroupId
        | Variable::FileName
        | Variable::Source => None,
    }
}

fn spec(
    alarm: &Alarm,
    name: String,
    dimensions: Result<Vec<(String, String)>, String>,
    (instance_id, region): (&str, &str),
) -> Result<AlarmSpec, String> {
    if name.chars().count() > ALARM_NAME_MAX {
        return Err(format!(
            "its name is longer than {ALARM_NAME_MAX} characters"
        ));
    }
    if let Some(action) = alarm.ec2_action()
        && !instance_id.starts_with("i-")
    {
        return Err(format!(
            "\"{}\" needs an EC2 instance, and {instance_id} is none",
            action.word()
        ));
    }
    let arns = |actions: &[Action]| {
        let arn = |action: &Action| match action {
            Action::Ec2(action) => Ok(arn::ec2_action(*action, region)),
            Action::Arn(target) => match arn::misplaced(target, region) {
                Some(reason) => Err(reason),
                None => Ok(target.clone()),
            },
        };
        actions
            .iter()
            .map(arn)
            .collect::<Result<Vec<String>, String>>()
    };
    Ok(AlarmSpec {
        name,
        description: alarm.description.clone(),
        namespace: alarm.namespace.clone(),
        metric: alarm.metric.clone(),
        dimensions: dimensions?,
        statistic: alarm.statistic.clone(),
        comparison: alarm.comparison,
        threshold: alarm.threshold,
        period_s: alarm.period_s,
        evaluation_periods: alarm.evaluation_periods,
        datapoints_to_alarm: alarm.datapoints_to_alarm,
        missing_data: alarm.missing_data,
        warm_up_minutes: alarm.warm_up_minutes,
        alarm_actions: arns(&alarm.actions)?,
        ok_actions: arns(&alarm.ok_actions)?,
        insufficient_data_actions: arns(&alarm.insufficient_data_actions)?,
        by_hand: std::collections::BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> AlarmsConfig {
        let files = [(std::path::PathBuf::from("a.toml"), text.to_owned())];
        Config::parse(&files).unwrap().0.alarms
    }

    fn identity(region: &str) -> Identity {
        Identity {
            instance_id: Some("i-0abc".to_owned()),
            region: Some(region.to_owned()),
            complete: true,
            ..Identity::default()
        }
    }

    /// Every partition's Regions get ARNs of their own partition, and a target of another Region
    /// or partition makes the alarm impossible instead of silent: shown by a table of Regions.
    #[test]
    fn arns_are_of_the_regions_partition() {
        let text = "[[alarm]]\npreset = \"reboot-when-instance-check-fails\"\n\
                    [[alarm]]\npreset = \"notify-when-silent\"\n\
                    actions = [\"arn:aws:sns:eu-west-1:111122223333:x\"]";
        for (region, arn, possible) in [
            ("eu-west-1", "arn:aws:automate:eu-west-1:ec2:reboot", true),
            ("us-east-2", "arn:aws:automate:us-east-2:ec2:reboot", false),
            (
                "cn-north-1",
                "arn:aws-cn:automate:cn-north-1:ec2:reboot",
                false,
            ),
            (
                "us-gov-west-1",
                "arn:aws-us-gov:automate:us-gov-west-1:ec2:reboot",
                false,
            ),
            (
                "us-iso-east-1",
                "arn:aws-iso:automate:us-iso-east-1:ec2:reboot",
                false,
            ),
            (
                "us-isob-east-1",
                "arn:aws-iso-b:automate:us-isob-east-1:ec2:reboot",
                false,
            ),
            (
                "eu-isoe-west-1",
                "arn:aws-iso-e:automate:eu-isoe-west-1:ec2:reboot",
                false,
            ),
            (
                "us-isof-south-1",
                "arn:aws-iso-f:automate:us-isof-south-1:ec2:reboot",
                false,
            ),
            (
                "eusc-de-east-1",
                "arn:aws-eusc:automate:eusc-de-east-1:ec2:reboot",
                false,
            ),
        ] {
            let wanted = wanted(&config(text), &identity(region)).unwrap();
            assert_eq!(wanted.specs[0].alarm_actions, [arn]);
            assert_eq!(wanted.impossible.is_empty(), possible, "{region}");
        }
    }

    /// Names and dimensions carry this instance's id, and nothing is made up while it is not
    /// known: shown by an identity that is learnt bit by bit, and by a host that is no instance.
    #[test]
    fn an_alarm_is_this_instances_own() {
        let config = config("[[alarm]]\npreset = \"reboot-when-codedeploy-agent-dead\"");
        let mut learnt = Identity::default();
        assert_eq!(
            wanted(&config, &learnt),
            Err(Unready::Waiting("instance_id"))
        );
        learnt.instance_id = Some("i-0abc".to_owned());
        assert_eq!(wanted(&config, &learnt), Err(Unready::Waiting("region")));
        learnt.complete = true;
        assert_eq!(wanted(&config, &learnt), Err(Unready::Unknown("region")));
        learnt.region = Some("eu-west-1".to_owned());
        let all = wanted(&config, &learnt).unwrap();
        assert_eq!(all.prefix, "deploywatch/i-0abc/");
        let spec = &all.specs[0];
        assert_eq!(
            spec.name,
            "deploywatch/i-0abc/reboot-when-codedeploy-agent-dead"
        );
        assert_eq!(
            spec.dimensions,
            [("InstanceId".to_owned(), "i-0abc".to_owned())]
        );
        learnt.instance_id = Some("web-1".to_owned());
        let all = wanted(&config, &learnt).unwrap();
        assert_eq!(all.specs, []);
        assert!(all.impossible[0].reason.contains("EC2 instance"), "{all:?}");
    }
}
