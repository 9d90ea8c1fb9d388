//! Redirects of a pod that mean the pod itself go through the proxy again.

use http::{HeaderValue, Response, Uri, header, uri::PathAndQuery};
use knarr_meta::status::Status;

use super::{Location, Target};

/// Rewrites the `Location` header, as upstream's proxy transport: an absolute path, or a URL of the pod or of the host that the
/// client asked, gets the proxy's prefix.
pub fn location<B>(
    response: &mut Response<B>,
    target: &Target,
    location: &Location<'_>,
    client_host: Option<&HeaderValue>,
) -> Result<(), Status> {
    let Some(given) = response.headers().get(header::LOCATION) else {
        return Ok(());
    };
    let parsed = given
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok());
    let Some(uri) = parsed else {
        // A relative path is no URI of its own, and stays right as it is.
        return Ok(());
    };
    let asked = client_host.and_then(|host| host.to_str().ok());
    let other_host = uri.authority().is_some_and(|authority| {
        authority.as_str() != target.to_string() && Some(authority.as_str()) != asked
    });
    if other_host || !uri.path().starts_with('/') {
        return Ok(());
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let prefix = crate::escape::path(location.prefix());
    let path = match path.starts_with(&prefix) {
        true => path.to_owned(),
        false => format!("{prefix}{path}"),
    };
    // With the client's own host: it has come here by it.
    let to = match asked {
        Some(host) => format!("https://{host}{path}"),
        None => path,
    };
    let to = HeaderValue::from_str(&to).map_err(Status::internal)?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(())
}
