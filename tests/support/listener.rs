//! One listening port on loopback, its connections, and the ways it can be out of order.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a port that was let go may take to be ours again.
const REBIND_LIMIT: Duration = Duration::from_secs(10);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is served.
    Open,
    /// It is accepted and closed at once.
    Reset,
    /// Nobody listens.
    Refuse,
    /// The end.
    Stopped,
}

/// The port. Dropping it closes everything.
pub(crate) struct Listener {
    /// Where it listens, `127.0.0.1:port`.
    pub(crate) address: SocketAddr,
    door: Arc<Door>,
    thread: Option<JoinHandle<()>>,
}

struct Door {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    gate: Gate,
    listening: bool,
    connections: HashMap<u64, TcpStream>,
    accepted: u64,
}

impl Listener {
    /// Listens at an address, `127.0.0.1:0` for any free port, and gives each connection to `serve` on
    /// a thread of its own.
    pub(crate) fn start(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let door = Arc::new(Door {
            inner: Mutex::new(Inner {
                gate: Gate::Open,
                listening: true,
                connections: HashMap::new(),
                accepted: 0,
            }),
            changed: Condvar::new(),
        });
        let thread = {
            let door = Arc::clone(&door);
            std::thread::spawn(move || accept(&door, socket, address, &Arc::new(serve)))
        };
        Self {
            address,
            door,
            thread: Some(thread),
        }
    }

    /// Opens, breaks or ends the port; connections that are there die unless it opens. Returns
    /// when it is so.
    pub(crate) fn set(&self, gate: Gate) {
        let mut inner = self.door.inner.lock().unwrap();
        inner.gate = gate;
        if gate != Gate::Open {
            for connection in inner.connections.values() {
                // It may be gone already, which is what is wanted.
                connection.shutdown(Shutdown::Both).ok();
            }
        }
        self.door.changed.notify_all();
        drop(inner);
        // Wakes `accept`; a refused connection means that nobody is there to be woken.
        TcpStream::connect(self.address).ok();
        let listening = gate != Gate::Refuse && gate != Gate::Stopped;
        let inner = self.door.inner.lock().unwrap();
        drop(
            self.door
                .changed
                .wait_while(inner, |inner| inner.listening != listening)
                .unwrap(),
        );
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.set(Gate::Stopped);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}

fn accept<F>(door: &Arc<Door>, mut socket: TcpListener, address: SocketAddr, serve: &Arc<F>)
where
    F: Fn(TcpStream) + Send + Sync + 'static,
{
    loop {
        let accepted = socket.accept();
        let mut inner = door.inner.lock().unwrap();
        match inner.gate {
            Gate::Open => {
                if let Ok((stream, _)) = accepted {
                    inner.accepted += 1;
                    let number = inner.accepted;
                    spawn(door, &mut inner, number, stream, serve);
                }
            }
            Gate::Reset => drop(accepted),
            Gate::Stopped => break,
            Gate::Refuse => {
                drop((accepted, socket));
                inner.listening = false;
                door.changed.notify_all();
                inner = door
                    .changed
                    .wait_while(inner, |inner| inner.gate == Gate::Refuse)
                    .unwrap();
                if inner.gate == Gate::Stopped {
                    return;
                }
                socket = rebind(address);
                inner.listening = true;
                door.changed.notify_all();
            }
        }
    }
    drop(socket);
    door.inner.lock().unwrap().listening = false;
    door.changed.notify_all();
}

fn spawn<F>(door: &Arc<Door>, inner: &mut Inner, number: u64, stream: TcpStream, serve: &Arc<F>)
where
    F: Fn(TcpStream) + Send + Sync + 'static,
{
    stream.set_nodelay(true).ok();
    if let Ok(clone) = stream.try_clone() {
        inner.connections.insert(number, clone);
    }
    let (door, serve) = (Arc::clone(door), Arc::clone(serve));
    std::thread::spawn(move || {
        serve(stream);
        door.inner.lock().unwrap().connections.remove(&number);
    });
}

fn rebind(address: SocketAddr) -> TcpListener {
    let limit = Instant::now() + REBIND_LIMIT;
    loop {
        match TcpListener::bind(address) {
            Ok(socket) => return socket,
            Err(error) if Instant::now() > limit => panic!("{address} is lost: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}
