//! `deploywatch iam-policy`: the least permissions this very configuration needs, as JSON.
//!
//! Nothing has a `*` that could be narrower: log groups and streams by name, metrics by namespace,
//! alarms by their prefix *and* by the actions they may carry, so that an instance can never arm
//! an alarm against another with an action it does not use. What is only known on an instance (its
//! id, a deployment's) is the `*` inside those names, because one role serves many instances.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::load::load_config;
use super::{ExitCode, IamPolicyArgs};
use crate::config::alarm::{Action, AlarmsConfig, arn};
use crate::config::template::Template;
use crate::config::{Config, Sink};

/// Where the policy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Region, or `*`.
    pub region: String,
    /// Account, or `*`.
    pub account: String,
}

impl Place {
    fn partition(&self) -> &'static str {
        match self.region.as_str() {
            "*" => "*",
            region => arn::partition_of(region),
        }
    }

    fn arn(&self, service: &str, rest: &str) -> String {
        let (partition, region, account) = (self.partition(), &self.region, &self.account);
        format!("arn:{partition}:{service}:{region}:{account}:{rest}")
    }
}

/// One statement, and why it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its name in the policy.
    pub sid: &'static str,
    /// IAM actions.
    pub actions: Vec<&'static str>,
    /// ARNs, or `*` where the service knows none.
    pub resources: Vec<String>,
    /// IAM conditions.
    pub condition: Option<Value>,
    /// What it is for, and what is lost without it.
    pub why: &'static str,
}

impl Statement {
    fn json(&self) -> Value {
        let mut json = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": self.actions,
            "Resource": self.resources,
        });
        if let Some(condition) = &self.condition {
            json["Condition"] = condition.clone();
        }
        json
    }
}

/// Which permissions for alarms are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForAlarms {
    /// What the agent itself needs.
    Agent,
    /// Also what `alarms apply` needs.
    Apply,
}

/// The whole policy document.
#[must_use]
pub fn document(statements: &[Statement]) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": statements.iter().map(Statement::json).collect::<Vec<_>>(),
    })
}

/// What an instance with this configuration must be permitted.
#[must_use]
pub fn statements(config: &Config, place: &Place, alarms: ForAlarms) -> Vec<Statement> {
    let mut all = Vec::new();
    if config.logs.sink == Sink::CloudWatch {
        all.extend(for_logs(config, place));
    }
    if config.puts_metrics() {
        all.push(Statement {
            sid: "PublishMetrics",
            actions: vec!["cloudwatch:PutMetricData"],
            resources: vec!["*".to_owned()],
            condition: Some(json!({
                "StringEquals": { "cloudwatch:namespace": config.metrics.namespace }
            })),
            why: "metrics; the service knows no resource for it, the namespace is the limit",
        });
    }
    all.extend(for_events(config, place));
    all.extend(for_alarms(&config.alarms, place, alarms));
    all
}

fn for_events(config: &Config, place: &Place) -> Option<Statement> {
    let bus = &config.events.bus;
    let arn = match bus.starts_with("arn:") {
        true => bus.to_string(),
        false => place.arn("events", &format!("event-bus/{bus}")),
    };
    config.tells_events().then(|| Statement {
        sid: "TellIncidents",
        actions: vec!["events:PutEvents"],
        resources: vec![arn],
        condition: Some(json!({ "StringEquals": { "events:source": crate::events::SOURCE } })),
        why: "events about incidents, in our own name only",
    })
}

fn for_logs(config: &Config, place: &Place) -> Vec<Statement> {
    let mut groups = BTreeSet::new();
    let mut streams = BTreeSet::new();
    let (mut retention, mut tags) = (false, false);
    for source in config.all_sources() {
        let (group, stream) = (pattern(&source.group), pattern(&source.stream));
        streams.insert(place.arn("logs", &format!("log-group:{group}:log-stream:{stream}")));
        // With and without what is below it: services write it both ways.
        groups.insert(place.arn("logs", &format!("log-group:{group}")));
        groups.insert(place.arn("logs", &format!("log-group:{group}:*")));
        retention |= source.group_options.retention_days.is_some();
        tags |= !source.group_options.tags.is_empty();
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut create = vec!["logs:CreateLogGroup", "logs:CreateLogStream"];
    if retention {
        create.push("logs:PutRetentionPolicy");
    }
    if tags {
        create.push("logs:TagResource");
    }
    vec![
        Statement {
            sid: "ShipLogs",
            actions: vec!["logs:PutLogEvents"],
            resources: streams.into_iter().collect(),
            condition: None,
            why: "every line; nothing works without it",
        },
        Statement {
            sid: "CreateLogTargets",
            actions: create,
            resources: groups.into_iter().collect(),
            condition: None,
            why: "groups and streams that are not there yet, and what they are made with",
        },
    ]
}

fn for_alarms(config: &AlarmsConfig, place: &Place, alarms: ForAlarms) -> Vec<Statement> {
    if config.alarms.is_empty() {
        return Vec::new();
    }
    let prefix = pattern(&config.name_prefix);
    let ours = vec![place.arn("cloudwatch", &format!("alarm:{prefix}*"))];
    let mut all = Vec::new();
    if config.acts_on_instance() {
        all.push(Statement {
            sid: "SuspendAlarmActions",
            actions: vec![
                "cloudwatch:DisableAlarmActions",
                "cloudwatch:EnableAlarmActions",
            ],
            resources: ours.clone(),
            condition: None,
            why: "the loop breaker; without it breaches are not published instead",
        });
        all.push(Statement {
            sid: "ReadAlarmHistory",
            actions: vec!["cloudwatch:DescribeAlarmHistory"],
            resources: ours.clone(),
            condition: None,
            why: "to say which action preceded a boot; may be left out",
        });
    }
    if config.manage || alarms == ForAlarms::Apply {
        all.extend(for_making(config, place, ours));
    }
    all
}

/// What making and keeping alarms takes.
fn for_making(config: &AlarmsConfig, place: &Place, ours: Vec<String>) -> Vec<Statement> {
    vec![
        Statement {
            sid: "LookAtAlarms",
            actions: vec!["cloudwatch:DescribeAlarms"],
            resources: vec![place.arn("cloudwatch", "alarm:*")],
            condition: None,
            why: "to change only what differs; a list by prefix is asked of all alarms, not of ours",
        },
        Statement {
            sid: "MakeAlarms",
            actions: vec!["cloudwatch:PutMetricAlarm"],
            resources: ours.clone(),
            condition: Some(json!({
                "ForAllValues:StringLike": { "cloudwatch:AlarmActions": action_arns(config, place) }
            })),
            why: "alarms of our names, with no action but those of the configuration",
        },
        Statement {
            sid: "TagAlarms",
            actions: vec!["cloudwatch:TagResource"],
            resources: ours.clone(),
            condition: Some(json!({
                "ForAllValues:StringEquals": { "aws:TagKeys": [crate::alarms::apply::OWNER_TAG.0] }
            })),
            why: "the tag that says which alarms are ours",
        },
        Statement {
            sid: "KeepAlarms",
            actions: vec!["cloudwatch:DeleteAlarms", "cloudwatch:ListTagsForResource"],
            resources: ours,
            condition: None,
            why: "to see which alarms are ours, and delete those the configuration has no more",
        },
    ]
}

/// Every action an alarm of the configuration may carry.
fn action_arns(config: &AlarmsConfig, place: &Place) -> Vec<String> {
    let lists = config.alarms.iter().flat_map(|alarm| {
        [
            &alarm.actions,
            &alarm.ok_actions,
            &alarm.insufficient_data_actions,
        ]
    });
    let arns = lists.flatten().map(|action| match action {
        Action::Arn(arn) => arn.clone(),
        Action::Ec2(action) if place.region == "*" => {
            format!("arn:*:automate:*:ec2:{}", action.word())
        }
        Action::Ec2(action) => arn::ec2_action(*action, &place.region),
    });
    let distinct: BTreeSet<String> = arns.collect();
    distinct.into_iter().collect()
}

/// What must be permitted once in an account, to whoever sets it up: not to instances.
#[must_use]
pub fn one_off(place: &Place) -> Statement {
    let (partition, account) = (place.partition(), &place.account);
    let role = "role/aws-service-role/events.amazonaws.com/AWSServiceRoleForCloudWatchEvents";
    Statement {
        sid: "LetAlarmsActOnInstances",
        actions: vec!["iam:CreateServiceLinkedRole"],
        resources: vec![format!("arn:{partition}:iam::{account}:{role}")],
        condition: Some(json!({
            "StringEquals": { "iam:AWSServiceName": "events.amazonaws.com" }
        })),
        why: "CloudWatch stops, reboots, terminates and recovers instances with this role, which \
              must be made once in an account: aws iam create-service-linked-role \
              --aws-service-name events.amazonaws.com",
    }
}

/// A template as an IAM pattern: every variable is a `*`.
fn pattern(template: &Template) -> String {
    let mut pattern = String::new();
    for (index, piece) in template.text().split('{').enumerate() {
        match piece.split_once('}') {
            Some((_variable, literal)) if index > 0 => {
                if !pattern.ends_with('*') {
                    pattern.push('*');
                }
                pattern.push_str(literal);
            }
            _ => pattern.push_str(piece),
        }
    }
    pattern
}

/// Runs the command.
///
/// # Errors
/// When nothing can be written.
pub fn run(args: &IamPolicyArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let config = match load_config(args.config.path.as_deref()) {
        Ok((config, _notes)) => config,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(error.exit_code());
        }
    };
    let region = args.region.clone().or_else(|| config.aws.region.clone());
    let place = Place {
        region: region.unwrap_or_else(|| "*".to_owned()),
        account: args.account.clone().unwrap_or_else(|| "*".to_owned()),
    };
    if place.region == "*" || place.account == "*" {
        writeln!(err, "narrower with --region and --account")?;
    }
    let wanted = match args.with_apply {
        true => ForAlarms::Apply,
        false => ForAlarms::Agent,
    };
    let statements = match args.one_off {
        true => vec![one_off(&place)],
        false => statements(&config, &place, wanted),
    };
    if args.explain {
        for statement in &statements {
            let actions = statement.actions.join(", ");
            writeln!(out, "{}: {actions}: {}", statement.sid, statement.why)?;
        }
        return Ok(ExitCode::Ok);
    }
    writeln!(out, "{:#}", document(&statements))?;
    if !args.one_off && config.alarms.acts_on_instance() {
        let said = "alarms that act on instances need a role, once in an account: \
                    `deploywatch iam-policy --one-off`";
        writeln!(err, "{said}")?;
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(&[(PathBuf::from("a.toml"), text.to_owned())])
            .unwrap()
            .0
    }

    fn place() -> Place {
        Place {
            region: "cn-north-1".to_owned(),
            account: "111122223333".to_owned(),
        }
    }

    fn sids(text: &str, alarms: ForAlarms) -> Vec<&'static str> {
        let all = statements(&config(text), &place(), alarms);
        all.iter().map(|statement| statement.sid).collect()
    }

    const REBOOT: &str = "[alarms]\nmanage = true\n[[alarm]]\n\
        preset = \"reboot-when-codedeploy-agent-dead\"\n\
        actions = [\"reboot\", \"arn:aws-cn:sns:cn-north-1:111122223333:oncall\"]\n";

    /// Only what the configuration uses is asked for: shown by the statements of several.
    #[test]
    fn only_what_is_used_is_asked_for() {
        let unmanaged = REBOOT.replace("manage = true", "manage = false");
        let logs = ["ShipLogs", "CreateLogTargets"];
        let metrics = ["PublishMetrics"];
        let guard = ["SuspendAlarmActions", "ReadAlarmHistory"];
        let keep = ["LookAtAlarms", "MakeAlarms", "TagAlarms", "KeepAlarms"];
        assert_eq!(sids("", ForAlarms::Apply), [&logs[..], &metrics].concat());
        assert_eq!(
            sids(REBOOT, ForAlarms::Agent),
            [&logs[..], &metrics, &guard, &keep].concat()
        );
        assert_eq!(
            sids(&unmanaged, ForAlarms::Agent),
            [&logs[..], &metrics, &guard].concat()
        );
        assert_eq!(
            sids(&unmanaged, ForAlarms::Apply),
            sids(REBOOT, ForAlarms::Agent)
        );
        let dry = "[logs]\nsink = \"directory\"\n[events]\nenabled = true\n";
        assert_eq!(sids(dry, ForAlarms::Agent), [""; 0]);
        let quiet = "[metrics]\nenabled = false\n";
        assert_eq!(sids(quiet, ForAlarms::Agent), logs);
    }

    /// Names, namespace and actions are as narrow as they can be, in the Region's own partition:
    /// shown by the whole document of a small configuration.
    #[test]
    fn the_policy_is_narrow() {
        let text = format!(
            "[codedeploy]\nenabled = false\n[[source]]\nname = \"app\"\n\
             paths = [\"/x/y\"]\ngroup = \"/app/{{asg|none}}\"\nretention_days = 7\n\
             stream = \"{{deployment_id}}/{{instance_id}}{{hostname}}\"\n{}",
            REBOOT.replace(
                "preset = \"reboot-when-codedeploy-agent-dead\"",
                "name = \"lost\"\nmetric = \"LostBytes\"\ncomparison = \">\"\nthreshold = 0"
            )
        );
        let all = statements(&config(&text), &place(), ForAlarms::Agent);
        let json = document(&all);
        let of = |sid: &str| {
            let all = json["Statement"].as_array().unwrap();
            all.iter()
                .find(|statement| statement["Sid"] == sid)
                .unwrap()
                .clone()
        };
        let logs = "arn:aws-cn:logs:cn-north-1:111122223333:log-group:/app/*";
        assert_eq!(
            of("ShipLogs")["Resource"],
            json!([format!("{logs}:log-stream:*/*")])
        );
        assert_eq!(
            of("CreateLogTargets")["Resource"],
            json!([logs, format!("{logs}:*")])
        );
        assert_eq!(
            of("CreateLogTargets")["Action"][2],
            "logs:PutRetentionPolicy"
        );
        assert_eq!(
            of("PublishMetrics")["Condition"]["StringEquals"]["cloudwatch:namespace"],
            "Deploywatch"
        );
        let alarms = "arn:aws-cn:cloudwatch:cn-north-1:111122223333:alarm:deploywatch/*/*";
        assert_eq!(of("MakeAlarms")["Resource"], json!([alarms]));
        assert_eq!(
            of("MakeAlarms")["Condition"]["ForAllValues:StringLike"]["cloudwatch:AlarmActions"],
            json!([
                "arn:aws-cn:automate:cn-north-1:ec2:reboot",
                "arn:aws-cn:sns:cn-north-1:111122223333:oncall"
            ])
        );
        for statement in &all {
            assert!(!statement.why.is_empty());
            let wide = statement.resources.iter().any(|resource| resource == "*");
            assert!(!wide || statement.condition.is_some(), "{}", statement.sid);
        }
    }

    /// Events ask for one bus, by name in this place or by ARN, and for our own source only: shown
    /// for both, and that without events nothing is asked for.
    #[test]
    fn events_ask_for_one_bus() {
        assert!(!sids("[events]\nbus = \"x\"\n", ForAlarms::Agent).contains(&"TellIncidents"));
        let elsewhere = "arn:aws-cn:events:cn-northwest-1:444455556666:event-bus/x";
        for (bus, arn) in [
            ("x", "arn:aws-cn:events:cn-north-1:111122223333:event-bus/x"),
            (elsewhere, elsewhere),
        ] {
            let text = format!("[events]\nenabled = true\nbus = \"{bus}\"\n");
            let all = statements(&config(&text), &place(), ForAlarms::Agent);
            let json = document(&all)["Statement"][3].clone();
            assert_eq!(json["Action"], json!(["events:PutEvents"]));
            assert_eq!(json["Resource"], json!([arn]));
            assert_eq!(
                json["Condition"]["StringEquals"]["events:source"],
                "deploywatch"
            );
        }
    }

    /// Making the service-linked role is no part of the instances' policy: shown by both.
    #[test]
    fn the_one_off_stands_apart() {
        let all = statements(&config(REBOOT), &place(), ForAlarms::Apply);
        assert!(
            all.iter()
                .all(|s| s.actions.iter().all(|a| !a.starts_with("iam:")))
        );
        let once = one_off(&place());
        assert_eq!(
            once.resources,
            [
                "arn:aws-cn:iam::111122223333:role/aws-service-role/events.amazonaws.com/AWSServiceRoleForCloudWatchEvents"
            ]
        );
    }
}
