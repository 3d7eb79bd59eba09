//! The alarms the configuration declares, and the guard that keeps them from acting in a loop.

pub mod guard;
pub mod plan;
pub mod spec;
