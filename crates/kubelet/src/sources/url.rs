//! Manifests at a URL: a Pod or a PodList, asked for every `httpCheckFrequency`.

use std::{fmt, str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::{Deliver, MAX_MANIFEST_BYTES, Origin, manifest};

/// For a whole answer; upstream's.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to ask, and how; upstream's `staticPodURL` and `staticPodURLHeader`.
#[derive(Clone, Debug)]
pub struct ManifestUrl {
    url: Url,
    headers: HeaderMap,
}

impl FromStr for ManifestUrl {
    type Err = String;

    /// `http://` or `https://`; the authorities of the host are trusted.
    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|error| format!("{error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(Self {
                url,
                headers: HeaderMap::new(),
            }),
            other => Err(format!("{other} is neither http nor https")),
        }
    }
}

/// Without a password and a query, which may be a secret too.
impl fmt::Display for ManifestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(&self.url))
    }
}

impl ManifestUrl {
    /// Adds a header to every request, `Name: value`. Its value is in no log.
    ///
    /// # Errors
    /// A message: what is wrong with it.
    pub fn with_header(mut self, line: &str) -> Result<Self, String> {
        let (name, value) = line.split_once(':').ok_or("a header is Name: value")?;
        let name: HeaderName = name.trim().parse().map_err(|_| "not a header's name")?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "not a header's value")?;
        value.set_sensitive(true);
        self.headers.append(name, value);
        Ok(self)
    }
}

/// Asks for ever, once a `period`.
pub(super) async fn run(source: &ManifestUrl, node: &str, period: Duration, deliver: Deliver) {
    let mut last = None;
    let mut told = None;
    loop {
        let asked = async {
            let client = client(source).map_err(|error| chain(&error))?;
            ask(&client, source, node, &mut last).await
        };
        match asked.await {
            Ok(found) => {
                told = None;
                if let Some(found) = found {
                    deliver(found);
                }
            }
            Err(error) => {
                // Told once, not three times a minute for as long as a server is away.
                if told.as_ref() != Some(&error) {
                    tracing::warn!(url = %source, error, "cannot read static pods");
                    told = Some(error);
                }
            }
        }
        tokio::time::sleep(period).await;
    }
}

fn client(source: &ManifestUrl) -> reqwest::Result<reqwest::Client> {
    // Whoever came first has installed one; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("knarr/", env!("CARGO_PKG_VERSION")))
        .default_headers(source.headers.clone())
        .timeout(TIMEOUT)
        .build()
}

/// What is there now; `None` when it is as it was. An empty answer is no pods; upstream complains of it besides.
async fn ask(
    client: &reqwest::Client,
    source: &ManifestUrl,
    node: &str,
    last: &mut Option<Vec<u8>>,
) -> Result<Option<Vec<k8s_openapi::api::core::v1::Pod>>, String> {
    let request = client.get(source.url.clone()).send();
    let mut answer = request.await.map_err(|error| chain(&error))?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("the server answered {}", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| chain(&error))? {
        text.extend_from_slice(&part);
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(format!("it is larger than {MAX_MANIFEST_BYTES} bytes"));
        }
    }
    if last.as_ref() == Some(&text) {
        return Ok(None);
    }
    let found = match text.is_empty() {
        true => Vec::new(),
        false => manifest::pods(&text, &Origin::Http(source.to_string()), node)?,
    };
    *last = Some(text);
    Ok(Some(found))
}

fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Fails for URLs without a host, of which there are none here.
    let _ = url.set_password(None);
    url.to_string()
}

/// What went wrong, down to its cause, without the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(one) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&one.to_string());
        cause = one.source();
    }
    match text.is_empty() {
        true => "the request failed".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests;
