//! What the tests that run the real binary stand on: a strict CloudWatch Logs and CloudWatch, an
//! instance metadata service on loopback, a temporary world with the agent in it, log writers, and the
//! oracle that says what was lost, doubled or put out of order.
//!
//! The stand-ins hold the client to the service's published limits: whatever breaks one is refused
//! as the service refuses it and noted, and every test ends by asking that nothing was noted.

pub(crate) mod alarms;
mod base64;
pub(crate) mod bus;
pub(crate) mod cbor;
pub(crate) mod cloud;
pub(crate) mod command;
pub(crate) mod fault;
pub(crate) mod http;
pub(crate) mod imds;
pub(crate) mod lines;
pub(crate) mod listener;
pub(crate) mod monitoring;
pub(crate) mod oracle;
pub(crate) mod rules;
pub(crate) mod sigv4;
pub(crate) mod state;
mod tests;
pub(crate) mod tls;
pub(crate) mod tree;
pub(crate) mod world;
