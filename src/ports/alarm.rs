//! CloudWatch alarms as the middle sees them: what an alarm is, what the service can be asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CallId, ServiceError};
use crate::event::EpochMs;

/// When a datapoint breaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// A comparison with a band or of a newer kind: never made by us.
    Other,
}

impl Comparison {
    /// Whether a value breaches the threshold.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterOrEqual => value >= threshold,
            Self::Greater => value > threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
            Self::Other => false,
        }
    }

    /// As the user writes it.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Other => "(another comparison)",
        }
    }
}

/// What a period without a datapoint means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MissingData {
    /// Without data the alarm goes to INSUFFICIENT_DATA.
    Missing,
    /// Without data the alarm stays as it is.
    Ignore,
    /// As a datapoint that breaches.
    Breaching,
    /// As a datapoint that does not.
    NotBreaching,
}

impl MissingData {
    /// As the user writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "not_breaching",
        }
    }
}

/// Everything an alarm of ours consists of: PutMetricAlarm overwrites the whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmSpec {
    /// The whole name, prefix included.
    pub name: String,
    /// For people.
    pub description: String,
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// Dimensions, sorted by name.
    pub dimensions: Vec<(String, String)>,
    /// `Maximum` and so on, or a percentile such as `p99`.
    pub statistic: String,
    /// When a datapoint breaches.
    pub comparison: Comparison,
    /// What it is compared with.
    pub threshold: f64,
    /// Length of a period in seconds.
    pub period_s: u32,
    /// How many periods are looked at.
    pub evaluation_periods: u32,
    /// How many of them must breach.
    pub datapoints_to_alarm: u32,
    /// What a period without data means.
    pub missing_data: MissingData,
    /// Minutes after it was made or changed in which the alarm does nothing.
    pub warm_up_minutes: Option<u32>,
    /// ARNs that are called when it goes to ALARM, in the user's order.
    pub alarm_actions: Vec<String>,
    /// ARNs that are called when it goes to OK.
    pub ok_actions: Vec<String>,
    /// ARNs that are called when it goes to INSUFFICIENT_DATA.
    pub insufficient_data_actions: Vec<String>,
    /// Settings we never make (`Unit`, `EvaluateLowSampleCountPercentile`): kept only when what
    /// was added by hand is adopted.
    pub by_hand: BTreeMap<String, String>,
}

/// Where an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlarmState {
    /// OK
    Ok,
    /// ALARM
    Alarm,
    /// INSUFFICIENT_DATA
    InsufficientData,
}

impl AlarmState {
    /// As the service writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// An alarm as the service has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAlarm {
    /// What it consists of.
    pub spec: AlarmSpec,
    /// Its ARN, to ask for its tags by.
    pub arn: String,
    /// What it is besides a plain alarm on one metric (metric math, a query): never made by us.
    pub other_kind: Option<String>,
    /// Whether its actions are called at all.
    pub actions_enabled: bool,
    /// Where it stands.
    pub state: AlarmState,
    /// Why, in the service's words.
    pub state_reason: String,
    /// When it went there.
    pub state_since_ms: Option<EpochMs>,
}

/// One action the service called, or tried to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionTaken {
    /// The alarm's whole name.
    pub alarm: String,
    /// When.
    pub at_ms: EpochMs,
    /// The service's summary, such as `Successfully executed action arn:…`.
    pub summary: String,
}

/// Most names in one DeleteAlarms, DisableAlarmActions or EnableAlarmActions (CloudWatch API reference).
pub const NAMES_MAX: usize = 100;

/// What the alarm service can be asked. Everything but the last two is safe to ask twice.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmCall {
    /// DescribeAlarms, all pages: metric alarms whose names begin so.
    Describe {
        /// The beginning of their names.
        prefix: String,
    },
    /// ListTagsForResource of an alarm's ARN.
    Tags {
        /// Which.
        arn: String,
    },
    /// PutMetricAlarm; tags count only when the alarm is new.
    Put {
        /// The whole alarm.
        spec: Box<AlarmSpec>,
        /// Whether its actions are called.
        actions_enabled: bool,
        /// Tags of a new alarm.
        tags: BTreeMap<String, String>,
    },
    /// TagResource.
    Tag {
        /// Which.
        arn: String,
        /// With what.
        tags: BTreeMap<String, String>,
    },
    /// DeleteAlarms, at most [`NAMES_MAX`].
    Delete {
        /// Whole names.
        names: Vec<String>,
    },
    /// DisableAlarmActions, at most [`NAMES_MAX`].
    DisableActions {
        /// Whole names.
        names: Vec<String>,
    },
    /// EnableAlarmActions, at most [`NAMES_MAX`].
    EnableActions {
        /// Whole names.
        names: Vec<String>,
    },
    /// SetAlarmState: the alarm's actions are really called.
    SetState {
        /// Whole name.
        name: String,
        /// Where to.
        state: AlarmState,
        /// Why, for the alarm's history.
        reason: String,
    },
    /// DescribeAlarmHistory: actions of one alarm, newest first.
    History {
        /// Whole name.
        name: String,
        /// Not before.
        since_ms: EpochMs,
    },
}

impl AlarmCall {
    /// The IAM action that permits it.
    #[must_use]
    pub fn permission(&self) -> &'static str {
        match self {
            Self::Describe { .. } => "cloudwatch:DescribeAlarms",
            Self::Tags { .. } => "cloudwatch:ListTagsForResource",
            Self::Put { .. } => "cloudwatch:PutMetricAlarm",
            Self::Tag { .. } => "cloudwatch:TagResource",
            Self::Delete { .. } => "cloudwatch:DeleteAlarms",
            Self::DisableActions { .. } => "cloudwatch:DisableAlarmActions",
            Self::EnableActions { .. } => "cloudwatch:EnableAlarmActions",
            Self::SetState { .. } => "cloudwatch:SetAlarmState",
            Self::History { .. } => "cloudwatch:DescribeAlarmHistory",
        }
    }
}

/// What a good answer holds.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmReply {
    /// It is done.
    Done,
    /// To [`AlarmCall::Describe`].
    Alarms(Vec<ServiceAlarm>),
    /// To [`AlarmCall::Tags`].
    Tags(BTreeMap<String, String>),
    /// To [`AlarmCall::History`], newest first.
    History(Vec<ActionTaken>),
}

/// An answer, or the want of one.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmAnswer {
    /// Which call.
    pub id: CallId,
    /// What the service said.
    pub result: Result<AlarmReply, ServiceError>,
}

/// The alarm service, or something that stands in for it.
pub trait AlarmService {
    /// Starts a call. Its answer comes by [`AlarmService::answer`], exactly one per call.
    fn submit(&mut self, id: CallId, call: AlarmCall);

    /// The next answer that is there, if any.
    fn answer(&mut self) -> Option<AlarmAnswer>;
}

/// Whether a bad answer means that the permission is missing (and not the credentials).
#[must_use]
pub fn is_denied(error: &ServiceError) -> bool {
    matches!(
        error.code.as_str(),
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized"
    )
}
