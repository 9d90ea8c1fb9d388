//! Keys that sign, as they are found in files.

use rcgen::KeyPair;

/// A key of ours, or one that kubeadm has made (RSA in PKCS#1).
pub(super) fn signing_key(pem: &[u8]) -> Result<KeyPair, String> {
    let pkcs8 = knarr_x509::signing::pkcs8(pem).map_err(|e| e.to_string())?;
    KeyPair::from_pem(&pkcs8).map_err(|e| e.to_string())
}
