//! Deploywatch ships every line the AWS CodeDeploy agent and its deployments write on an EC2
//! instance to CloudWatch Logs.
//!
//! It is two edges and a deterministic middle. `os/` touches this machine, `aws/` touches the
//! network; everything between is plain synchronous code that, given the same inputs and the same
//! clock, does the same thing. One loop, [`agent::Agent::step`], drives it. The log file is the
//! queue; a checkpoint moves only when the service has answered.
//!
//! # The path of one line
//!
//! `os/files` bytes → `tail/reader` a chunk of whole lines → `parse` [`event::Event`] (joined,
//! dated, redacted) → `ship/batch` [`event::Batch`] (encoded once) → `ship/send` (window, retry)
//! → `aws/logs` PutLogEvents → answer → [`event::Batch::settle`] → [`event::Ack`] →
//! `ship/ledger` → `ship/checkpoint`.
//!
//! # Invariants
//!
//! - A checkpoint never passes a byte that is neither answered for nor counted as skipped or lost.
//! - Nothing is dropped on stop: what is not settled is read again.
//! - No queue is without a limit that has a name.
//! - No line is copied between the read buffer and the batch it is encoded into.
//! - The scan is the truth about files; notifications only wake it.
//! - No module between the edges reads a clock, a file or a socket, or draws a random number.

pub mod agent;
pub mod aws;
pub mod cli;
pub mod codedeploy;
pub mod config;
pub mod directory;
pub mod event;
pub mod os;
pub mod parse;
pub mod ports;
pub mod ship;
pub mod status;
pub mod tail;
