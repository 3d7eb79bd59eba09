//! What systemd is told: ready, what we do, that we still work, that we end (sd_notify(3)).
//!
//! Datagrams to the socket named by `NOTIFY_SOCKET`. Without it nothing is sent, and nothing here
//! ever blocks or fails the agent: a notification that does not get through is a line at debug.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::clock;

/// How long what follows a drain may take: copying what would be gone after a restart.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct Systemd {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

/// The variables systemd sets.
#[derive(Clone, Debug, Default)]
struct Environment {
    notify_socket: Option<OsString>,
    watchdog_usec: Option<OsString>,
    watchdog_pid: Option<OsString>,
}

impl Systemd {
    /// As the environment says.
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(&Environment {
            notify_socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog_usec: std::env::var_os("WATCHDOG_USEC"),
            watchdog_pid: std::env::var_os("WATCHDOG_PID"),
        })
    }

    fn new(environment: &Environment) -> Self {
        let socket = environment.notify_socket.as_deref().and_then(|name| {
            connect(name)
                .inspect_err(|error| {
                    tracing::warn!(socket = %name.display(), %error, "systemd cannot be notified");
                })
                .ok()
        });
        Self {
            socket,
            watchdog: watchdog_interval(environment, std::process::id()),
        }
    }

    /// Within which time [`Systemd::watchdog`] must be called again: half of what systemd allows.
    /// `None`: no watchdog is set.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 2)
    }

    /// Started, or done with reloading.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        let line = text.replace(char::is_control, " ");
        self.send(&format!("STATUS={line}"));
    }

    /// Reading the config again; [`Systemd::ready`] says when that is done.
    pub fn reloading(&self) {
        let now = clock::monotonic_us();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Draining for at most so long, then ending: the time that its `TimeoutStopSec=` allows may be less.
    pub fn stopping(&self, grace: Duration) {
        let wanted = grace.saturating_add(LAST_WORDS).as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={wanted}"));
    }

    /// Still working: call it where the loop makes progress, nowhere else.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, "notification to systemd not sent");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "unknown kind of address",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn watchdog_interval(environment: &Environment, own_pid: u32) -> Option<Duration> {
    let number = |value: &Option<OsString>| value.as_ref()?.to_str()?.parse::<u64>().ok();
    let usec = number(&environment.watchdog_usec).filter(|usec| *usec > 0)?;
    if environment.watchdog_pid.is_some()
        && number(&environment.watchdog_pid) != Some(u64::from(own_pid))
    {
        return None;
    }
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(socket: &OsStr) -> Environment {
        Environment {
            notify_socket: Some(socket.to_owned()),
            watchdog_usec: Some("20000000".into()),
            watchdog_pid: None,
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    #[test]
    fn each_state_is_told_in_the_managers_words() {
        // Every call must make exactly the datagram sd_notify(3) defines: shown by a socket in a
        // directory of our own.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let systemd = Systemd::new(&environment(path.as_os_str()));
        systemd.ready();
        assert_eq!(received(&manager), "READY=1");
        systemd.status("two\nlines");
        assert_eq!(received(&manager), "STATUS=two lines");
        systemd.reloading();
        let text = received(&manager);
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
        systemd.watchdog();
        assert_eq!(received(&manager), "WATCHDOG=1");
        systemd.stopping(Duration::from_secs(300));
        assert_eq!(
            received(&manager),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=330000000"
        );
        assert_eq!(systemd.watchdog_interval(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn abstract_sockets_are_reached() {
        // A name that begins with @ must lead to the abstract socket: shown by one.
        let name = format!("deploywatch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let systemd = Systemd::new(&environment(OsStr::new(&format!("@{name}"))));
        systemd.ready();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn a_deaf_manager_never_blocks_and_none_is_no_error() {
        // A full or missing socket must cost nothing: shown by far more datagrams than fit, and by
        // the calls without any socket.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let systemd = Systemd::new(&environment(path.as_os_str()));
        for _ in 0..10_000 {
            systemd.status("busy");
        }
        drop(manager);
        systemd.ready();
        Systemd::new(&environment(OsStr::new("/nonexistent/notify"))).ready();
        Systemd::new(&environment(OsStr::new("vsock:2:1"))).ready();
        Systemd::default().stopping(Duration::MAX);
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        // WATCHDOG_PID of another process, zero and garbage must mean no watchdog: a table.
        let at = |usec: &str, pid: Option<&str>| {
            let environment = Environment {
                notify_socket: None,
                watchdog_usec: Some(usec.into()),
                watchdog_pid: pid.map(OsString::from),
            };
            watchdog_interval(&environment, 42)
        };
        assert_eq!(at("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(at("3000000", Some("42")), Some(Duration::from_secs(3)));
        assert_eq!(at("3000000", Some("43")), None);
        assert_eq!(at("3000000", Some("x")), None);
        assert_eq!(at("0", None), None);
        assert_eq!(at("-1", None), None);
    }
}
