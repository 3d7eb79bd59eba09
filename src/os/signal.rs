//! Signals: SIGTERM and SIGINT stop the agent, SIGHUP has it read its config again.
//!
//! A thread of signal-hook's iterator turns them into reasons of the loop's [`Waker`]; nothing
//! runs inside a signal handler but signal-hook's own note to that thread.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::wake::Waker;

/// Listens as long as it lives.
#[derive(Debug)]
pub struct SignalListener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Begins to listen. From here on none of the three signals ends the process by itself.
///
/// # Errors
/// As the system says when it refuses a handler or a thread.
pub fn listen(waker: Waker) -> io::Result<SignalListener> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(super::wake::SMALL_STACK_BYTES)
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGHUP => waker.reload(),
                    _ => waker.stop(),
                }
            }
        })?;
    Ok(SignalListener {
        handle,
        thread: Some(thread),
    })
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It panicked or it ended: either way it is gone, which is all that is asked for.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::wake::Wakeup;

    #[test]
    fn each_signal_reaches_the_loop_as_its_reason() {
        // SIGHUP must ask for a reload, SIGTERM and SIGINT for a stop: shown by raising them in
        // this process, which would end if nobody listened.
        let (wakeup, waker) = Wakeup::new();
        let listener = listen(waker).unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert!(wakeup.wait(None).reload);
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::raise(signal).unwrap();
            let reasons = wakeup.wait(None);
            assert_eq!((reasons.stops, reasons.reload), (1, false));
        }
        drop(listener);
    }
}
