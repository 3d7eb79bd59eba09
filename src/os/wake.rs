//! The one place where the loop sleeps, and what may wake it.
//!
//! Network answers, inotify, signals and status clients each hold a [`Waker`]; the loop holds the
//! one [`Wakeup`]. Wakes between two waits are one wake, and a wake before a wait is not lost.
//! There is no tick: with nothing to do the loop sleeps until its own deadline.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Stack of the small threads of this edge, which sleep nearly always: enough for a path and a log
/// line, an eighth of the default.
pub(crate) const SMALL_STACK_BYTES: usize = 256 * 1024;

/// Why the loop woke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Somebody has something for the loop: an answer, a hint, a status client.
    pub woken: bool,
    /// How many stop signals came: a second one while draining means "now".
    pub stops: u32,
    /// The config shall be read again.
    pub reload: bool,
}

/// The loop's waiting place.
#[derive(Debug)]
pub struct Wakeup {
    shared: Arc<Shared>,
}

/// Wakes the loop; cheap to clone and to call from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reasons: Mutex<Reasons>,
    changed: Condvar,
}

impl Wakeup {
    /// A waiting place and the first of its wakers.
    #[must_use]
    pub fn new() -> (Self, Waker) {
        let shared = Arc::new(Shared::default());
        let waker = Waker {
            shared: Arc::clone(&shared),
        };
        (Self { shared }, waker)
    }

    /// Sleeps until there is a reason or the time is up (`None`: however long it takes), and takes
    /// the reasons. All empty means the time was up.
    pub fn wait(&self, timeout: Option<Duration>) -> Reasons {
        let reasons = self.shared.lock();
        let idle = |reasons: &mut Reasons| *reasons == Reasons::default();
        let mut reasons = match timeout {
            None => self
                .shared
                .changed
                .wait_while(reasons, idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.shared
                    .changed
                    .wait_timeout_while(reasons, timeout, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        std::mem::take(&mut reasons)
    }
}

impl Waker {
    /// There is something for the loop.
    pub fn wake(&self) {
        self.note(|reasons| reasons.woken = true);
    }

    /// The process shall end.
    pub fn stop(&self) {
        self.note(|reasons| reasons.stops = reasons.stops.saturating_add(1));
    }

    /// The config shall be read again.
    pub fn reload(&self) {
        self.note(|reasons| reasons.reload = true);
    }

    /// [`Waker::wake`] as a function, for those who need not know this type.
    #[must_use]
    pub fn callback(&self) -> Box<dyn Fn() + Send + Sync> {
        let waker = self.clone();
        Box::new(move || waker.wake())
    }

    fn note(&self, change: impl FnOnce(&mut Reasons)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Reasons are whole between any two instructions, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a thread that sleeps on a file descriptor to end.
#[derive(Debug)]
pub(crate) struct StopSign {
    fd: OwnedFd,
}

/// Why a sleep on a file descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awoken {
    /// It can be read.
    Ready,
    /// The time is up.
    TimedOut,
    /// The thread shall end.
    Stopped,
}

impl StopSign {
    pub(crate) fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd })
    }

    /// Ends every present and future sleep.
    pub(crate) fn raise(&self) {
        // Fails only when the counter is full, and then it is raised already.
        let _raised = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Sleeps until `fd` can be read, the sign is raised or the time is up.
    pub(crate) fn sleep(
        &self,
        fd: Option<&dyn AsFd>,
        timeout: Option<Duration>,
    ) -> std::io::Result<Awoken> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut fds = vec![PollFd::new(&self.fd, PollFlags::IN)];
        if let Some(fd) = fd {
            fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        }
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(Awoken::TimedOut),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(Awoken::Stopped),
                Ok(_) => return Ok(Awoken::Ready),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn wakes_before_and_between_waits_are_one_wake() {
        // A thousand wakes before the wait must end one wait and no second: shown by a second wait
        // that runs into its limit with no reason.
        let (wakeup, waker) = Wakeup::new();
        let wake = waker.callback();
        for _ in 0..1_000 {
            wake();
        }
        let woken = wakeup.wait(None);
        assert_eq!(
            woken,
            Reasons {
                woken: true,
                ..Reasons::default()
            }
        );
        assert_eq!(
            wakeup.wait(Some(Duration::from_millis(1))),
            Reasons::default()
        );
    }

    #[test]
    fn a_wake_from_another_thread_ends_a_wait_without_a_limit() {
        // A sleeping loop must wake at once: shown by a thread that signals, with no timeout to
        // help it.
        let (wakeup, waker) = Wakeup::new();
        let other = std::thread::spawn(move || waker.reload());
        assert!(wakeup.wait(None).reload);
        other.join().unwrap();
    }

    #[test]
    fn stop_signals_are_counted() {
        // Two stops before the loop looks must not look like one: shown by the count.
        let (wakeup, waker) = Wakeup::new();
        waker.stop();
        waker.stop();
        assert_eq!(wakeup.wait(None).stops, 2);
    }

    #[test]
    fn a_wait_ends_when_its_time_is_up() {
        // The loop's own deadline must end the wait, not earlier: shown by the clock.
        let (wakeup, _waker) = Wakeup::new();
        let start = Instant::now();
        let reasons = wakeup.wait(Some(Duration::from_millis(20)));
        assert_eq!(reasons, Reasons::default());
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_raised_stop_sign_ends_every_sleep() {
        // A thread asleep on a quiet descriptor must end when told, and one that goes to sleep
        // afterwards too: shown by two sleeps without a limit.
        let sign = StopSign::new().unwrap();
        let (quiet, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let limit = Some(Duration::from_millis(1));
        assert_eq!(sign.sleep(Some(&quiet), limit).unwrap(), Awoken::TimedOut);
        sign.raise();
        assert_eq!(sign.sleep(Some(&quiet), None).unwrap(), Awoken::Stopped);
        assert_eq!(sign.sleep(None, None).unwrap(), Awoken::Stopped);
    }
}
