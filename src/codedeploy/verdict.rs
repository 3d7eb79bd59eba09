//! What is said of the CodeDeploy agent.

use serde::{Deserialize, Serialize};

/// The CodeDeploy agent's health, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does its work.
    Healthy(String),
    /// It cannot do any.
    Unhealthy(String),
    /// Nothing can be said, and nobody is to be called: none is installed, it was stopped on
    /// purpose, it is too early.
    Waiting(String),
}

impl Verdict {
    /// Healthy or not; `None` while waiting.
    #[must_use]
    pub fn is_healthy(&self) -> Option<bool> {
        match self {
            Self::Healthy(_) => Some(true),
            Self::Unhealthy(_) => Some(false),
            Self::Waiting(_) => None,
        }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Healthy(reason) | Self::Unhealthy(reason) | Self::Waiting(reason) => reason,
        }
    }
}
