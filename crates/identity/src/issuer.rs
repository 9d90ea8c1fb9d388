//! An OpenID issuer: what it says of itself, its keys, and whose its tokens are.
//!
//! Its configuration is fetched when this process starts, and every [`RETRY`] until it is there. Its keys are fetched with it, and again
//! when a token is signed by a key that is not among them, no more often than [`REFRESH`] allows: tokens that nobody signed are free
//! for whoever makes them up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use knarr_auth::UserInfo;
use knarr_webhook::{Bounds, Trust, fetch};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    cache::Cache,
    claims::Mappings,
    jwt::{Keys, Token},
};

/// Between two tries to find out what an issuer says of itself, as upstream.
const RETRY: Duration = Duration::from_secs(10);
/// Between two looks for new keys.
const REFRESH: Duration = Duration::from_secs(10);
/// One document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
const DOCUMENT_BYTES: usize = 1 << 20;
/// How long a token is believed without another look, as upstream's `TokenSuccessCacheTTL`.
const BELIEVED: Duration = Duration::from_secs(10);
/// A token may be this much ahead of the clock, in seconds: upstream's leeway for `nbf`. There is none for `exp`.
const LEEWAY_SECONDS: i64 = 5 * 60;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Of whom an issuer's tokens are, and where it is found.
#[derive(Debug)]
pub struct Settings {
    pub url: String,
    /// Empty: the usual place below the URL.
    pub discovery_url: String,
    pub trust: Trust,
    pub audiences: Vec<String>,
    pub mappings: Mappings,
}

/// An issuer.
pub struct Issuer {
    settings: Settings,
    provider: ArcSwapOption<Provider>,
    /// When keys were fetched last; who holds it fetches.
    fetched: Mutex<Option<Instant>>,
    believed: Cache<UserInfo>,
}

/// What an issuer said.
struct Provider {
    keys_url: String,
    keys: Keys,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub fn new(settings: Settings) -> Issuer {
        Issuer {
            settings,
            provider: ArcSwapOption::empty(),
            fetched: Mutex::new(None),
            believed: Cache::default(),
        }
    }

    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Asks the issuer who it is, until it says so.
    pub async fn initialize(&self) {
        loop {
            match self.discover().await {
                Ok(provider) => {
                    self.provider.store(Some(Arc::new(provider)));
                    tracing::info!(issuer = self.url(), "an OpenID issuer is known");
                    return;
                }
                Err(why) => {
                    tracing::error!(
                        issuer = self.url(),
                        why,
                        "an OpenID issuer is not known yet"
                    );
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whose a token of this issuer is.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub async fn user(&self, token: &Token<'_>) -> Result<UserInfo, String> {
        let now = unix_seconds();
        if let Some(user) = self.believed.get(token.text) {
            return Ok(user);
        }
        let claims = self.verified(token).await?;
        self.check(claims, now)?;
        let user = self.settings.mappings.user(claims)?;
        let left = expiry(claims).unwrap_or(now).saturating_sub(now);
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
        self.believed
            .put(token.text, user.clone(), left.min(BELIEVED));
        Ok(user)
    }

    async fn verified<'t>(&self, token: &'t Token<'_>) -> Result<&'t Map<String, Value>, String> {
        let provider = self.provider.load_full();
        let provider = provider.ok_or("authenticator not initialized")?;
        if let Some(claims) = token.verified(&provider.keys) {
            return Ok(claims);
        }
        let fresh = self.refresh(&provider).await?;
        let claims = fresh.and_then(|provider| token.verified(&provider.keys));
        claims.ok_or_else(|| "verify token: failed to verify id token signature".to_owned())
    }

    /// Other keys than those of `known`, if there are any.
    async fn refresh(&self, known: &Arc<Provider>) -> Result<Option<Arc<Provider>>, String> {
        let mut fetched = self.fetched.lock().await;
        // Somebody else may have been first.
        let current = self.provider.load_full();
        if let Some(current) = current.filter(|current| !Arc::ptr_eq(current, known)) {
            return Ok(Some(current));
        }
        if fetched.is_some_and(|at| at.elapsed() < REFRESH) {
            return Ok(None);
        }
        *fetched = Some(Instant::now());
        let provider = Arc::new(Provider {
            keys: self.keys(&known.keys_url).await?,
            keys_url: known.keys_url.clone(),
        });
        self.provider.store(Some(provider.clone()));
        Ok(Some(provider))
    }

    async fn discover(&self) -> Result<Provider, String> {
        let settings = &self.settings;
        let place = match &*settings.discovery_url {
            "" => format!("{}{WELL_KNOWN}", settings.url.trim_end_matches('/')),
            url => url.to_owned(),
        };
        let document = self.fetch(&place).await?;
        let said: Discovery = serde_json::from_slice(&document)
            .map_err(|error| format!("failed to decode provider discovery object: {error}"))?;
        if said.issuer != settings.url {
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                settings.url, said.issuer
            ));
        }
        Ok(Provider {
            keys: self.keys(&said.jwks_uri).await?,
            keys_url: said.jwks_uri,
        })
    }

    async fn keys(&self, url: &str) -> Result<Keys, String> {
        let document = self.fetch(url).await?;
        Keys::parse(&document).map_err(|error| error.to_string())
    }

    async fn fetch(&self, url: &str) -> Result<bytes::Bytes, String> {
        let bounds = Bounds {
            time: FETCH_TIMEOUT,
            answer_bytes: DOCUMENT_BYTES,
        };
        let document = fetch(url, &self.settings.trust, bounds).await;
        document.map_err(|error| error.reason())
    }

    /// Whether claims are meant for this server, now.
    fn check(&self, claims: &Map<String, Value>, now: i64) -> Result<(), String> {
        let wanted = &self.settings.audiences;
        let meant = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|audience| wanted.iter().any(|one| one == audience))
        };
        let is_ours = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(meant),
            Some(one) => meant(one),
            None => false,
        };
        if !is_ours {
            return Err(format!("expected audience in {wanted:?}"));
        }
        if expiry(claims).is_none_or(|expiry| expiry < now) {
            return Err("token is expired".to_owned());
        }
        let not_before = seconds(claims, "nbf");
        if not_before.is_some_and(|at| at > now.saturating_add(LEEWAY_SECONDS)) {
            return Err("current time is before the nbf (not before) time".to_owned());
        }
        Ok(())
    }
}

fn expiry(claims: &Map<String, Value>) -> Option<i64> {
    seconds(claims, "exp")
}

/// A time in Unix seconds, which may have a fraction.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Option<i64> {
    let value = claims.get(claim)?;
    // A float is cut at the ends of what fits.
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|at| at as i64))
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests;
