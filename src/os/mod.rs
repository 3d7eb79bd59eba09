//! The edge towards this machine: files, clocks, signals, systemd, sockets, the agent's own log.
//!
//! Each file owns one kind of system call and hides it behind a trait of [`crate::ports`] or a
//! few plain functions; `main.rs` builds them and hands them to the agent. Nothing in here knows
//! what a log line is. The invariants, one for each door:
//!
//! - [`files`] opens regular files only, read only, and never outside the root it was given.
//! - [`store`] is the only thing that writes, and only below its own locked directory.
//! - [`watch`] never tells the truth, only that it is worth looking.
//! - [`wake`] is the one place where the loop sleeps; everything that may wake it has a [`Waker`].
//! - No thread of ours outlives the value that started it (`notify`'s ends soon after its own).
//!
//! [`Waker`]: wake::Waker

pub mod clock;
pub mod files;
pub mod host;
pub mod log;
pub mod processes;
pub mod signal;
pub mod status_socket;
pub mod store;
pub mod systemd;
pub mod wake;
pub mod watch;

mod beneath;
mod hints;
mod repeats;

/// Whether a user can do no more to us than we can ourselves: root, and the one we run as.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
