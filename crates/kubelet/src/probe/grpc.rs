//! The grpc probe: one `grpc.health.v1.Health/Check` call. Its two messages have one field each, so they are written
//! and read by hand.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Outcome, tcp};

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
/// Longest answer, bytes: a health check's has seven.
const MAX_ANSWER_BYTES: usize = 4 << 10;
/// Longest trailers of the answer, bytes.
const MAX_HEADERS_BYTES: u32 = 16 << 10;

/// gRPC status codes.
const OK: &str = "0";
const UNIMPLEMENTED: &str = "12";

pub(super) async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let address = format!("{host}:{port}");
    let late = || {
        let seconds = timeout.as_secs();
        Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
        ))
    };
    match tokio::time::timeout(timeout, check(host, port, service, timeout)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "invalid",
            };
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Ok(Err(error)) => Outcome::Failure(error),
        Err(_) => late(),
    }
}

async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<u64, String> {
    let failed = |error: &dyn std::fmt::Display| {
        let seconds = timeout.as_secs();
        format!("timeout: failed to connect service \"{host}:{port}\" within {seconds}s: {error}")
    };
    let stream = tcp::connect(host, port, timeout)
        .await
        .map_err(|error| failed(&error))?;
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(MAX_HEADERS_BYTES)
        .handshake(io)
        .await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(request(service)))
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let early = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| failed(&error))?;
        let late = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
        let code = late.or(early);
        match code.as_ref().and_then(|c| c.to_str().ok()) {
            Some(OK) | None => response_status(&body.to_bytes()),
            Some(UNIMPLEMENTED) => Err(format!(
                "server at \"{host}:{port}\" does not implement the grpc health protocol (grpc.health.v1.Health)"
            )),
            Some(code) => Err(format!(
                "service health check failed with grpc status {code}"
            )),
        }
    };
    tokio::pin!(asking);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

/// A length-prefixed `HealthCheckRequest { service = 1 }`.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    Bytes::from(framed)
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Field 1 of a length-prefixed `HealthCheckResponse`; absent means 0.
fn response_status(framed: &[u8]) -> Result<u64, String> {
    let message = framed
        .get(5..)
        .ok_or_else(|| "grpc answer is too short".to_owned())?;
    match message {
        [0x08, value, ..] if *value < 0x80 => Ok(u64::from(*value)),
        [] => Ok(0),
        _ => Err("grpc answer is not a health check response".to_owned()),
    }
}
