//! Deploywatch ships every line the AWS CodeDeploy agent and its deployments write on an EC2
//! instance to CloudWatch Logs, and makes metrics, alarms and events of what they tell.
//!
//! It is two edges and a deterministic middle. `os/` touches this machine, `aws/` touches the
//! network; everything between is plain synchronous code that, given the same inputs and the same
//! clock, does the same thing. One loop, [`agent::Agent::step`], drives it. The log file is the
//! queue; a checkpoint moves only when the service has answered.
//!
//! # The path of one line
//!
//! `os/watch` or the next scan says that there is something; `agent/mod` gives the file its turn
//! (`tail/turn`). `os/files` reads bytes into the one buffer (`tail/reader`), whole lines are
//! handed to `agent/lane`. `parse/record` finds a record's end, `parse/dating` its time,
//! `parse/redact` takes secrets out: an [`event::Event`]. `ship/batch` encodes it into an
//! [`event::Batch`] (the only copy), `ship/send` submits that when `ship/pace` lets it, `aws/logs`
//! makes the PutLogEvents call (or `directory` writes a file). The answer, classed by
//! `aws/errors`, comes back to `ship/turn`; [`event::Batch::settle`] makes [`event::Ack`]s;
//! `ship/ledger` moves the file's settled prefix over them, and `agent/keeper` saves that as
//! `ship/checkpoint` through `os/store`.
//!
//! # From a record to a metric, an alarm, an event
//!
//! `agent/lane/taking` hands each record to `agent/insight` besides batching it, if it ends behind
//! what was heard of its file before. `codedeploy/v1` or `v2` reads a `codedeploy::fact` out of
//! it, `codedeploy/roster` finds the deployment it belongs to, and what follows comes out as
//! `codedeploy/news`. Of fresh news `agent/insight` counts a metric and `agent/insight/incidents`
//! makes an [`events::Incident`]; `metrics/custom` counts the user's own patterns in the same
//! record. `agent/keeper` saves the heard offset and all of this in one checkpoint; only then
//! `metrics/publish` and `events/sending` submit, and `aws/monitoring` and `aws/events` make the
//! calls. On its way out each datum passes `agent/alarming`: `alarms/breach` sees what the service's
//! alarm will see, and after too many restarts `alarms/guard` has the actions suspended.
//!
//! # The folders
//!
//! - `agent/`: the loop that owns all state: what happens in which order, what is kept.
//!   `insight/` is what is made of records besides shipping them.
//! - `alarms/`: CloudWatch alarms: the difference between wanted and present, whether our data
//!   breach them, the loop breaker.
//! - `aws/`: CloudWatch Logs, metrics, alarms, EventBridge, credentials and the instance's identity,
//!   on the network thread.
//! - `cli/`: one file for each command, and the demo.
//! - `codedeploy/`: where the CodeDeploy agent keeps its files (`layout`, `discovery`), what its
//!   records tell (`v1`, `v2`, `tail`) of each deployment (`roster`, `deployment`, `failure`), and
//!   whether it is alive (`health`).
//! - `config/`: from TOML to a checked [`config::Config`], with every mistake in one go.
//! - `directory`: the log, metric and event services that are files.
//! - `event`, `ports`, `status`: the nouns that cross borders, the traits the edges stand behind,
//!   the snapshot that is shown.
//! - `events/`: from incidents to EventBridge: one id each, never old news.
//! - `metrics/`: from counts and values to data points, each at its own time, sent once.
//! - `os/`: files, notifications, clock, signals, systemd, the state directory, the own log.
//! - `parse/`: from bytes to records: lines that belong together, their time, their secrets.
//! - `ship/`: from events to answers: batches, pace, retries, ledger, rescue, dead letter.
//! - `tail/`: which files there are, which is which after rotation, whose turn it is.
//!
//! # Invariants
//!
//! - A checkpoint never passes a byte that is neither answered for nor counted as skipped or lost.
//! - Nothing is dropped on stop: what is not settled is read again.
//! - A record is heard once: how far a file was heard is saved in the same checkpoint as what was
//!   made of it.
//! - Nothing is published that a durable checkpoint does not know of; only metrics leave after half a
//!   minute all the same, lest a disk that cannot be written silence the heartbeat.
//! - Old news, from before this boot or before the first start, makes no metric and no event.
//! - No queue is without a limit that has a name.
//! - No line is copied between the read buffer and the batch it is encoded into.
//! - The scan is the truth about files; notifications only wake it.
//! - No module between the edges reads a clock, a file or a socket, or draws a random number.

pub mod agent;
pub mod alarms;
pub mod aws;
pub mod cli;
pub mod codedeploy;
pub mod config;
pub mod directory;
pub mod event;
pub mod events;
pub mod metrics;
pub mod os;
pub mod parse;
pub mod ports;
pub mod ship;
pub mod status;
pub mod tail;
