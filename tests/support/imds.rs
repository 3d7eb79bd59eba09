//! The instance metadata service, version 2 only, on a port of its own.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{Request, Response, Wire};
use super::listener::{Gate, Listener};
use super::sigv4::Key;

/// The longest life of a token, in seconds.
const TOKEN_SECONDS_MAX: u64 = 21_600;

/// What the instance is.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// `i-…`.
    pub(crate) id: String,
    /// Region.
    pub(crate) region: String,
    /// Account.
    pub(crate) account: String,
    /// Tags; `None` = the instance does not show them.
    pub(crate) tags: Option<BTreeMap<String, String>>,
    /// Credentials of the role `web` and how long they say they live; `None` = no role.
    pub(crate) role: Option<(Key, Duration)>,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: "i-0123456789abcdef0".into(),
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            tags: None,
            role: Some((Key::temporary(1), Duration::from_secs(6 * 3600))),
        }
    }
}

/// The stand-in. It dies when dropped.
pub(crate) struct Imds {
    shared: Arc<Mutex<Metadata>>,
    listener: Listener,
}

/// What it knows and what it was asked.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// What is told from now on.
    pub(crate) instance: Instance,
    /// Paths asked for with a good token, with how often.
    pub(crate) asked: BTreeMap<String, u64>,
    /// Requests without a good token or with a bad head.
    pub(crate) violations: Vec<String>,
    tokens: Vec<(String, Instant)>,
}

impl Imds {
    /// Starts it for an instance.
    pub(crate) fn start(instance: Instance) -> Self {
        Self::start_at("127.0.0.1:0", instance)
    }

    /// The same at an address of one's own.
    pub(crate) fn start_at(address: &str, instance: Instance) -> Self {
        let shared = Arc::new(Mutex::new(Metadata {
            instance,
            asked: BTreeMap::new(),
            violations: Vec::new(),
            tokens: Vec::new(),
        }));
        let serve = {
            let shared = Arc::clone(&shared);
            move |stream: TcpStream| {
                let mut wire = Wire::new(stream);
                // A connection that breaks is the client's affair.
                while let Ok(Some(request)) = wire.request() {
                    let response = shared.lock().unwrap().answer(&request);
                    if std::io::Write::write_all(&mut wire.stream, &response.encode()).is_err() {
                        break;
                    }
                }
            }
        };
        Self {
            shared,
            listener: Listener::start(address, serve),
        }
    }

    /// For `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// Looks at or changes what it knows.
    pub(crate) fn state(&self) -> MutexGuard<'_, Metadata> {
        self.shared.lock().unwrap()
    }

    /// Opens or closes the door.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.listener.set(gate);
    }

    /// The instance's role has these credentials from now on.
    pub(crate) fn set_role(&self, key: &Key, lives: Duration) {
        self.state().instance.role = Some((key.clone(), lives));
    }
}

impl Metadata {
    fn answer(&mut self, request: &Request) -> Response {
        if request.header("x-forwarded-for").is_some() {
            return self.breach(403, request, "came through a proxy");
        }
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token") => self.token(request),
            ("GET", path) => {
                let now = Instant::now();
                let sent = request.header("x-aws-ec2-metadata-token");
                let good = |(token, until): &(String, Instant)| sent == Some(token) && now < *until;
                if !self.tokens.iter().any(good) {
                    return self.breach(401, request, "has no good token");
                }
                let path = unescape(path);
                *self.asked.entry(path.clone()).or_default() += 1;
                match self.instance.tell(&path) {
                    Some(body) => Response::new(200, body).with("content-type", "text/plain"),
                    None => Response::new(404, "").with("content-type", "text/html"),
                }
            }
            _ => self.breach(403, request, "is not allowed"),
        }
    }

    fn token(&mut self, request: &Request) -> Response {
        let seconds = request
            .header("x-aws-ec2-metadata-token-ttl-seconds")
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|seconds| (1..=TOKEN_SECONDS_MAX).contains(seconds));
        let Some(seconds) = seconds else {
            return self.breach(400, request, "has no good lifetime");
        };
        let token = format!("AQAEAtoken{:06}==", self.tokens.len());
        let until = Instant::now() + Duration::from_secs(seconds);
        self.tokens.push((token.clone(), until));
        Response::new(200, token)
            .with("x-aws-ec2-metadata-token-ttl-seconds", seconds.to_string())
            .with("content-type", "text/plain")
    }

    fn breach(&mut self, status: u16, request: &Request, what: &str) -> Response {
        self.violations
            .push(format!("{} {} {what}", request.method, request.path));
        Response::new(status, "").with("content-type", "text/html")
    }
}

impl Instance {
    fn tell(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix("/latest/")?;
        if path == "dynamic/instance-identity/document" {
            let document = json!({
                "accountId": self.account, "architecture": "x86_64",
                "availabilityZone": format!("{}a", self.region), "imageId": "ami-0abcdef1234567890",
                "instanceId": self.id, "instanceType": "t3.micro", "region": self.region,
                "pendingTime": "2026-11-21T00:00:00Z", "version": "2017-09-30",
            });
            return Some(document.to_string());
        }
        let path = path.strip_prefix("meta-data/")?;
        if let Some(key) = path.strip_prefix("tags/instance") {
            let tags = self.tags.as_ref()?;
            return match key.trim_start_matches('/') {
                "" => Some(tags.keys().cloned().collect::<Vec<_>>().join("\n")),
                key => tags.get(key).cloned(),
            };
        }
        if let Some(role) = path.strip_prefix("iam/security-credentials") {
            let (key, lives) = self.role.as_ref()?;
            return match role {
                "" | "/" => Some("web".into()),
                "/web" => Some(credentials(key, *lives)),
                _ => None,
            };
        }
        match path {
            "instance-id" => Some(self.id.clone()),
            "placement/region" => Some(self.region.clone()),
            "placement/availability-zone" => Some(format!("{}a", self.region)),
            "services/partition" => Some("aws".into()),
            "services/domain" => Some("amazonaws.com".into()),
            "local-hostname" => Some("ip-10-0-0-1.ec2.internal".into()),
            _ => None,
        }
    }
}

fn credentials(key: &Key, lives: Duration) -> String {
    let now = jiff::Timestamp::now();
    let time = |time: jiff::Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "Code": "Success", "LastUpdated": time(now), "Type": "AWS-HMAC",
        "AccessKeyId": key.id, "SecretAccessKey": key.secret,
        "Token": key.token.clone().unwrap_or_default(), "Expiration": time(now + lives),
    })
    .to_string()
}

fn unescape(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
