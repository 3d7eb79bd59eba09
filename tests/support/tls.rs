//! A certificate authority of our own, made anew for each stand-in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority's certificate on disk and a server that it vouches for.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    /// For the stand-in.
    pub(crate) server: Arc<ServerConfig>,
}

impl Authority {
    /// Makes the authority and a certificate for this name.
    pub(crate) fn for_name(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), root.pem()).unwrap();

        let issuer = Issuer::new(params, key);
        let names = vec![name.to_owned()];
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&leaf_key, &issuer)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), root.der().clone()], private)
            .unwrap();
        Self {
            dir,
            server: Arc::new(server),
        }
    }

    /// PEM file of the authority's certificate.
    pub(crate) fn pem(&self) -> PathBuf {
        let dir: &Path = self.dir.path();
        dir.join("ca.pem")
    }
}
