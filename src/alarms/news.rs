//! What the agent is told about its alarms, in words for its log and its stream.

use std::fmt;

use super::guard::By;
use crate::ports::alarm::ActionTaken;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The service now has the alarms as they are wanted; whole names of those that changed.
    Applied {
        /// Made or overwritten.
        put: Vec<String>,
        /// Deleted.
        deleted: Vec<String>,
    },
    /// The service refused an alarm, or a call fails again and again.
    Failed {
        /// What could not be done.
        what: String,
        /// Why.
        error: String,
    },
    /// Alarms under our prefix that are not ours; they stay as they are.
    Strangers(Vec<String>),
    /// Actions are to be suspended.
    Suspended {
        /// Who wants it.
        by: By,
        /// How many restarts counted.
        restarts: u32,
    },
    /// The service has confirmed that no action is called any more.
    SuspensionConfirmed,
    /// We have no permission to suspend: breaches of our own metrics are not published instead.
    SuspensionDenied {
        /// What the service said.
        error: String,
    },
    /// Actions are to be called again.
    Resumed {
        /// Who wants it.
        by: By,
    },
    /// This boot was preceded by an alarm's action.
    Acted(ActionTaken),
}

impl News {
    /// Whether a person must act.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::Suspended { .. } | Self::SuspensionDenied { .. }
        )
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied { put, deleted } => {
                let list = |names: &[String]| match names {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                };
                write!(
                    f,
                    "alarms applied: put {}; deleted {}",
                    list(put),
                    list(deleted)
                )
            }
            Self::Failed { what, error } => write!(f, "alarms: {what}: {error}"),
            Self::Strangers(names) => write!(
                f,
                "alarms that are not ours stay as they are: {}; `deploywatch alarms apply --adopt` takes them over",
                names.join(", ")
            ),
            Self::Suspended {
                by: By::Breaker,
                restarts,
            } => write!(
                f,
                "this instance restarted {restarts} times after a breach of its own alarms: their \
                 actions are suspended until nothing restarts for a while, or until \
                 `deploywatch alarms resume`"
            ),
            Self::Suspended { by: By::Hand, .. } => f.write_str(
                "the actions of this instance's alarms are suspended by hand, until \
                 `deploywatch alarms resume`",
            ),
            Self::SuspensionConfirmed => {
                f.write_str("CloudWatch calls no action on this instance any more")
            }
            Self::SuspensionDenied { error } => write!(
                f,
                "the role may not suspend alarms' actions ({error}): breaches of the agent's own \
                 metrics are not published instead; allow cloudwatch:DisableAlarmActions, see \
                 `deploywatch iam-policy`"
            ),
            Self::Resumed { by: By::Breaker } => f.write_str(
                "nothing has restarted for a while: the actions of this instance's alarms are \
                 resumed",
            ),
            Self::Resumed { by: By::Hand } => {
                f.write_str("the actions of this instance's alarms are resumed by hand")
            }
            Self::Acted(action) => write!(
                f,
                "this boot was preceded by an action of the alarm {}: {}",
                action.alarm, action.summary
            ),
        }
    }
}
