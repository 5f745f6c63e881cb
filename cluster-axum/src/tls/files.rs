//! Certificates and keys, from PEM files.
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use cluster_core::StartError;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("there is no certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    #[error("there is no private key in it (-----BEGIN PRIVATE KEY-----, PKCS#8, or PKCS#1 or SEC1)")]
    NoKey,
    #[error("it is no PEM file: {}", in_words(.0))]
    Pem(pem::Error),
    #[error("the first certificate in it cannot be used: {0}")]
    Certificate(Error),
    #[error("its key cannot be used: {0}")]
    Key(Error),
    #[error("its key is not that of the first certificate in {0}")]
    OtherKey(String),
}

/// What is wrong in a PEM file; the library shows lines as lists of bytes.
fn in_words(err: &pem::Error) -> String {
    let line = String::from_utf8_lossy;
    match err {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("it ends before -----END {}-----", line(end_marker))
        }
        pem::Error::IllegalSectionStart { line: begin } => {
            format!("no section begins with {:?}", line(begin))
        }
        err => err.to_string(),
    }
}

/// A configuration that shows these files' certificate and asks no client for one; and the certificate.
pub(super) fn read(cert: &Path, key: &Path) -> Result<(ServerConfig, CertificateDer<'static>), StartError> {
    let provider = Arc::new(default_provider());
    let chain = chain(cert)?;
    let shown = chain.first().cloned().ok_or_else(|| fault(cert, Fault::NoCertificate))?;
    let signs = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|err| match err {
        pem::Error::NoItemsFound => fault(key, Fault::NoKey),
        err => fault(key, Fault::Pem(err)),
    })?;
    let signs = provider.key_provider.load_private_key(signs).map_err(|err| fault(key, Fault::Key(err)))?;
    let pair = CertifiedKey::new(chain, signs);
    match pair.keys_match() {
        // That of a key whose public half cannot be had.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(fault(key, Fault::OtherKey(cert.display().to_string())));
        }
        Err(err) => return Err(fault(cert, Fault::Certificate(err))),
    }
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    Ok((config, shown))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let pem = bytes(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    chain.map_err(|err| fault(path, Fault::Pem(err)))
}

fn bytes(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path)
        .map_err(|err: io::Error| StartError::File { path: path.display().to_string(), source: err.into() })
}

fn fault(path: &Path, fault: Fault) -> StartError {
    StartError::File { path: path.display().to_string(), source: fault.into() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    /// A folder that is gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cluster-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn made() -> (String, String) {
        let Made { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn what_belongs_together_is_taken() {
        let folder = Folder::new("together");
        let (cert, key) = made();
        let both = folder.write("both.pem", &format!("{key}{cert}"));
        read(&folder.write("cert.pem", &cert), &folder.write("key.pem", &key)).unwrap();
        read(&both, &both).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_file() {
        let folder = Folder::new("faults");
        let ((cert, key), (other, _)) = (made(), made());
        let cert = folder.write("cert.pem", &cert);
        let key = folder.write("key.pem", &key);
        let empty = folder.write("empty.pem", "");
        let missing = folder.0.join("missing.pem");
        let cut = folder.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
        let odd = folder.write("odd.pem", "-----BEGIN CERT\nMIIB\n-----END CERT-----\n");
        let nonsense =
            folder.write("nonsense.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        let bad_key =
            folder.write("bad-key.pem", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
        let other = folder.write("other.pem", &other);
        let faults = [
            (&missing, &key, "missing.pem", "No such file"),
            (&cert, &missing, "missing.pem", "No such file"),
            (&empty, &key, "empty.pem", "no certificate"),
            (&cert, &empty, "empty.pem", "no private key"),
            (&cut, &key, "cut.pem", "no PEM file: it ends before -----END CERTIFICATE-----"),
            (&odd, &key, "odd.pem", "no section begins with \"-----BEGIN CERT\""),
            (&nonsense, &key, "nonsense.pem", "first certificate"),
            (&cert, &bad_key, "bad-key.pem", "its key cannot be used"),
            (&other, &key, "key.pem", "not that of the first certificate"),
        ];
        for (cert, key, named, why) in faults {
            let err = read(cert, key).map(drop).unwrap_err().to_string();
            assert!(err.starts_with("cannot use ") && err.contains(named) && err.contains(why), "{err}");
        }
        let err = read(&missing, &key).map(drop).unwrap_err();
        assert_eq!(io::Error::from(err).kind(), io::ErrorKind::NotFound);
    }
}
