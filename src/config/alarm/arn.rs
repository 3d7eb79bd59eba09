//! The forms of ARNs: which partition a Region is in, what EC2 actions and targets look like.
//!
//! An ARN of another partition is accepted by CloudWatch and never works; so the partition is
//! taken from the Region, as the SDK does.

use super::Ec2Action;

/// The beginnings of Regions' names with their partitions; all others are `aws`. (AWS SDK endpoint
/// rules, `partitions.json`.)
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

/// Services an alarm on one metric can call, with an example each (CloudWatch API reference,
/// PutMetricAlarm).
const TARGETS: [(&str, &str); 6] = [
    ("sns", "arn:aws:sns:eu-west-1:111122223333:oncall"),
    (
        "lambda",
        "arn:aws:lambda:eu-west-1:111122223333:function:NAME",
    ),
    (
        "ssm",
        "arn:aws:ssm:eu-west-1:111122223333:opsitem:2#CATEGORY=Availability",
    ),
    (
        "ssm-incidents",
        "arn:aws:ssm-incidents::111122223333:response-plan/NAME",
    ),
    (
        "autoscaling",
        "arn:aws:autoscaling:eu-west-1:111122223333:scalingPolicy:…",
    ),
    (
        "aiops",
        "arn:aws:aiops:eu-west-1:111122223333:investigation-group:ID",
    ),
];

/// The partition of a Region.
#[must_use]
pub fn partition_of(region: &str) -> &'static str {
    PARTITIONS
        .iter()
        .find(|(head, _)| region.starts_with(head))
        .map_or("aws", |(_, partition)| partition)
}

/// The ARN of an alarm.
#[must_use]
pub fn alarm(name: &str, region: &str, account: &str) -> String {
    let partition = partition_of(region);
    format!("arn:{partition}:cloudwatch:{region}:{account}:alarm:{name}")
}

/// The ARN that makes CloudWatch do something to the instance in the alarm's dimension.
#[must_use]
pub fn ec2_action(action: Ec2Action, region: &str) -> String {
    let partition = partition_of(region);
    format!("arn:{partition}:automate:{region}:ec2:{}", action.word())
}

/// What an EC2 action's ARN does, whoever wrote it, in either of its two forms
/// (`automate:…:ec2:reboot` and `swf:…:AWS_EC2.InstanceId.Reboot`).
#[must_use]
pub fn ec2_action_of(arn: &str) -> Option<Ec2Action> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, service, _, account, rest] = fields[..] else {
        return None;
    };
    let word = match service {
        "automate" if account == "ec2" => rest,
        "swf" => rest.strip_prefix("action/actions/AWS_EC2.InstanceId.")?,
        _ => return None,
    };
    let word = word.split('/').next().unwrap_or_default();
    Ec2Action::ALL
        .into_iter()
        .find(|action| action.word().eq_ignore_ascii_case(word))
}

/// A target's ARN, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) partition: &'a str,
    pub(super) service: &'a str,
    /// Empty where the service knows none.
    pub(super) region: &'a str,
}

/// Takes a target's ARN apart; `None` where it is no ARN or its account is not one.
pub(super) fn target(arn: &str) -> Option<Target<'_>> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, rest] = fields[..] else {
        return None;
    };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let printable = arn.bytes().all(|b| b.is_ascii_graphic());
    let good = partition.starts_with("aws")
        && is_account
        && !rest.is_empty()
        && printable
        && arn.len() <= 1024;
    good.then_some(Target {
        partition,
        service,
        region,
    })
}

/// Why an alarm in a Region cannot call a target, for people; `None`: it can.
#[must_use]
pub fn misplaced(arn: &str, region: &str) -> Option<String> {
    let target = target(arn)?;
    let partition = partition_of(region);
    if target.partition != partition {
        let theirs = target.partition;
        return Some(format!(
            "\"{arn}\" is in the partition {theirs}, {region} is in {partition}"
        ));
    }
    (!target.region.is_empty() && target.region != region).then(|| {
        let theirs = target.region;
        format!("\"{arn}\" is in {theirs}, the alarm is made in {region}")
    })
}

/// Whether alarms can call a service; `None` is yes, else what they can call.
pub(super) fn refuse_service(service: &str) -> Option<String> {
    if TARGETS.iter().any(|(known, _)| *known == service) {
        return None;
    }
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    Some(names.join(", "))
}

/// An example of a target.
pub(super) fn example() -> &'static str {
    TARGETS[0].1
}
