//! Answers that no backend gave.

use http::{HeaderValue, Response, StatusCode, header};

use crate::body::{self, Answer};

/// Codes of gRPC.
const DEADLINE_EXCEEDED: &str = "4";
const PERMISSION_DENIED: &str = "7";
const UNIMPLEMENTED: &str = "12";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";

/// Why a request is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not clear what it asks for.
    Malformed(&'static str),
    NoRule,
    /// It came by a connection for another host.
    Misdirected,
    /// No backend of the rule can be asked.
    NoBackend,
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
            Self::NoRule => (StatusCode::NOT_FOUND, "no rule is for this host and path"),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "the connection is for another host",
            ),
            Self::NoBackend => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the rule has no backend that can be asked; its route's status tells why",
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

    /// The answer to a call of gRPC (its protocol over HTTP/2, "Responses").
    pub fn grpc_response(&self) -> Response<Answer> {
        let (status, why) = self.told();
        let code = match status {
            StatusCode::NOT_FOUND => UNIMPLEMENTED,
            StatusCode::FORBIDDEN => PERMISSION_DENIED,
            StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
            StatusCode::BAD_REQUEST => INTERNAL,
            _ => UNAVAILABLE,
        };
        let mut response = Response::new(body::full(""));
        let headers = response.headers_mut();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        headers.insert("grpc-status", HeaderValue::from_static(code));
        headers.insert("grpc-message", HeaderValue::from_static(why));
        response
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
