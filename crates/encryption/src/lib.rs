//! Values at rest: which resources are encrypted, and with what, as upstream's API server does by an EncryptionConfiguration.
//!
//! ```text
//! configuration --> rules: a resource, a group's or all --> a chain of providers: the first writes, each reads its prefix
//!                                                               identity, aescbc, aesgcm, secretbox, KMS v2 (a plugin)
//! ```
//!
//! What is stored is what upstream stores, byte for byte, so that both can share an etcd. Without a configuration Secrets are encrypted
//! with a key of the cluster's own; what that has encrypted can be read with a configuration, too.
//!
//! A value knows what it was sealed with ([`Seal`]), and [`Encryption::is_current`] tells whether it would be sealed so now: what would
//! not is written anew at its next write, whatever that changes.
//!
//! Rejected: a general crate for NaCl (see [`ciphers`]), and to hold connections to plugins (they are asked once a minute).

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod chain;
mod ciphers;
mod config;
mod kms;
mod metrics;
mod own;
mod rules;
mod seal;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use knarr_config::{ConfigFile, Follower};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(any(test, feature = "testing"))]
pub use self::kms::testing;
use self::{chain::Chain, metrics::Metrics, rules::Rules, seal::Seals};
pub use self::{own::OwnKey, seal::Seal};

/// How long plugins of a new configuration have to answer, at least.
const RELOAD_WAIT: Duration = Duration::from_secs(10);
const RELOAD_POLL: Duration = Duration::from_millis(100);
/// Before a configuration that could not be used is tried again.
const RELOAD_PAUSE: Duration = Duration::from_secs(10);

/// What is encrypted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// An EncryptionConfiguration; without one Secrets are, with the cluster's own key.
    pub config_file: Option<PathBuf>,
    /// Whether it is read again when it changes.
    pub reload: bool,
    /// Whether nothing is encrypted where no file says so: others have the store, too, and would not know the cluster's own key. What it
    /// has encrypted is read.
    pub plain: bool,
    /// What tells this server from others, in metrics.
    pub server: String,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("error while parsing the encryption provider configuration: {0}")]
    File(#[from] knarr_config::Error),
    #[error("{0} is not healthy, and was to be used from now on: {1}")]
    Plugin(String, String),
}

/// Why a value cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody here has the key, or it is damaged.
    #[error("{0}")]
    Unreadable(String),
    /// Who has the key does not answer now.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// Whether it may be different soon.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

/// Where a value is stored, and what of.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    /// The key in the store.
    pub key: &'a str,
}

impl Place<'_> {
    fn group_resource(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

/// Encrypts and decrypts.
pub struct Encryption {
    file: Option<ConfigFile>,
    reload: bool,
    plain: bool,
    own: Mutex<Vec<OwnKey>>,
    rules: ArcSwap<Rules>,
    seals: Arc<Seals>,
    metrics: Arc<Metrics>,
    /// Rises when what could not be read may be readable.
    readable: watch::Sender<u64>,
}

impl Encryption {
    /// `own`: the cluster's own keys, of which the first writes where nothing is configured.
    ///
    /// # Errors
    /// Where the configuration is none. Plugins may come later.
    pub async fn open(options: &Options, own: Vec<OwnKey>) -> Result<Encryption, ConfigError> {
        let seals = Arc::<Seals>::default();
        let metrics = Arc::new(Metrics::new(&options.server));
        let file = options.config_file.as_deref().map(config::file);
        let rules = match &file {
            None => Rules::of_own(&own, &seals, options.plain),
            Some(file) => {
                let rules = rules::read(file, options.reload, &own, &seals, &metrics)?;
                metrics.loaded(&rules.hash);
                rules
            }
        };
        for kms in &rules.plugins {
            if let Err(error) = kms.check().await {
                tracing::warn!(plugin = kms.name(), %error, "the KMS plugin is not fit for use yet");
            }
        }
        let (readable, _) = watch::channel(0);
        Ok(Encryption {
            file,
            reload: options.reload,
            plain: options.plain,
            own: Mutex::new(own),
            rules: ArcSwap::from_pointee(rules),
            seals,
            metrics,
            readable,
        })
    }

    /// With the cluster's own keys alone.
    pub fn of_own(own: Vec<OwnKey>) -> Encryption {
        let seals = Arc::<Seals>::default();
        let (readable, _) = watch::channel(0);
        Encryption {
            file: None,
            reload: false,
            plain: false,
            rules: ArcSwap::from_pointee(Rules::of_own(&own, &seals, false)),
            own: Mutex::new(own),
            seals,
            metrics: Arc::new(Metrics::new("")),
            readable,
        }
    }

    /// Whether a configuration says what is encrypted.
    pub fn is_configured(&self) -> bool {
        self.file.is_some()
    }

    /// The plaintext of a stored value, and what it was sealed with.
    ///
    /// # Errors
    /// Where it cannot be read, for ever or for now.
    pub async fn open_value(&self, place: Place<'_>, value: Bytes) -> Result<(Bytes, Seal), Error> {
        let rules = self.rules.load_full();
        match rules.find(place.group, place.resource) {
            Some(chain) => chain.open(place, value, &self.metrics).await,
            None => Chain::open_plain(&value).map(|()| (value, Seal::PLAIN)),
        }
    }

    /// What is stored for a plaintext.
    ///
    /// # Errors
    /// Where who has the key is not there.
    pub fn seal_value(&self, place: Place<'_>, plain: Bytes) -> Result<Bytes, Error> {
        match self.rules.load().find(place.group, place.resource) {
            Some(chain) => chain.seal(place, plain, &self.metrics),
            None => Ok(plain),
        }
    }

    /// Whether a value of a resource would be sealed so now.
    pub fn is_current(&self, group: &str, resource: &str, seal: Seal) -> bool {
        match self.rules.load().find(group, resource) {
            // What cannot be written now cannot be written better.
            Some(chain) => chain.seal_of_now().is_none_or(|now| now == seal),
            None => seal == Seal::PLAIN,
        }
    }

    /// Whether the resource's values are encrypted, or have been under another configuration that is still read.
    pub fn covers(&self, group: &str, resource: &str) -> bool {
        self.rules.load().find(group, resource).is_some()
    }

    /// Changes each time that values may be readable that were not.
    pub fn readable(&self) -> watch::Receiver<u64> {
        self.readable.subscribe()
    }

    /// Whether all plugins are fit for use; `None` where it is no matter.
    pub async fn health(&self) -> Option<Result<(), String>> {
        let rules = self.rules.load_full();
        if rules.plugins.is_empty() && !self.reload {
            return None;
        }
        Some(unfit(&rules).await.map_or(Ok(()), |(_, why)| Err(why)))
    }

    /// Appends what is counted.
    pub fn render(&self, out: &mut String) {
        self.metrics.render(out);
    }

    /// From now on the first of these writes, and all are read. Without a configuration only.
    pub fn set_own(&self, own: Vec<OwnKey>) {
        if self.file.is_none() {
            let rules = Rules::of_own(&own, &self.seals, self.plain);
            self.rules.store(Arc::new(rules));
        }
        *self.own.lock() = own;
    }

    /// Keeps up with plugins, and with the configuration's file, until the token is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut changes = self.file.as_ref().filter(|_| self.reload);
        let mut changes = changes.take().map(ConfigFile::follow);
        let mut current = self.keep(&tasks, &stop);
        // The file may have changed since it was read.
        let mut again = self.reload.then(Instant::now);
        let mut told = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = changed(&mut changes) => {}
                () = due(again) => {}
            }
            match self.reload().await {
                Ok(false) => again = None,
                Ok(true) => {
                    (again, told) = (None, String::new());
                    current.cancel();
                    current = self.keep(&tasks, &stop);
                    self.notify();
                    tracing::info!("the encryption provider configuration was read again");
                }
                Err(error) => {
                    self.metrics.reloaded(None);
                    again = Instant::now().checked_add(RELOAD_PAUSE);
                    let error = error.to_string();
                    if error != told {
                        tracing::error!(%error, "the encryption provider configuration is not used: the one before stays");
                        told = error;
                    }
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Keeps up with the plugins of the present rules, until what is returned is cancelled.
    fn keep(&self, tasks: &TaskTracker, stop: &CancellationToken) -> CancellationToken {
        let ends = stop.child_token();
        for kms in &self.rules.load().plugins {
            let (kms, ends, readable) = (kms.clone(), ends.clone(), self.readable.clone());
            tasks.spawn(async move {
                kms.run(ends, || readable.send_modify(|n| *n = n.wrapping_add(1)))
                    .await;
            });
        }
        ends
    }

    fn notify(&self) {
        self.readable.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Whether there is another configuration now. One that means nothing, or whose plugins do not answer, changes nothing.
    async fn reload(&self) -> Result<bool, ConfigError> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let own = self.own.lock().clone();
        let rules = rules::read(file, true, &own, &self.seals, &self.metrics)?;
        if rules.hash == self.rules.load().hash {
            return Ok(false);
        }
        let timeouts = rules.plugins.iter().map(|kms| kms.timeout());
        let sum = timeouts.fold(Duration::ZERO, Duration::saturating_add);
        let limit = sum.saturating_mul(2).max(RELOAD_WAIT);
        let mut last = None;
        let fit = timeout(limit, async {
            while let Some(found) = unfit(&rules).await {
                last = Some(found);
                sleep(RELOAD_POLL).await;
            }
        });
        if fit.await.is_err() {
            let (plugin, why) = last.unwrap_or_default();
            return Err(ConfigError::Plugin(plugin, why));
        }
        self.metrics.reloaded(Some(&rules.hash));
        self.rules.store(Arc::new(rules));
        Ok(true)
    }
}

/// The first plugin that is not fit for use, and why.
async fn unfit(rules: &Rules) -> Option<(String, String)> {
    for (n, kms) in rules.plugins.iter().enumerate() {
        if let Err(why) = kms.check().await {
            return Some((kms.name().to_owned(), format!("kms-provider-{n}: {why}")));
        }
    }
    None
}

/// Waits until the file has changed; without one, for ever.
async fn changed(follower: &mut Option<Follower>) {
    match follower {
        Some(follower) => follower.changed().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
