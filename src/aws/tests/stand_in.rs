//! A loopback HTTP/1.1 server that answers as it is told and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request, whole.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `PutLogEvents` and the like; the path where there is none.
    pub(super) fn operation(&self) -> &str {
        match self.header("x-amz-target").split_once('.') {
            Some((_, operation)) => operation,
            None => &self.path,
        }
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A whole answer: status, further headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// An answer that promises more bytes than come before the connection closes.
    Cut,
    /// The connection closes without a word.
    Hangup,
    /// Nothing, until the client gives up.
    Silence,
    /// These bytes, then a byte now and then, as long as the client waits.
    Drip(&'static [u8]),
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        let kind = ("content-type", "application/x-amz-json-1.1".to_owned());
        Self::Whole(status, vec![kind], body.as_bytes().to_vec())
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"__type": code, "message": message});
        Self::json(status, &body.to_string())
    }

    pub(super) fn ok() -> Self {
        Self::json(200, "{}")
    }
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// The server; it listens until the test process ends.
pub(super) struct StandIn {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl StandIn {
    /// `script` gets the number of the request (from 0) and the request.
    pub(super) fn new(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (all, script): (_, Arc<Script>) = (Arc::clone(&seen), Arc::new(script));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    let closer = stream.try_clone().unwrap();
                    serve(stream, &closer, &all, &*script);
                });
            }
        });
        Self {
            url,
            seen,
            connections,
        }
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How often somebody came, whatever was said.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Serves one connection, which may be a TLS one above `socket`.
pub(super) fn serve(
    mut stream: impl Read + Write,
    socket: &TcpStream,
    seen: &Mutex<Vec<Request>>,
    script: &Script,
) {
    while let Some(request) = read_request(&mut stream) {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        match script(number, &request) {
            Reply::Whole(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() {
                    return;
                }
                let _flushed = stream.flush();
            }
            Reply::Cut => {
                let _sent = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\n{\"re");
                let _closed = socket.shutdown(Shutdown::Both);
                return;
            }
            Reply::Hangup => {
                let _closed = socket.shutdown(Shutdown::Both);
                return;
            }
            Reply::Drip(bytes) => {
                let _sent = stream.write_all(bytes);
                let _short = socket.set_read_timeout(Some(Duration::from_millis(20)));
                // The client never sends more: each read is a pause that ends with the connection.
                while !matches!(stream.read(&mut [0]), Ok(0)) {
                    if stream.write_all(b" ").is_err() {
                        break;
                    }
                }
                return;
            }
            Reply::Silence => {
                let mut rest = Vec::new();
                let _closed_by_client = stream.read_to_end(&mut rest);
                return;
            }
        }
    }
}

fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 65_536];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(head)) = parsed.parse(&bytes) {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers: BTreeMap<String, String> = parsed
                .headers
                .iter()
                .map(|h| (h.name.to_ascii_lowercase(), text(h.value)))
                .collect();
            let length = headers
                .get("content-length")
                .map_or(0, |length| length.parse::<usize>().unwrap());
            let (method, path) = (parsed.method?.to_owned(), parsed.path?.to_owned());
            while bytes.len() < head + length {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                }
            }
            return Some(Request {
                method,
                path,
                headers,
                body: bytes.split_off(head),
            });
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
