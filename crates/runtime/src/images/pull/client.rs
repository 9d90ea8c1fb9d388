//! Requests to one registry or mirror, with the authorization that it asks for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::parse_challenges;
use knarr_x509::trust;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Identity, Response, StatusCode, Url};
use serde::Deserialize;

use super::error::{self, RequestError};
use super::guard::{Guard, place};
use super::{Credentials, Timeouts, spool};
use crate::images::Reference;
use crate::images::reference::is_component;
use crate::registries::{Endpoint, Tls};

/// How long a registry may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of a token server, bytes.
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// Repositories of one challenge that a token is asked for.
const MAX_SCOPES: usize = 8;
/// What is read of a refusal, bytes.
const MAX_REFUSAL_BYTES: usize = 8 << 10;

/// A registry or mirror, for one repository.
pub struct Source {
    client: reqwest::Client,
    guard: Guard,
    base: Url,
    repository: String,
    /// The registry that a mirror is asked for.
    namespace: Option<String>,
    credentials: Credentials,
    timeouts: Timeouts,
    /// What the registry wanted last.
    authorization: Mutex<Option<HeaderValue>>,
}

/// What a registry wants of who it does not know.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Bearer {
        realm: String,
        service: Option<String>,
        /// Repositories that are to be pulled from: below its path, a mirror has other names than we ask for.
        repositories: Vec<String>,
    },
    Basic,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Source {
    /// `credentials` are for the registry itself: a mirror is not shown them. The error is a message.
    pub fn new(
        endpoint: Endpoint,
        reference: &Reference,
        credentials: &Credentials,
        timeouts: Timeouts,
    ) -> Result<Self, String> {
        let repository = endpoint.rewrites.apply(&reference.repository).into_owned();
        if !repository.split('/').all(is_component) {
            return Err(format!(
                "a rewrite makes {repository:?} of {}",
                reference.repository
            ));
        }
        let guard = Guard::new(&endpoint.base);
        let client = client(&guard, &endpoint.host.tls)
            .map_err(|error| format!("{}: {error}", place(&endpoint.base)))?;
        let configured = endpoint
            .host
            .credentials
            .map(|login| Credentials::Password {
                username: login.username,
                password: login.password,
            });
        let own =
            Some(credentials).filter(|own| !endpoint.mirror && **own != Credentials::Anonymous);
        let credentials = own
            .cloned()
            .or(configured)
            .unwrap_or(Credentials::Anonymous);
        let authorization = match &credentials {
            Credentials::Token(token) => Some(secret(&format!("Bearer {token}"))?),
            _ => None,
        };
        Ok(Self {
            client,
            guard,
            base: endpoint.base,
            repository,
            namespace: endpoint.mirror.then(|| reference.registry.clone()),
            credentials,
            timeouts,
            authorization: Mutex::new(authorization),
        })
    }

    /// For messages.
    pub fn place(&self) -> String {
        place(&self.base)
    }

    /// A GET of `rest` below the repository; only an answer that has what was asked for.
    pub async fn get(&self, rest: &str, accept: &str) -> Result<Response, RequestError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}/{rest}", self.base.path(), self.repository));
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        let accept = HeaderValue::from_str(accept)
            .map_err(|error| RequestError::Other(error.to_string()))?;
        let mut challenged = false;
        loop {
            let mut headers = HeaderMap::from_iter([(ACCEPT, accept.clone())]);
            if let Some(value) = self.authorization.lock().clone() {
                headers.insert(AUTHORIZATION, value);
            }
            let response = self
                .send(self.client.get(url.clone()).headers(headers))
                .await?;
            if response.status() == StatusCode::OK {
                return Ok(response);
            }
            // Asked once more with what it wanted, it must know us.
            let again = response.status() == StatusCode::UNAUTHORIZED && !challenged;
            let again = again && self.is_own(response.url());
            let wanted = challenge(response.headers()).filter(|_| again);
            challenged = match wanted {
                Some(wanted) => self.authorize(&wanted).await?,
                None => false,
            };
            if !challenged {
                return Err(self.refusal(response).await);
            }
        }
    }

    /// Whether the registry itself has answered, and not whom it leads to: what that wants is not for it to say, since the credentials
    /// would go wherever it names.
    fn is_own(&self, url: &Url) -> bool {
        let place = |url: &Url| {
            (
                url.host_str().map(str::to_owned),
                url.port_or_known_default(),
            )
        };
        place(url) == place(&self.base)
    }

    /// The head of an answer.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, RequestError> {
        let limit = self.timeouts.answer;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(answer) => answer.map_err(RequestError::of),
            Err(_) => Err(RequestError::Late(format!("no answer in {limit:?}"))),
        }
    }

    async fn refusal(&self, response: Response) -> RequestError {
        let (url, status) = (place(response.url()), response.status());
        let body = spool::short(response, MAX_REFUSAL_BYTES, self.timeouts.answer).await;
        RequestError::Status {
            url,
            status,
            said: body.ok().and_then(|(body, _)| error::said(&body)),
        }
    }

    /// Gets what the registry wants; whether there is any.
    async fn authorize(&self, challenge: &Challenge) -> Result<bool, RequestError> {
        let value = match (challenge, &self.credentials) {
            (_, Credentials::Token(_)) => return Ok(false),
            (Challenge::Basic, Credentials::Anonymous) => return Ok(false),
            (Challenge::Basic, Credentials::Password { username, password }) => {
                format!(
                    "Basic {}",
                    STANDARD.encode(format!("{username}:{password}"))
                )
            }
            (
                Challenge::Bearer {
                    realm,
                    service,
                    repositories,
                },
                _,
            ) => {
                let token = self.token(realm, service.as_deref(), repositories).await?;
                format!("Bearer {token}")
            }
        };
        *self.authorization.lock() = Some(secret(&value).map_err(RequestError::Other)?);
        Ok(true)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        repositories: &[String],
    ) -> Result<String, RequestError> {
        let other = |text: String| RequestError::Other(format!("token: {text}"));
        let mut url = Url::parse(realm).map_err(|error| other(format!("{realm:?}: {error}")))?;
        self.guard.check(&url).map_err(other)?;
        let ours = [self.repository.clone()];
        let repositories = match repositories {
            [] => &ours,
            wanted => wanted,
        };
        let scopes = repositories
            .iter()
            .map(|name| ("scope", format!("repository:{name}:pull")));
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .extend_pairs(scopes);
        let mut request = self.client.get(url);
        if let Credentials::Password { username, password } = &self.credentials {
            request = request.basic_auth(username, Some(password));
        }
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let (body, whole) = spool::short(response, MAX_TOKEN_BYTES, self.timeouts.answer).await?;
        if !whole {
            return Err(other(format!(
                "its server's answer has more than {MAX_TOKEN_BYTES} bytes"
            )));
        }
        // The parser's own message would show a part of what may be another server's answer.
        let no_token = || other("its server's answer has none".to_owned());
        let answer: Token = serde_json::from_slice(&body).map_err(|_| no_token())?;
        match (answer.token, answer.access_token) {
            (token, other) if token.is_empty() => Some(other),
            (token, _) => Some(token),
        }
        .filter(|token| !token.is_empty())
        .ok_or_else(no_token)
    }
}

/// The error is a message.
fn client(guard: &Guard, tls: &Tls) -> Result<reqwest::Client, String> {
    // Whoever came first has installed one; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let message = |error: reqwest::Error| knarr_shim::chain(&error);
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("knarr/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(guard.redirects())
        .dns_resolver(guard.clone());
    let identity = tls.identity.as_deref();
    match &tls.authorities {
        Some(authorities) if !tls.unverified => {
            let config = trust::client(authorities, identity);
            builder = builder
                .tls_backend_preconfigured(config.map_err(|error| knarr_shim::chain(&error))?);
        }
        _ => {
            builder = builder.tls_danger_accept_invalid_certs(tls.unverified);
            if let Some(identity) = identity {
                builder = builder.identity(Identity::from_pem(identity).map_err(message)?);
            }
        }
    }
    builder.build().map_err(message)
}

/// A header that is in no log. The error is a message.
fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "a token that fits into no header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token server is preferred, as by containerd.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for text in headers.get_all(WWW_AUTHENTICATE) {
        let challenges = text
            .to_str()
            .ok()
            .and_then(|text| parse_challenges(text).ok());
        for challenge in challenges.unwrap_or_default() {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
            let parameter = |wanted: &str| {
                let found = challenge
                    .params
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                return Some(Challenge::Bearer {
                    realm,
                    service: parameter("service"),
                    repositories: parameter("scope")
                        .map(|scope| repositories(&scope))
                        .unwrap_or_default(),
                });
            }
        }
    }
    basic
}

/// Those that a scope names. Whatever else it wants to be done with them, we want to pull.
fn repositories(scope: &str) -> Vec<String> {
    let names = scope.split_ascii_whitespace().filter_map(|scope| {
        let (name, _actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        Some(name.to_owned()).filter(|name| !name.is_empty())
    });
    names.take(MAX_SCOPES).collect()
}

#[cfg(test)]
mod tests;
