//! The grpc probe: one `grpc.health.v1.Health/Check` call. Its two messages have one field each, so they are written
//! and read by hand.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::{Outcome, tcp};

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
/// Longest answer, bytes: a health check's has seven.
const MAX_ANSWER_BYTES: usize = 4 << 10;
/// Longest trailers of the answer, bytes.
const MAX_HEADERS_BYTES: u32 = 16 << 10;

/// What upstream's client says of a deadline.
const LATE: &str = "context deadline exceeded";

pub(super) async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    match check(host, port, service, timeout).await {
        Ok(SERVING) => Outcome::Success,
        Ok(status) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "invalid",
            };
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Err(error) => Outcome::Failure(error),
    }
}

async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<u64, String> {
    let deadline = Instant::now() + timeout;
    let seconds = timeout.as_secs();
    let authority = tcp::authority(host, port);
    let failed = |error: &dyn std::fmt::Display| {
        format!("timeout: failed to connect service \"{authority}\" within {seconds}s: {error}")
    };
    let connecting = async {
        let stream = tcp::connect(host, port, timeout)
            .await
            .map_err(|error| failed(&error))?;
        hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(MAX_HEADERS_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))
    };
    let connected = timeout_at(deadline, connecting).await;
    let (mut sender, connection) = connected.unwrap_or_else(|_| Err(failed(&LATE)))?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
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
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| failed(&error))?;
        let trailers = body.trailers().filter(|t| t.contains_key("grpc-status"));
        match refusal(trailers.unwrap_or(&head.headers), seconds) {
            None => response_status(&body.to_bytes()),
            Some(why) => Err(why),
        }
    };
    let answered = async {
        tokio::pin!(asking);
        tokio::pin!(connection);
        tokio::select! {
            answer = &mut asking => answer,
            _ = &mut connection => asking.await,
        }
    };
    let answer = timeout_at(deadline, answered).await;
    answer.unwrap_or_else(|_| Err(late(seconds)))
}

fn late(seconds: u64) -> String {
    format!("timeout: health rpc did not complete within {seconds}s")
}

/// Why the server did not answer the call, in upstream's words.
fn refusal(status: &HeaderMap, seconds: u64) -> Option<String> {
    let text = |name| status.get(name).and_then(|value| value.to_str().ok());
    let code = Code::from_bytes(text("grpc-status")?.as_bytes());
    let encoded = text("grpc-message").unwrap_or_default();
    let message = percent_decode_str(encoded).decode_utf8_lossy();
    match code {
        Code::Ok => None,
        Code::Unimplemented => Some(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Code::DeadlineExceeded => Some(late(seconds)),
        code => {
            // Go has it with one l.
            let code = match code {
                Code::Cancelled => "Canceled".to_owned(),
                code => format!("{code:?}"),
            };
            Some(format!(
                "error: health rpc probe failed: rpc error: code = {code} desc = {message}"
            ))
        }
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
