//! Trust anchors as one PEM bundle in memory. Knows certificates, no connection.
//!
//! The connector takes either the platform's roots or one file *instead* of them, and it panics on a single bad
//! certificate in either. So both are put together here, what the TLS library would refuse is left out, and the
//! result is handed over as an anonymous file (`memfd`): nothing is written to a disk.
use super::EgressError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{MemfdFlags, memfd_create};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Anchors in an anonymous file; it must live until the connector has read it.
pub(super) struct Bundle {
    file: File,
    /// How many anchors.
    pub(super) count: usize,
    /// Tells apart what was verified under different anchors.
    pub(super) fingerprint: u64,
}

impl Bundle {
    /// Platform roots (those that are usable) and `ca_files` (all of which must be usable).
    pub(super) fn new(
        platform: Vec<CertificateDer<'static>>,
        ca_files: &[PathBuf],
    ) -> Result<Self, EgressError> {
        let mut store = RootCertStore::empty();
        let mut all: Vec<CertificateDer<'static>> =
            platform.into_iter().filter(|cert| store.add(cert.clone()).is_ok()).collect();
        for path in ca_files {
            let bad = |why: String| EgressError::Trust(format!("{}: {why}", path.display()));
            let certs: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?.collect();
            let certs = certs.map_err(|e| bad(e.to_string()))?;
            if certs.is_empty() {
                return Err(bad("holds no certificate".into()));
            }
            for cert in certs {
                store.add(cert.clone()).map_err(|e| bad(e.to_string()))?;
                all.push(cert);
            }
        }
        let text = pem(&all);
        let file = memfd_create("tailhook-anchors", MemfdFlags::CLOEXEC)
            .map_err(|e| EgressError::Anchors(e.into()))?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).map_err(EgressError::Anchors)?;
        let fingerprint = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        Ok(Self { file, count: all.len(), fingerprint })
    }
    /// A path by which this process can open it.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

fn pem(certs: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for cert in certs {
        let _ = write!(
            text,
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(cert)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_platform_roots_are_left_out_and_bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good.pem");
        let cert = rcgen::generate_simple_self_signed(vec!["ca.test".into()]).unwrap().cert;
        std::fs::write(&good, cert.pem()).unwrap();
        let platform = vec![CertificateDer::from(vec![1, 2, 3]), cert.der().clone()];
        let bundle = Bundle::new(platform, std::slice::from_ref(&good)).unwrap();
        assert_eq!(bundle.count, 2);
        let read = CertificateDer::pem_file_iter(bundle.path()).unwrap().count();
        assert_eq!(read, 2);

        for (name, text) in [
            ("empty.pem", ""),
            ("garbage.pem", "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = Bundle::new(vec![], &[path]).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(Bundle::new(vec![], &[folder.path().join("missing.pem")]).is_err());
    }
}
