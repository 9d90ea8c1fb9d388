//! The cluster's own key, which Secrets are encrypted with where nothing else is configured.

/// What is stored between upstream's prefix of AES-GCM and the value.
pub const NAME: &str = "local";

/// A key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnKey([u8; 32]);

impl OwnKey {
    pub fn new(key: [u8; 32]) -> OwnKey {
        OwnKey(key)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey")
    }
}
