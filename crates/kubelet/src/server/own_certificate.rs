//! A certificate of the node server that an administrator keeps in files, and replaces there while it is in use.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use knarr_config::ConfigFile;
use rustls::{
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::configuration::Settings;

/// No chain and no key is longer, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The two files.
#[derive(Clone, Debug)]
struct Files {
    certificate: ConfigFile,
    key: ConfigFile,
}

/// What they hold, as it is at each handshake.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    files: Files,
    current: ArcSwap<CertifiedKey>,
}

impl OwnCertificate {
    /// `None` where the configuration names no files.
    pub(super) fn of(settings: &Settings) -> Result<Option<Arc<Self>>, String> {
        let (certificate, key) = (&settings.tls_cert_file, &settings.tls_private_key_file);
        if certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let files = Files::new(certificate, key);
        let current = ArcSwap::new(files.read()?);
        Ok(Some(Arc::new(Self { files, current })))
    }

    /// Shows what the files hold from then on when they change, for ever. A pair that does not fit, as between the writes of the one and the
    /// other, changes nothing.
    pub(super) async fn follow(&self) {
        let (mut certificate, mut key) = (self.files.certificate.follow(), self.files.key.follow());
        loop {
            tokio::select! {
                () = certificate.changed() => {}
                () = key.changed() => {}
            }
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || files.read()).await;
            match read {
                Ok(Ok(next)) => {
                    self.current.store(next);
                    tracing::info!("the certificate of the kubelet's server was replaced");
                }
                Ok(Err(why)) => {
                    tracing::warn!(%why, "the changed certificate of the kubelet's server cannot be used, the one before is");
                }
                Err(error) => tracing::warn!(%error, "reading a certificate failed"),
            }
        }
    }
}

impl Files {
    fn new(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: ConfigFile::new(certificate, MAX_FILE_BYTES),
            key: ConfigFile::new(key, MAX_FILE_BYTES),
        }
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let chain = self.certificate.parse(|bytes| {
            let chain: Result<Vec<CertificateDer<'static>>, _> =
                CertificateDer::pem_slice_iter(bytes).collect();
            match chain {
                Ok(chain) if chain.is_empty() => Err("it holds no certificate".to_owned()),
                chain => chain.map_err(|error| error.to_string()),
            }
        });
        let key = self
            .key
            .parse(|bytes| PrivateKeyDer::from_pem_slice(bytes).map_err(|error| error.to_string()));
        let chain = chain.map_err(|error| error.to_string())?;
        let key = key.map_err(|error| error.to_string())?;
        let fits = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let fits = fits.map_err(|error| {
            let (certificate, key) = (self.certificate.path(), self.key.path());
            format!("{} with {}: {error}", certificate.display(), key.display())
        })?;
        Ok(Arc::new(fits))
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn pair(dir: &Path, name: &str) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.join("key"), key.serialize_pem()).unwrap();
        fs::write(dir.join("crt"), certificate.pem()).unwrap();
        certificate.der().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_shown_once_they_fit() {
        let dir = tempfile::tempdir().unwrap();
        let (crt, key) = (dir.path().join("crt"), dir.path().join("key"));
        let files = Files::new(&crt, &key);
        assert!(files.read().unwrap_err().contains("cannot read"));
        let first = pair(dir.path(), "a");
        let current = ArcSwap::new(files.read().unwrap());
        let own = Arc::new(OwnCertificate { files, current });
        let following = tokio::spawn({
            let own = own.clone();
            async move { own.follow().await }
        });
        let shown = || own.current.load().cert[0].to_vec();
        // It has seen what is there.
        tokio::time::sleep(Duration::from_secs(3)).await;
        fs::write(&key, "torn").unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(shown(), first);
        let second = pair(dir.path(), "b");
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if shown() == second {
                break;
            }
            // What reads files does so on a thread that knows nothing of this clock.
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(shown(), second);
        following.abort();
    }
}
