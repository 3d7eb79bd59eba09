//! The CodeDeploy agent as seen from outside: where it writes ([`layout`]).

mod discovery;
pub mod layout;
