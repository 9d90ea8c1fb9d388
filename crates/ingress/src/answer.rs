//! Answers that no backend gave.

use http::{HeaderValue, Response, StatusCode, header};

use crate::body::{self, Answer};

/// Why a request is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not clear what it asks for.
    Malformed(&'static str),
    NoRule,
    /// The Ingress has an option that keeps somebody out and is not understood.
    Misconfigured,
    Forbidden,
    TooLong,
    NoEndpoints,
    /// Too many requests for this namespace are on their way.
    Full,
    Circle,
    /// No endpoint could be reached, or the one that was did not speak HTTP.
    Unreachable,
    Silent,
    /// Status and address.
    Elsewhere(StatusCode, String),
}

impl Refusal {
    fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, why),
            Self::NoRule => (
                StatusCode::NOT_FOUND,
                "no rule of an Ingress is for this host and path",
            ),
            Self::Misconfigured => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the Ingress has annotations that are not understood; its events tell which",
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "this client may not ask"),
            Self::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is longer than the Ingress allows",
            ),
            Self::NoEndpoints => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the Service has no ready endpoint",
            ),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once"),
            Self::Circle => (StatusCode::LOOP_DETECTED, "the request goes in circles"),
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "no endpoint gave an answer"),
            Self::Silent => (
                StatusCode::GATEWAY_TIMEOUT,
                "the endpoint did not answer in time",
            ),
            Self::Elsewhere(status, _) => (*status, "this is found elsewhere"),
        }
    }

    pub fn response(&self) -> Response<Answer> {
        let (status, why) = self.told();
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("{} {reason}: {why}\n", status.as_u16());
        let mut response = Response::new(body::full(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        let as_said = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, as_said);
        if let Self::Elsewhere(_, location) = self
            && let Ok(location) = HeaderValue::from_str(location)
        {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}
