//! What the controllers of bootstrap tokens share.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use knarr_auth::bootstrap_token::{self, NAMESPACE, SECRET_TYPE, TokenSecret};
use knarr_client::{Informer, InformerScope};

use crate::runner::Context;

/// The Secrets of tokens, and no others.
pub(crate) fn secrets(context: &Context) -> Informer<Secret> {
    context.informers.informer_with(InformerScope {
        namespace: Some(NAMESPACE.to_owned()),
        field_selector: Some(format!("type={SECRET_TYPE}")),
        ..InformerScope::default()
    })
}

/// The token of a Secret.
pub(crate) fn read(secret: &Secret) -> Option<TokenSecret> {
    let data = secret.data.as_ref();
    TokenSecret::read(
        secret.type_.as_deref().unwrap_or_default(),
        secret.metadata.name.as_deref().unwrap_or_default(),
        |key| Some(data?.get(key)?.0.as_slice()),
    )
}

/// When a Secret of this type ends, whatever else it says; `None` for ever.
pub(crate) fn expiry(secret: &Secret) -> Option<Timestamp> {
    if secret.type_.as_deref() != Some(SECRET_TYPE) {
        return None;
    }
    let data = secret.data.as_ref();
    bootstrap_token::expiry(|key| Some(data?.get(key)?.0.as_slice()))
}
