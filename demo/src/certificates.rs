//! A certificate authority that lives as long as the demonstration, and the receiver's certificate. Knows no socket.
use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// What both sides need.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate, for `egress.ca_files`.
    pub authority_pem: String,
    /// For the receiver.
    pub server: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes them, for 127.0.0.1 and localhost.
    pub fn new() -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.distinguished_name.push(DnType::CommonName, "Tailhook demo");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, "Tailhook demo receiver");
        leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &authority)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS version")?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority_pem: authority.pem(), server: Arc::new(server) })
    }
}
