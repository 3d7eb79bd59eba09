//! `deploywatch status` asks the running agent here: a unix socket that answers each connection
//! with one JSON snapshot and closes.
//!
//! One thread serves one client after the other, so a slow one costs nobody memory and the others
//! at most [`CLIENT_TIMEOUT`]. The snapshot is made by the loop, on request: the thread leaves a
//! [`Responder`] and wakes it. Owner and group may ask (mode 0660); there is nothing to send, and
//! nothing sent is read.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use super::wake::{Awoken, SMALL_STACK_BYTES, StopSign};
use crate::config::AgentConfig;
use crate::status::Status;

/// How long the loop may take to answer, and a client to read.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long [`fetch`] waits for the whole answer: there may be a slow client before us.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Most that is ever accepted as a snapshot: 100,000 files fit.
const STATUS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest path of a unix socket (`sun_path` without its final NUL, unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where the socket of an agent with this config is.
#[must_use]
pub fn status_socket_path(config: &AgentConfig) -> PathBuf {
    if config.state_dir == Path::new("/var/lib/deploywatch") {
        PathBuf::from("/run/deploywatch/status.sock")
    } else {
        config.state_dir.join("status.sock")
    }
}

/// The agent's end. Answers as long as it lives, then removes the socket.
#[derive(Debug)]
pub struct StatusSocket {
    path: PathBuf,
    requests: Receiver<Responder>,
    stop: Arc<StopSign>,
    thread: Option<JoinHandle<()>>,
}

/// A client who waits for a snapshot. Dropping it sends the client away with nothing.
#[derive(Debug)]
pub struct Responder {
    answer: SyncSender<Status>,
}

impl Responder {
    /// Answers. Never blocks.
    pub fn send(self, status: Status) {
        match self.answer.try_send(status) {
            // The client had no patience: nobody is waiting any more.
            Ok(()) | Err(TrySendError::Disconnected(_) | TrySendError::Full(_)) => {}
        }
    }
}

impl StatusSocket {
    /// Opens the socket, in place of one that an earlier agent left; its directory is made where
    /// it is missing. `waker` is called when somebody asks.
    ///
    /// # Errors
    /// As the system says, naming the path.
    pub fn open(path: &Path, waker: Box<dyn Fn() + Send>) -> io::Result<Self> {
        let listener = bind(path).map_err(|error| {
            let text = format!("status socket {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        let stop = Arc::new(StopSign::new()?);
        let (sender, requests) = sync_channel(1);
        let server = Server {
            listener,
            stop: Arc::clone(&stop),
            requests: sender,
            waker,
        };
        let thread = std::thread::Builder::new()
            .name("status".to_owned())
            .stack_size(SMALL_STACK_BYTES)
            .spawn(move || server.serve())?;
        Ok(Self {
            path: path.to_owned(),
            requests,
            stop,
            thread: Some(thread),
        })
    }

    /// The next client who waits, if any. Never blocks.
    pub fn request(&self) -> Option<Responder> {
        self.requests.try_recv().ok()
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.stop.raise();
        // Wakes a server that waits for our answer.
        drop(std::mem::replace(&mut self.requests, sync_channel(0).1));
        if let Some(thread) = self.thread.take() {
            // It panicked or it ended: either way it is gone, which is all that is asked for.
            let _ended = thread.join();
        }
        // A socket left behind is replaced by the next agent.
        let _removed = std::fs::remove_file(&self.path);
    }
}

struct Server {
    listener: UnixListener,
    stop: Arc<StopSign>,
    requests: SyncSender<Responder>,
    waker: Box<dyn Fn() + Send>,
}

impl Server {
    fn serve(&self) {
        loop {
            match self.stop.sleep(Some(&self.listener), None) {
                Ok(Awoken::Ready) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "status socket closed");
                    return;
                }
            }
            let served = self
                .listener
                .accept()
                .and_then(|(client, _)| self.answer(client));
            if let Err(error) = served {
                tracing::debug!(%error, "status client not answered");
                // Out of descriptors, say: not again at once.
                if let Ok(Awoken::Stopped) = self.stop.sleep(None, Some(Duration::from_millis(100)))
                {
                    return;
                }
            }
        }
    }

    fn answer(&self, client: UnixStream) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        if self.requests.try_send(Responder { answer }).is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        (self.waker)();
        let status = answered
            .recv_timeout(CLIENT_TIMEOUT)
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let mut writer = Paced {
            deadline: Instant::now() + CLIENT_TIMEOUT,
            stream: client,
        };
        let mut json = serde_json::to_vec(&status)?;
        json.push(b'\n');
        writer.write_all(&json)
    }
}

/// A stream with one deadline for all its reads and writes.
struct Paced {
    deadline: Instant,
    stream: UnixStream,
}

impl Paced {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Paced {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(into)
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens there.
    #[error("no agent is running (nobody listens on {})", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not for this user.
    #[error(
        "no permission to ask the agent on {}: run as root or as a member of the agent's group",
        .path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The agent is there but gave no snapshot in time.
    #[error("the agent on {} did not answer", .path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not one.
    #[error("the agent on {} answered something else than a status", .path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
}

/// Asks the agent that listens on `path`.
///
/// # Errors
/// Where there is none, or it may not or cannot answer.
pub fn fetch(path: &Path) -> Result<Status, FetchError> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                FetchError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => FetchError::Denied { path },
            _ => FetchError::Silent { path, source },
        }
    };
    let stream = Reached::new(path)
        .and_then(|reached| UnixStream::connect(&reached.path))
        .map_err(failed)?;
    let reader = Paced {
        deadline: Instant::now() + FETCH_TIMEOUT,
        stream,
    };
    let mut json = Vec::new();
    reader
        .take(STATUS_BYTES_MAX)
        .read_to_end(&mut json)
        .map_err(failed)?;
    if json.is_empty() {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&json).map_err(|source| FetchError::Garbled {
        path: path.to_owned(),
        source,
    })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(dir)?;
    }
    match std::fs::symlink_metadata(path) {
        // The lock on the state directory says that no other agent is behind it.
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            let text = "there is something else than a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&Reached::new(path)?.path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660))?;
    Ok(listener)
}

/// A socket's path that is short enough: as it is, or by way of its open directory.
struct Reached {
    path: PathBuf,
    _dir: Option<OwnedFd>,
}

impl Reached {
    fn new(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            let path = path.to_owned();
            return Ok(Self { path, _dir: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd")
            .join(dir.as_raw_fd().to_string())
            .join(name);
        let _dir = Some(dir);
        Ok(Self { path, _dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    struct Place {
        _dir: tempfile::TempDir,
        path: PathBuf,
        socket: StatusSocket,
        woken: std::sync::mpsc::Receiver<()>,
    }

    fn place_at(name: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name).join("status.sock");
        let (wake, woken) = channel();
        // The receiver may be gone at the end of a test.
        let waker = Box::new(move || {
            let _gone = wake.send(());
        });
        let socket = StatusSocket::open(&path, waker).unwrap();
        Place {
            _dir: dir,
            path,
            socket,
            woken,
        }
    }

    /// A snapshot that does not fit a socket's buffer.
    fn large() -> Status {
        let file = crate::status::FileStatus {
            path: "/var/log/app/a.log".to_owned(),
            ..Default::default()
        };
        Status {
            version: "1.2.3".to_owned(),
            files: vec![file; 5_000],
            ..Status::default()
        }
    }

    #[test]
    fn a_client_gets_the_snapshot_the_loop_gave() {
        // A request must wake the loop, and its answer arrive whole, also when it is far larger
        // than a socket's buffer; then the next one: shown with client threads.
        let place = place_at("run");
        for _ in 0..3 {
            let path = place.path.clone();
            let client = std::thread::spawn(move || fetch(&path));
            place.woken.recv().unwrap();
            place.socket.request().unwrap().send(large());
            assert_eq!(client.join().unwrap().unwrap(), large());
        }
        assert!(place.socket.request().is_none());
        let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }

    #[test]
    fn a_path_too_long_for_a_socket_works_all_the_same() {
        // A deep state directory must not cost the user his status: shown beyond sun_path's 107
        // bytes.
        let name = "deep/".repeat(40);
        let place = place_at(&name);
        assert!(place.path.as_os_str().len() > SOCKET_PATH_BYTES_MAX);
        let path = place.path.clone();
        let client = std::thread::spawn(move || fetch(&path));
        place.woken.recv().unwrap();
        place.socket.request().unwrap().send(Status::default());
        client.join().unwrap().unwrap();
    }

    #[test]
    fn without_an_agent_the_error_says_so() {
        // No socket, a dead one, a loop that gives nothing and an answer that is none must be told
        // apart: each is made and asked.
        let place = place_at("run");
        let nowhere = place.path.with_file_name("nowhere.sock");
        assert!(matches!(
            fetch(&nowhere),
            Err(FetchError::NotRunning { .. })
        ));
        let dead = place.path.with_file_name("dead.sock");
        drop(UnixListener::bind(&dead).unwrap());
        let error = fetch(&dead).unwrap_err();
        assert!(error.to_string().contains("no agent is running"), "{error}");
        let path = place.path.clone();
        let client = std::thread::spawn(move || fetch(&path));
        place.woken.recv().unwrap();
        drop(place.socket.request().unwrap());
        let error = client.join().unwrap().unwrap_err();
        assert!(matches!(error, FetchError::Silent { .. }), "{error}");
        let odd = place.path.with_file_name("odd.sock");
        let listener = UnixListener::bind(&odd).unwrap();
        let client = std::thread::spawn(move || fetch(&odd));
        listener.accept().unwrap().0.write_all(b"hello").unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert!(matches!(error, FetchError::Garbled { .. }), "{error}");
    }

    #[test]
    fn an_old_socket_is_replaced_and_ours_removed() {
        // A socket an earlier agent left must not keep us from starting, anything else in its place
        // must; after us nothing is left behind.
        let place = place_at("run");
        let old = place.path.with_file_name("old.sock");
        drop(UnixListener::bind(&old).unwrap());
        let socket = StatusSocket::open(&old, Box::new(|| ())).unwrap();
        drop(socket);
        assert!(!old.exists());
        std::fs::write(&old, "a file").unwrap();
        let error = StatusSocket::open(&old, Box::new(|| ())).unwrap_err();
        assert!(error.to_string().contains("old.sock"), "{error}");
        assert_eq!(std::fs::read(&old).unwrap(), b"a file");
    }

    #[test]
    fn a_client_without_patience_or_appetite_holds_nobody_up_for_long() {
        // One client that leaves at once and one that never reads must not keep a third from its
        // answer beyond the timeouts: shown by all three in a row.
        let place = place_at("run");
        drop(UnixStream::connect(&place.path).unwrap());
        place.woken.recv().unwrap();
        place.socket.request().unwrap().send(large());
        let stuck = UnixStream::connect(&place.path).unwrap();
        place.woken.recv().unwrap();
        place.socket.request().unwrap().send(large());
        let path = place.path.clone();
        let client = std::thread::spawn(move || fetch(&path));
        place.woken.recv().unwrap();
        place.socket.request().unwrap().send(large());
        assert_eq!(client.join().unwrap().unwrap(), large());
        drop(stuck);
    }

    #[test]
    fn the_path_follows_the_state_directory() {
        // The packaged agent must be found in /run, any other beside its state: both configs.
        let config = |state_dir: &str| AgentConfig {
            state_dir: state_dir.into(),
            shutdown_grace: Duration::ZERO,
            log_level: tracing::Level::INFO,
        };
        let of = |state_dir| status_socket_path(&config(state_dir));
        assert_eq!(
            of("/var/lib/deploywatch/"),
            Path::new("/run/deploywatch/status.sock")
        );
        assert_eq!(of("/srv/x"), Path::new("/srv/x/status.sock"));
    }
}
