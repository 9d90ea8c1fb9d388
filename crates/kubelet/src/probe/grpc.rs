//! The grpc probe: one `grpc.health.v1.Health/Check` call. Its two messages have one field each, so they are written
//! and read by hand.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tonic::Code;

use super::{Outcome, tcp};

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
/// Longest answer, bytes: a health check's has seven.
const MAX_ANSWER_BYTES: usize = 4 << 10;
/// Longest trailers of the answer, bytes.
const MAX_HEADERS_BYTES: u32 = 16 << 10;

/// What upstream's client waits before it connects anew.
const RECONNECT: Duration = Duration::from_secs(1);
/// Which byte of a frame of HTTP/2 says what it is.
const FRAME_TYPE: usize = 3;
const SETTINGS: u8 = 4;

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
    let greeted = Arc::new(AtomicBool::new(false));
    let asking = async {
        loop {
            match call(host, port, service, (timeout, &greeted)).await {
                Err(_) if !greeted.load(Ordering::Relaxed) => sleep(RECONNECT).await,
                answer => return answer,
            }
        }
    };
    match timeout_at(deadline, asking).await {
        Ok(answer) => answer,
        Err(_) if greeted.load(Ordering::Relaxed) => Err(late(seconds)),
        Err(_) => {
            let authority = tcp::authority(host, port);
            Err(format!(
                "timeout: failed to connect service \"{authority}\" within {seconds}s: {LATE}"
            ))
        }
    }
}

/// One connection and one call over it. Says by `greeted` whether there is a server of HTTP/2: as long as there is none, upstream's
/// client tries to connect until the deadline, and then tells of that only.
async fn call(
    host: &str,
    port: u16,
    service: &str,
    (timeout, greeted): (Duration, &Arc<AtomicBool>),
) -> Result<u64, String> {
    let broken = |error: &dyn std::fmt::Display| {
        format!("error: health rpc probe failed: rpc error: code = Unavailable desc = {error}")
    };
    let stream = Greeted {
        stream: tcp::connect(host, port, timeout).await?,
        read: 0,
        greeted: greeted.clone(),
    };
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(MAX_HEADERS_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let authority = tcp::authority(host, port);
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(request(service)))
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| broken(&error))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| broken(&error))?;
        let trailers = body.trailers().filter(|t| t.contains_key("grpc-status"));
        match refusal(trailers.unwrap_or(&head.headers), timeout.as_secs()) {
            None => response_status(&body.to_bytes()),
            Some(why) => Err(why),
        }
    };
    tokio::pin!(asking);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

/// A connection that tells whether what is there speaks HTTP/2: the first thing that such a server sends are its settings.
struct Greeted {
    stream: TcpStream,
    /// Bytes of the server, as far as the one that counts.
    read: usize,
    greeted: Arc<AtomicBool>,
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        if self.read <= FRAME_TYPE {
            if new.get(FRAME_TYPE - self.read) == Some(&SETTINGS) {
                self.greeted.store(true, Ordering::Relaxed);
            }
            self.read += new.len();
        }
        polled
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
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
