//! The Python side: the virtual environment, the server, the client that reads back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::pinned::interpreter;
use crate::tree::Streams;
use crate::{LIMIT, folder};

/// Lines as a process writes them; ends when it does.
pub(crate) type Lines = Receiver<String>;

/// A user's access key.
#[derive(Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Who the service knows.
#[derive(Deserialize)]
pub(crate) struct Users {
    /// May do what the README asks for.
    pub(crate) agent: Key,
    /// Is known, but may not write.
    pub(crate) stranger: Key,
    /// May read everything.
    reader: Key,
}

/// What is in the service.
#[derive(Deserialize)]
pub(crate) struct Found {
    /// Groups, with the days they keep events.
    pub(crate) retention: BTreeMap<String, Option<u16>>,
    /// Events by `GROUP STREAM`.
    pub(crate) streams: Streams,
}

/// Whether the server checks signatures and policies.
#[derive(Clone, Copy)]
pub(crate) enum Checks {
    On,
    Off,
}

/// A server of its own for one test.
pub(crate) struct Moto {
    server: Child,
    python: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) users: Users,
}

impl Moto {
    /// A server; `None` where there is no Python, which was said.
    pub(crate) fn start(checks: Checks) -> Option<Self> {
        let python = python()?;
        let mut server = Command::new(python.parent().unwrap().join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(server.stderr.take().unwrap());
        let endpoint = loop {
            // ` * Running on http://127.0.0.1:39483`
            let line = lines
                .recv_timeout(LIMIT)
                .expect("the server says where it listens");
            if let Some(at) = line.find("http://127.0.0.1:") {
                break line[at..].trim().to_owned();
            }
        };
        let checks = match checks {
            Checks::On => "checked",
            Checks::Off => "unchecked",
        };
        let users = drive(&python, &["prepare", &endpoint, checks]);
        Some(Self {
            server,
            python,
            endpoint,
            users,
        })
    }

    /// Everything that arrived.
    pub(crate) fn read(&self) -> Found {
        let reader = &self.users.reader;
        drive(
            &self.python,
            &["read", &self.endpoint, &reader.id, &reader.secret],
        )
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// A thread passes the lines on, so that the pipe never fills and a wait can have a limit.
pub(crate) fn lines_of(stream: impl Read + Send + 'static) -> Lines {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // The test may be over before the process is.
            let _listening = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

fn drive<T: DeserializeOwned>(python: &Path, arguments: &[&str]) -> T {
    let output = Command::new(python)
        .arg(folder().join("driver.py"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "driver.py {arguments:?}: {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The interpreter of the virtual environment, which is made by the first who asks.
fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| interpreter("moto", folder(), "DEPLOYWATCH_MOTO"))
        .clone()
}
