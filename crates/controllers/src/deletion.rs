//! The one way controllers delete: never by name alone. Between a decision and its delete another object may have taken
//! the name; it is not the one that was decided about. (`clippy.toml` keeps `Api::delete` to this file.)

use std::fmt::Debug;

use knarr_client::errors;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta};
use kube::core::Status;
use serde::de::DeserializeOwned;

/// Deletes the object that `meta` was read from. One that is gone is no error.
///
/// # Errors
/// What the server answered, a conflict where another object has the name by now; `BadRequest` for an object without a uid,
/// which was not read from a server.
pub(crate) async fn delete<K>(
    api: &Api<K>,
    meta: &ObjectMeta,
    params: DeleteParams,
) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let name = meta.name.as_deref().unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    delete_named(api, (name, uid), params).await
}

/// As [`delete`], the object of this name and uid.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the precondition is set"
)]
pub(crate) async fn delete_named<K>(
    api: &Api<K>,
    (name, uid): (&str, &str),
    params: DeleteParams,
) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    if uid.is_empty() {
        let message = format!("{name:?} has no uid, it cannot be deleted");
        let status = Status::failure(&message, "BadRequest").with_code(400);
        return Err(kube::Error::Api(status.boxed()));
    }
    let mut preconditions = params.preconditions.unwrap_or_default();
    preconditions.uid = Some(uid.to_owned());
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..params
    };
    errors::optional(api.delete(name, &params).await)?;
    Ok(())
}

#[cfg(test)]
mod tests;
