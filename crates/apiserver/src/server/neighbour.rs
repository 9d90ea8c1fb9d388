//! Whether an API server of upstream's has the store, too, or had it, and encrypts nothing there: what kubeadm sets up.
//!
//! Secrets that only the cluster's own key opens would make its list of Secrets fail as a whole, so that nobody could go back. They are
//! no worse kept plain than they were before; `--encryption-provider-config` encrypts them for both.

use knarr_store::{Result, Store};

const SECRETS: &str = "/registry/secrets/";
const NAMESPACES: &str = "/registry/namespaces/";
/// What every provider of encryption begins a value with.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// What upstream's servers begin a message with; ours store JSON.
const PROTOBUF: &[u8] = b"k8s\0";
/// So many values tell.
const LOOKED_AT: usize = 500;

/// Secrets of which none is encrypted say so, and where there are none yet, namespaces that another server has stored.
///
/// # Errors
/// Of the store.
pub(super) async fn keeps_secrets_plain(store: &dyn Store) -> Result<bool> {
    let secrets = store.range(SECRETS, None, LOOKED_AT, None).await?;
    if !secrets.kvs.is_empty() {
        let mut secrets = secrets.kvs.iter();
        return Ok(!secrets.any(|secret| secret.value.starts_with(ENCRYPTED)));
    }
    let namespaces = store.range(NAMESPACES, None, LOOKED_AT, None).await?;
    let mut namespaces = namespaces.kvs.iter();
    Ok(namespaces.any(|namespace| namespace.value.starts_with(PROTOBUF)))
}

#[cfg(test)]
mod tests {
    use knarr_store::{Memory, Op};

    use super::*;

    #[tokio::test]
    async fn what_is_stored_tells() {
        let ours: &[u8] = b"k8s:enc:aesgcm:v1:local:...";
        let theirs: &[u8] = b"k8s\0...";
        let json: &[u8] = b"{}";
        let (secret, other) = ("/registry/secrets/x/s", "/registry/secrets/x/t");
        let namespace = "/registry/namespaces/default";
        type Stored<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Stored<'_>, bool); 8] = [
            (&[], false),
            (&[(namespace, json)], false),
            (&[(namespace, theirs)], true),
            (&[(namespace, theirs), (secret, ours)], false),
            (&[(namespace, json), (secret, theirs)], true),
            (&[(namespace, json), (secret, json)], true),
            (&[(secret, theirs), (other, ours)], false),
            (&[("/registry/secretstores/x", theirs)], false),
        ];
        for (stored, plain) in cases {
            let store = Memory::default();
            for (key, value) in stored {
                let op = Op::put(*key, value.to_vec());
                store.commit(op).await.expect("stored");
            }
            let found = keeps_secrets_plain(&store).await.expect("an answer");
            assert_eq!(found, plain, "{stored:?}");
        }
    }
}
