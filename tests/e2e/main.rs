//! The real binary against strict stand-ins: each test shows one promise to the user.
//!
//! Every test makes a world of its own (a temporary directory, ports on loopback), so all run
//! side by side. A test ends by asking that the agent broke none of the service's rules.

use std::time::Duration;

mod alarms;
mod deployment;
mod events;
mod everyday;
mod identity;
mod metrics;
mod rotation;
mod settings;
mod stopping;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
mod trouble;

/// How long anything may take that takes well under a second on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The same for what the agent tries again slowly: it draws each wait anew, up to a minute.
pub(crate) const SLOWLY: Duration = Duration::from_secs(150);
