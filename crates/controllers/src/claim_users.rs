//! Who uses claims.

use k8s_openapi::api::core::v1::Pod;
use knarr_client::IndexKey;
use knarr_volumes::pod;

use crate::runner::Key;

/// Pods by the claims that their volumes name, or that are made for them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct UsesClaim(pub Key);

impl IndexKey<Pod> for UsesClaim {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        claims_of(pod).into_iter().map(Self).collect()
    }
}

pub(crate) fn claims_of(of: &Pod) -> Vec<Key> {
    let namespace = of.metadata.namespace.as_deref().unwrap_or_default();
    let claims = pod::claims(of);
    claims
        .map(|claim| Key::new(namespace, claim.name))
        .collect()
}
