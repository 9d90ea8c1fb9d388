//! What a failed call means to its caller: the few questions reconcilers ask about a [`kube::Error`].

use kube::core::Status;

/// The `Status` the server answered, if the request reached one.
pub fn status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The object (or the resource) does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_not_found) || is_missing_page(error)
}

/// The write was made against an older state, or a precondition did not hold: look again and retry.
pub fn is_conflict(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_conflict)
}

/// A create found the name taken.
pub fn is_already_exists(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_already_exists)
}

/// The server refuses the object itself; the same write will fail again.
pub fn is_invalid(error: &kube::Error) -> bool {
    status(error).is_some_and(Status::is_invalid)
}

/// The server has decided against the request: nothing came of it. What failed otherwise, or had no answer, may have been done.
pub fn is_refusal(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| (400..500).contains(&status.code))
}

/// Creation was refused because the namespace is being deleted (`NamespaceTerminating` among the causes).
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    status(error).is_some_and(|s| {
        s.is_forbidden()
            && s.details
                .as_ref()
                .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
    })
}

/// A gone resource version: 410, `Expired` or `Gone`.
pub fn is_expired(error: &kube::Error) -> bool {
    status(error).is_some_and(|s| s.code == 410 || s.reason == "Expired" || s.reason == "Gone")
}

/// `Ok(None)` for an object that is not there, as deletes and live reads want it.
pub fn optional<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A path that nothing serves: 404 with a page instead of a `Status`. kube makes a status of its own of it.
pub fn is_missing_page(error: &kube::Error) -> bool {
    status(error).is_some_and(|s| s.code == 404 && s.reason == "Failed to parse error data")
}

/// The server's own words without kube's decoration, for events and conditions.
pub fn message(error: &kube::Error) -> String {
    match error {
        // As upstream's client says it.
        error if is_missing_page(error) => {
            "the server could not find the requested resource".to_owned()
        }
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_nobody_serves_is_not_found() {
        // As kube makes it of an answer that is no Status.
        let status = Status::failure("404 page not found", "Failed to parse error data");
        let error = kube::Error::Api(status.with_code(404).boxed());
        assert!(is_not_found(&error));
        assert_eq!(
            message(&error),
            "the server could not find the requested resource"
        );
        let status = Status::failure("bad gateway", "Failed to parse error data");
        let error = kube::Error::Api(status.with_code(502).boxed());
        assert!(!is_not_found(&error));
        assert_eq!(message(&error), "bad gateway");
    }
}
