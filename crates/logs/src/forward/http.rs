//! Requests to receivers that speak HTTP.

use std::{collections::BTreeMap, path::Path, time::Duration};

use knarr_x509::trust;
use reqwest::{
    StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

use super::Refusal;

/// For a whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// So much of an answer is told, characters.
const TOLD_CHARS: usize = 200;

/// A client of one URL.
#[derive(Debug)]
pub struct Client {
    client: reqwest::Client,
    url: Url,
}

impl Client {
    /// `path` is what is asked for below the endpoint, unless that names it itself.
    ///
    /// # Errors
    /// What is wrong, for the author of the configuration.
    pub fn new(
        endpoint: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        authorities: Option<&Path>,
    ) -> Result<Self, String> {
        let bad = |why: &dyn std::fmt::Display| format!("endpoint {endpoint}: {why}");
        let mut url: Url = endpoint.parse().map_err(|error| bad(&error))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(bad(&"has to begin with http:// or https:// and a host"));
        }
        let base = url.path().trim_end_matches('/').to_owned();
        if !base.ends_with(path) {
            url.set_path(&format!("{base}/{path}"));
        }
        // Whoever came first has installed one; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("knarr/", env!("CARGO_PKG_VERSION")))
            .default_headers(read(headers)?)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if let Some(path) = authorities {
            let bad = |error: &dyn std::fmt::Display| format!("caFile {}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| bad(&error))?;
            let tls = trust::client(&pem, None).map_err(|error| bad(&error))?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { client, url })
    }

    /// Posts a body; the answer's when it was taken.
    pub async fn post(&self, kind: &'static str, body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let request = self.client.post(self.url.clone());
        let request = request.header(CONTENT_TYPE, kind).body(body);
        let away = |error: reqwest::Error| Refusal::Now(chain(&error));
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(away)? {
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&part);
        }
        if status.is_success() {
            return Ok(body);
        }
        let text: String = String::from_utf8_lossy(&body)
            .chars()
            .take(TOLD_CHARS)
            .collect();
        let error = format!("{status}: {}", text.trim().escape_debug());
        Err(match is_forever(status) {
            true => Refusal::Forever(error),
            false => Refusal::Now(error),
        })
    }
}

/// What another try would not change. A wrong password or path may be mended at the receiver.
fn is_forever(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

fn read(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let key = HeaderName::from_bytes(name.as_bytes());
        let key = key.map_err(|_| format!("{name:?} is no header"))?;
        let value = HeaderValue::from_str(value);
        let mut value = value.map_err(|_| format!("the header {name} has no value that fits"))?;
        value.set_sensitive(true);
        read.insert(key, value);
    }
    Ok(read)
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
