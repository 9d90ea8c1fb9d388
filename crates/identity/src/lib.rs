//! Who asks, by the word of others: tokens of a file, of OpenID issuers, and those that a webhook knows.
//!
//! ```text
//! AuthenticationConfiguration, --oidc-* --> issuers: discovery, keys --> claims --> rules, mappings (CEL) --> a user
//! token: file? --> issuer by its claim iss? --> webhook? -------------------------------------------------------^
//! ```
//!
//! Asked after certificates and the cluster's own tokens have not known a token. A token that nobody knows costs a look at its claims:
//! no issuer is asked for keys more often than [`issuer`] says, and the webhook has places of its own and remembers its answers.
//!
//! Rejected: the general OpenID and JWT crates (they bring an HTTP client that resolves the names it verifies, and algorithms
//! nobody may use), and distributed claims (an issuer's token would make this server call URLs of its choosing).

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod cache;
mod claims;
mod config;
mod issuer;
mod jwt;
mod token_file;
mod token_webhook;

use std::{future, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use knarr_auth::{UserInfo, request::TokenAuthenticator};
use knarr_config::{ConfigFile, Follower};
use tokio_util::sync::CancellationToken;

use self::{config::Anonymous, issuer::Issuer, token_file::TokenFile, token_webhook::TokenWebhook};
pub use self::{config::OidcFlags, token_webhook::TokenWebhookOptions};

/// Who is believed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// An AuthenticationConfiguration; it is read again when it changes.
    pub config_file: Option<PathBuf>,
    /// One issuer by flags, in place of such a file.
    pub oidc: Option<OidcFlags>,
    pub token_file: Option<PathBuf>,
    pub token_webhook: Option<TokenWebhookOptions>,
}

/// Why somebody cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] knarr_config::Error),
    #[error("{0}")]
    Flags(String),
    #[error("initializing the token webhook: {0}")]
    Webhook(#[from] knarr_webhook::KubeconfigError),
}

/// All who are believed.
pub struct Identities {
    file: Option<TokenFile>,
    configured: ArcSwap<Configured>,
    webhook: Option<TokenWebhook>,
    config_file: Option<ConfigFile>,
    /// The cluster's own issuers, which nobody else may be.
    own_issuers: Vec<String>,
}

/// What a configuration says.
#[derive(Default)]
struct Configured {
    issuers: Vec<Arc<Issuer>>,
    anonymous: Option<Anonymous>,
    /// Ends the tasks of these issuers.
    stop: CancellationToken,
}

impl Identities {
    /// `None`: nobody is to be believed. `own_issuers`: those of the cluster's own tokens.
    ///
    /// # Errors
    /// Where a file cannot be read, or says something that means nothing.
    pub fn open(options: &Options, own_issuers: Vec<String>) -> Result<Option<Identities>, Error> {
        let configured = match (&options.config_file, &options.oidc) {
            (Some(_), Some(_)) => {
                let why = "--authentication-config and the --oidc-* flags are mutually exclusive";
                return Err(Error::Flags(why.to_owned()));
            }
            (Some(path), None) => Some(config::read(&config::file(path), &own_issuers)?),
            (None, Some(flags)) => Some(config::of_flags(flags, &own_issuers)?),
            (None, None) => None,
        };
        let file = options.token_file.as_deref().map(TokenFile::read);
        let webhook = options.token_webhook.as_ref().map(TokenWebhook::new);
        let (file, webhook) = (file.transpose()?, webhook.transpose()?);
        if configured.is_none() && file.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Identities {
            file,
            configured: ArcSwap::from_pointee(configured.unwrap_or_default()),
            webhook,
            config_file: options.config_file.as_deref().map(config::file),
            own_issuers,
        }))
    }

    /// Fetches what issuers say of themselves, and follows the configuration's file, until the token is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let _ends = DropStop(self);
        let mut running = futures::stream::FuturesUnordered::new();
        running.push(self.current());
        let mut changes = self.config_file.as_ref().map(ConfigFile::follow);
        loop {
            use futures::StreamExt;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = running.next() => {}
                () = changed(&mut changes) => {
                    if self.reload() {
                        running.push(self.current());
                    }
                }
            }
        }
    }

    /// Whether there is another configuration now. One that means nothing changes nothing.
    fn reload(&self) -> bool {
        let Some(file) = &self.config_file else {
            return false;
        };
        match config::read(file, &self.own_issuers) {
            Ok(configured) => {
                let before = self.configured.swap(Arc::new(configured));
                before.stop.cancel();
                tracing::info!(path = %file.path().display(), "the authentication configuration was read again");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the authentication configuration is not used: the one before stays");
                false
            }
        }
    }

    /// Keeps the issuers of the present configuration, until there is another.
    fn current(&self) -> impl Future<Output = ()> + use<> {
        let configured = self.configured.load_full();
        async move {
            let issuers = configured.issuers.iter().map(|issuer| issuer.initialize());
            let all = futures::future::join_all(issuers);
            configured.stop.run_until_cancelled(all).await;
        }
    }
}

/// Waits until the file has changed; without one, for ever.
async fn changed(follower: &mut Option<Follower>) {
    match follower {
        Some(follower) => follower.changed().await,
        None => future::pending().await,
    }
}

/// Ends the issuers' tasks with those of their owner.
struct DropStop<'i>(&'i Identities);

impl Drop for DropStop<'_> {
    fn drop(&mut self) {
        self.0.configured.load().stop.cancel();
    }
}

#[async_trait]
impl TokenAuthenticator for Identities {
    async fn user(&self, token: &str) -> Option<UserInfo> {
        if let Some(user) = self.file.as_ref().and_then(|file| file.user(token)) {
            return Some(user);
        }
        let configured = self.configured.load_full();
        if !configured.issuers.is_empty()
            && let Some(unverified) = jwt::Token::parse(token)
            && let Some(issuer) = configured.of(&unverified)
        {
            match issuer.user(&unverified).await {
                Ok(user) => return Some(user),
                Err(why) => tracing::debug!(issuer = issuer.url(), why, "a token is refused"),
            }
        }
        match &self.webhook {
            Some(webhook) => webhook.user(token).await,
            None => None,
        }
    }

    fn anonymous(&self, path: &str) -> Option<bool> {
        let configured = self.configured.load();
        configured
            .anonymous
            .as_ref()
            .map(|anonymous| anonymous.allows(path))
    }
}

impl Configured {
    /// The issuer that a token says it is of.
    fn of(&self, token: &jwt::Token<'_>) -> Option<&Arc<Issuer>> {
        let said = token.issuer();
        self.issuers.iter().find(|issuer| issuer.url() == said)
    }
}
