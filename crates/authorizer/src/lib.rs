//! Whether they may, by the word of others: webhooks that authorize, and the order in which authorizers are asked.
//!
//! ```text
//! AuthorizationConfiguration, or --authorization-mode --> [system:masters] --> Node, RBAC, webhooks in the order given
//! a request --> match conditions (CEL) --> remembered? --> SubjectAccessReview --> allowed, denied, no opinion
//! ```
//!
//! Authorizers answer where they are asked, by the path of a request as by an expression or an admission plugin in the midst of it; a
//! webhook is therefore waited for on the asker's thread, which the runtime replaces meanwhile. Its calls run on a thread of their own,
//! few of one user at a time, and its answers are remembered as long as upstream's.
//!
//! Rejected: an authorizer that is a future (every expression that asks it would be one), and answers only from memory, filled
//! behind (a first request would be refused for no reason).

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod caller;
mod config;
mod review;
mod webhook;

use std::{path::PathBuf, sync::Arc, time::Duration};

use knarr_auth::authz::{Authz, Step};
use knarr_config::ConfigFile;
use tokio_util::sync::CancellationToken;

use self::{caller::Caller, config::Kind, webhook::Webhook};

/// Who is asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// An AuthorizationConfiguration; it is read again when it changes.
    pub config_file: Option<PathBuf>,
    /// Types of authorizers in their order, in place of such a file; empty: Node and RBAC.
    pub modes: Vec<String>,
    /// The webhook among them.
    pub webhook: Option<WebhookFlags>,
}

/// A webhook by flags.
#[derive(Clone, Debug)]
pub struct WebhookFlags {
    /// In the form of a kubeconfig.
    pub config_file: PathBuf,
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
}

/// Why nobody can be asked so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] knarr_config::Error),
    #[error("{0}")]
    Flags(String),
    #[error("authorizer {name}: {source}")]
    Webhook {
        name: String,
        source: knarr_webhook::KubeconfigError,
    },
    #[error("there is no thread for authorization webhooks")]
    Thread(#[source] std::io::Error),
}

/// The authorizers of a server, as they are configured.
pub struct Authorizers {
    config_file: Option<ConfigFile>,
    caller: Arc<Caller>,
    authz: Arc<Authz>,
}

impl Authorizers {
    /// Makes `authz` ask those that are configured. `None`: nothing is. Within a runtime.
    ///
    /// # Errors
    /// Where a file cannot be read, or says something that means nothing.
    pub fn configure(options: &Options, authz: Arc<Authz>) -> Result<Option<Authorizers>, Error> {
        let configured = match &options.config_file {
            Some(_) if !options.modes.is_empty() || options.webhook.is_some() => {
                let why = "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are set";
                return Err(Error::Flags(why.to_owned()));
            }
            Some(path) => config::read(&config::file(path))?,
            None if options.modes.is_empty() && options.webhook.is_none() => return Ok(None),
            None => config::of_flags(options)?,
        };
        let authorizers = Authorizers {
            config_file: options.config_file.as_deref().map(config::file),
            caller: Arc::new(Caller::start().map_err(Error::Thread)?),
            authz,
        };
        authorizers.apply(configured)?;
        Ok(Some(authorizers))
    }

    fn apply(&self, configured: Vec<config::Authorizer>) -> Result<(), Error> {
        let steps = configured.into_iter().map(|one| {
            Ok(match one.kind {
                Kind::Node => Step::Node,
                Kind::Rbac => Step::Rbac,
                Kind::Webhook(settings) => {
                    let webhook = Webhook::new(&one.name, *settings, self.caller.clone());
                    let webhook = webhook.map_err(|source| Error::Webhook {
                        name: one.name.clone(),
                        source,
                    })?;
                    Step::Other(Arc::new(webhook))
                }
            })
        });
        self.authz.set_order(steps.collect::<Result<_, Error>>()?);
        Ok(())
    }

    /// Follows the configuration's file until the token is cancelled. One that means nothing changes nothing.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(file) = &self.config_file else {
            return;
        };
        let mut changes = file.follow();
        while stop.run_until_cancelled(changes.changed()).await.is_some() {
            match config::read(file).and_then(|configured| self.apply(configured)) {
                Ok(()) => {
                    tracing::info!(path = %file.path().display(), "the authorization configuration was read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the authorization configuration is not used: the one before stays");
                }
            }
        }
    }
}
