//! Answers: objects, lists and errors in the representation that was negotiated.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_meta::status::Status;
use serde_json::Value;

use crate::{
    body::{Body, BoxError, Chunks},
    negotiate::{Accepted, Encoding, Shape},
    protobuf, yaml,
};

/// Answers above this many bytes are compressed for clients that accept gzip, as upstream.
pub const GZIP_BYTES: u64 = 128 << 10;

/// What a handler gives back: every error is a Status.
pub type Answer = Result<Response<Body>, Status>;

/// A response with a body of a known type.
pub fn with_type(
    code: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// JSON that is encoded already.
pub fn json(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    with_type(code, "application/json", body)
}

/// A tree in the negotiated encoding; 406 where it is of no type that has a message.
pub fn tree(code: StatusCode, value: &Value, accepted: Accepted) -> Response<Body> {
    match encode(value, accepted) {
        Ok(bytes) => with_type(code, accepted.encoding.content_type(), bytes),
        Err(failure) => error(&Status::from(failure), accepted),
    }
}

/// A tree's bytes in the negotiated encoding, with kind and apiVersion first in JSON as upstream writes them.
fn encode(value: &Value, accepted: Accepted) -> Result<Bytes, protobuf::Error> {
    Ok(match accepted.encoding {
        Encoding::Protobuf => return protobuf::body(value),
        Encoding::Yaml => Bytes::from(yaml::write(value)),
        Encoding::Json if accepted.pretty => {
            let mut out = serde_json::to_vec_pretty(value).unwrap_or_default();
            out.push(b'\n');
            Bytes::from(out)
        }
        Encoding::Json => {
            let mut out = serde_json::to_vec(value).unwrap_or_default();
            out.push(b'\n');
            Bytes::from(out)
        }
    })
}

/// Plain JSON, not indented.
pub const JSON: Accepted = Accepted {
    encoding: Encoding::Json,
    shape: Shape::Object,
    pretty: false,
};

/// An error. `Retry-After` repeats what the Status says.
pub fn error(status: &Status, accepted: Accepted) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let encoded = match accepted.encoding {
        // Its own order of fields is upstream's.
        Encoding::Json if accepted.pretty => {
            serde_json::to_vec_pretty(status).ok().map(Bytes::from)
        }
        Encoding::Json => None,
        _ => encode(&status.to_value(), accepted).ok(),
    };
    let mut response = match encoded {
        Some(bytes) => with_type(code, accepted.encoding.content_type(), bytes),
        None => json(code, status.to_json()),
    };
    let retry = status.retry_after_seconds();
    if retry > 0 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// Text for people: health checks, metrics.
pub fn text(code: StatusCode, body: impl Into<String>) -> Response<Body> {
    with_type(code, "text/plain; charset=utf-8", Bytes::from(body.into()))
}

/// Compresses a large JSON body for a client that accepts it.
pub fn compress(response: Response<Body>, accept_encoding: &str) -> Response<Body> {
    let accepts = accept_encoding
        .split(',')
        .any(|e| e.trim().split(';').next() == Some("gzip"));
    let size = response.body().estimate();
    if !accepts || size <= GZIP_BYTES || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match body {
        Body::Full(Some(bytes)) => {
            Body::stream(futures::stream::iter(Gzip::new(Pieces::Bytes(bytes))))
        }
        Body::List(list) => Body::stream(futures::stream::iter(Gzip::new(Pieces::List(list)))),
        other => return Response::from_parts(parts, other),
    };
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts
        .headers
        .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, body)
}

enum Pieces {
    Bytes(Bytes),
    List(Box<dyn Chunks>),
}

/// Compresses a piece at each turn, so that a large list is never there twice.
struct Gzip {
    pieces: Pieces,
    encoder: Option<flate2::write::GzEncoder<Vec<u8>>>,
}

impl Gzip {
    /// Upstream's level: speed.
    const LEVEL: u32 = 1;
    const PIECE_BYTES: usize = 256 << 10;

    fn new(pieces: Pieces) -> Gzip {
        let level = flate2::Compression::new(Gzip::LEVEL);
        Gzip {
            pieces,
            encoder: Some(flate2::write::GzEncoder::new(Vec::new(), level)),
        }
    }

    fn piece(&mut self) -> Option<Bytes> {
        match &mut self.pieces {
            Pieces::List(list) => list.chunk(),
            Pieces::Bytes(bytes) if bytes.is_empty() => None,
            Pieces::Bytes(bytes) => Some(bytes.split_to(bytes.len().min(Gzip::PIECE_BYTES))),
        }
    }
}

impl Iterator for Gzip {
    type Item = Result<Bytes, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        use std::io::Write;
        while let Some(piece) = self.encoder.is_some().then(|| self.piece())? {
            let encoder = self.encoder.as_mut()?;
            if let Err(error) = encoder.write_all(&piece) {
                self.encoder = None;
                return Some(Err(error.into()));
            }
            if !encoder.get_ref().is_empty() {
                return Some(Ok(Bytes::from(std::mem::take(encoder.get_mut()))));
            }
        }
        match self.encoder.take()?.finish() {
            Ok(rest) => Some(Ok(Bytes::from(rest))),
            Err(error) => Some(Err(error.into())),
        }
    }
}
