//! The HTTP client under the SDK: which road a request takes, whom it trusts, how much it reads.
//!
//! Plain `http` requests to this machine and to the link-local addresses of instance metadata and
//! container credentials go straight and know nothing of TLS or proxies: a proxy must never see a
//! metadata token. To anybody else plain `http` is refused, wherever the address came from, and so is
//! by any road what is meant for instance metadata.
//! `https` goes through rustls with ring, always verifies (there is no switch), and honours
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. No redirect is followed. The secure road, whose 145 certificates cost memory,
//! is built when the first request needs it. No answer may be longer than [`ANSWER_BYTES_MAX`].

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longest answer that is read. The longest real ones (STS, an identity document) have a few KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The client for all services of this process; `ca_bundle` is trusted besides the system's store.
///
/// # Errors
/// When the bundle cannot be read or holds no certificate.
pub(crate) fn client(ca_bundle: Option<&Path>) -> io::Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = ca_bundle {
        for pem in certificates(path)? {
            trust.add_pem_certificate(pem);
        }
    }
    Ok(SharedHttpClient::new(Client {
        trust: Arc::new(trust),
        roads: Mutex::new(HashMap::new()),
    }))
}

/// The SDK asks for a connector per request; connections live as long as their connector.
#[derive(Debug)]
struct Client {
    trust: Arc<TrustStore>,
    roads: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

/// Connect and read timeouts: a connector is built for one pair of them.
type Timeouts = (Option<Duration>, Option<Duration>);

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut roads = self.roads.lock().unwrap_or_else(PoisonError::into_inner);
        roads
            .entry(timeouts)
            .or_insert_with(|| {
                SharedHttpConnector::new(Roads {
                    settings: settings.clone(),
                    trust: Arc::clone(&self.trust),
                    plain: OnceLock::new(),
                    secure: OnceLock::new(),
                })
            })
            .clone()
    }
}

/// Two connectors behind one, each built at its first use.
#[derive(Debug)]
struct Roads {
    settings: HttpConnectorSettings,
    trust: Arc<TrustStore>,
    plain: OnceLock<Connector>,
    secure: OnceLock<Connector>,
}

impl HttpConnector for Roads {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let refused =
            |words: &str| HttpConnectorFuture::ready(Err(ConnectorError::user(words.into())));
        let road = match road_for(request.uri()) {
            Road::Plain => self.plain.get_or_init(|| self.builder().build_http()),
            Road::Secure if is_for_metadata(&request) => {
                return refused("a host elsewhere could hand out credentials: it is not asked");
            }
            Road::Secure => self.secure.get_or_init(|| self.build_secure()),
            Road::Refused => {
                return refused("http would go over the network in the clear: only https is used");
            }
        };
        let answer = road.call(request);
        HttpConnectorFuture::new(async move { answer.await.map(bounded) })
    }
}

impl Roads {
    fn builder(&self) -> ConnectorBuilder {
        Connector::builder()
            .connector_settings(self.settings.clone())
            .sleep_impl(TokioSleep::new())
    }

    fn build_secure(&self) -> Connector {
        let context = TlsContext::builder()
            .with_trust_store((*self.trust).clone())
            .build()
            .expect("a TLS context of plain values has nothing to fail on");
        self.builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Plain,
    Secure,
    Refused,
}

fn road_for(uri: &str) -> Road {
    match uri.strip_prefix("http://") {
        Some(rest) if is_near(host_of(rest)) => Road::Plain,
        Some(_) => Road::Refused,
        None => Road::Secure,
    }
}

/// Whether this asks instance metadata, wherever it goes: a profile that takes a role with the
/// instance's keys has a client for that of its own.
fn is_for_metadata(request: &HttpRequest) -> bool {
    let session = [
        "x-aws-ec2-metadata-token",
        "x-aws-ec2-metadata-token-ttl-seconds",
    ];
    let mut session = session.into_iter();
    session.any(|name| request.headers().contains_key(name))
}

/// Whether instance metadata may be asked for here: only where this machine alone can answer.
pub(crate) fn is_near_url(url: &str) -> bool {
    is_url(url) && road_for(url) == Road::Plain
}

/// Whether this can be an endpoint. The SDK would only find out at each call, and quote the whole
/// request in its error.
pub(crate) fn is_url(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        url.strip_prefix(scheme).is_some_and(|rest| {
            let plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
            !host_of(rest).is_empty() && rest.chars().all(plain)
        })
    })
}

fn host_of(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// This machine, or an address that only this machine can mean: 169.254.169.254 (metadata),
/// 169.254.170.2 and .23 (container credentials), `fd00:ec2::254` and `::23` (their IPv6 twins).
fn is_near(host: &str) -> bool {
    if let Ok(v4) = host.parse::<Ipv4Addr>() {
        return v4.is_loopback() || NEAR_V4.contains(&v4);
    }
    if let Ok(v6) = host.parse::<Ipv6Addr>() {
        return v6.is_loopback() || NEAR_V6.contains(&v6);
    }
    host.eq_ignore_ascii_case("localhost")
}

/// Instance metadata, then container credentials (ECS, EKS). Other link-local addresses may be a
/// neighbour's.
const NEAR_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
];

/// Their twins.
const NEAR_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
];

pub(crate) fn bounded(response: HttpResponse) -> HttpResponse {
    response.map(|body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES_MAX)))
}

/// The usable certificates of a PEM file, one PEM text each. The client below panics on a
/// certificate it cannot parse, so each one is tried here first.
fn certificates(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let in_file = |kind: io::ErrorKind, what: String| {
        io::Error::new(kind, format!("ca_bundle {}: {what}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|e| in_file(e.kind(), e.to_string()))?;
    let mut usable = Vec::new();
    let mut unusable = 0_usize;
    for (start, _) in text.match_indices(BEGIN) {
        let section = &text[start..];
        let end = section.find(END).map_or(section.len(), |at| at + END.len());
        let pem = &section.as_bytes()[..end];
        let parsed = CertificateDer::from_pem_slice(pem)
            .ok()
            .and_then(|certificate| RootCertStore::empty().add(certificate).ok());
        match parsed {
            Some(()) => usable.push(pem.to_vec()),
            None => unusable += 1,
        }
    }
    if usable.is_empty() {
        return Err(in_file(
            io::ErrorKind::InvalidData,
            "no usable PEM certificate in it".to_owned(),
        ));
    }
    if unusable > 0 {
        tracing::warn!(path = %path.display(), unusable, "certificates in ca_bundle left out");
    }
    Ok(usable)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata and container credentials never go through a proxy, this machine neither; https
    /// always has a road that can; http to anybody else has none.
    #[test]
    fn keeps_proxies_away_from_metadata() {
        let near = [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials/x",
            "http://169.254.170.23:80/v1/credentials",
            "http://[fd00:ec2::254]/latest",
            "http://[fd00:ec2::23]:80/",
            "http://127.0.0.1:4566",
            "http://[::1]:1/",
            "http://LocalHost/x?y=http://a",
        ];
        for uri in near {
            assert_eq!(road_for(uri), Road::Plain, "{uri}");
        }
        let far = [
            "http://logs.example.com/",
            "http://169.254.169.254.example.com/",
            "http://169.254.169.254@example.com/",
            "http://[fd00:ec3::254]/",
            "http://[fd00:ec2::1]/",
            "http://169.254.1.1/",
            "http://8.8.8.8/127.0.0.1",
        ];
        for uri in far {
            assert_eq!(road_for(uri), Road::Refused, "{uri}");
        }
        assert_eq!(road_for("https://127.0.0.1/"), Road::Secure);
    }

    /// Endpoints that the SDK would stumble over at each call are refused at once.
    #[test]
    fn knows_an_endpoint() {
        let good = ["http://127.0.0.1:80", "https://[::1]/", "https://a.b/c?d=e"];
        let bad = [
            "",
            "logs.x",
            "not a url",
            "http://",
            "https:///x",
            "http://a b",
            "ftp://x",
        ];
        assert!(good.iter().all(|url| is_url(url)));
        assert!(!bad.iter().any(|url| is_url(url)));
    }
}
