//! Values whose keys a plugin has: KMS v2 behind a unix socket.
//!
//! The plugin encrypts one seed, and every value has a key of its own that follows from the seed and random bytes before the value, so
//! that the plugin is asked once in the life of a process to write, and once a seed to read. It is asked every minute which key it
//! has now; when that is another one, a new seed is made, and what the old one has sealed counts as stale. While it does not
//! answer, what was read goes on to be readable, and writing ends after three minutes, as upstream's server ends it.
//!
//! A plugin that is known not to answer is not waited for again by each value that is to be read: its next probe tells.
//!
//! Nor is it believed. A seed that it does not give back is not written with, and one is remembered when it has opened a value. Where
//! it refuses, or gives what opens nothing, it is asked for the seed that is written with: only one that has that tells of the value.

mod client;
mod envelope;
mod seed;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    client::{Client, Status},
    envelope::{Dek, Source},
};
#[cfg(any(test, feature = "testing"))]
use client::v2;

use crate::{
    Error,
    metrics::Metrics,
    seal::{Seal, Seals},
};

const PREFIX: &str = "k8s:enc:kms:v2:";
/// How long the plugin's last answer is believed where somebody asks for health.
const GOOD_FOR: Duration = Duration::from_secs(20);
const BAD_FOR: Duration = Duration::from_secs(3);
/// Between probes.
const PROBE_PAUSE: Duration = Duration::from_secs(60);
const PROBE_PAUSE_AFTER_ERROR: Duration = Duration::from_secs(10);
/// How long values are written with a seed of whose key the plugin has not said that it is the newest.
const WRITE_FOR: Duration = Duration::from_secs(180);
/// How long it counts that the plugin has given the seed back.
const PROVEN_FOR: Duration = Duration::from_secs(3);
/// What is sealed with one of two seeds that are to be the same.
const PROOF: &[u8] = b"proof";
/// Seeds that are remembered: one a start of a server, as long as values are not written anew.
const MAX_DEKS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A plugin.
pub struct Kms {
    name: String,
    prefix: String,
    client: Client,
    seals: Arc<Seals>,
    metrics: Arc<Metrics>,
    state: ArcSwapOption<State>,
    probed: tokio::sync::Mutex<Probed>,
    deks: Mutex<LruCache<[u8; 32], Known>>,
    /// One question for a seed at a time: who waits for the same one finds it then.
    asking: tokio::sync::Mutex<()>,
    /// When it has last given the seed back that is written with.
    proven: Mutex<Option<Instant>>,
    /// It did not answer the last time that it was asked.
    down: AtomicBool,
    /// Has it asked soon.
    wake: Notify,
}

/// What values are written with.
struct State {
    dek: Arc<Dek>,
    source: Source,
    seal: Seal,
    /// In lieu of the plugin's confirmation.
    until: Instant,
}

#[derive(Clone)]
struct Known {
    dek: Arc<Dek>,
    seal: Seal,
}

impl Known {
    /// The plaintext of a value at its place.
    fn open(&self, (data, place): (&[u8], &[u8])) -> Result<(Vec<u8>, Seal), Error> {
        let plain = self.dek.open(data, place);
        let plain = plain.map_err(|why| Error::Unreadable(why.to_owned()))?;
        Ok((plain, self.seal))
    }
}

/// The plugin's last answer.
#[derive(Default)]
struct Probed {
    at: Option<Instant>,
    error: Option<String>,
    version: String,
}

/// What a plugin is told to be.
pub struct Options {
    pub name: String,
    pub endpoint: String,
    pub timeout: Duration,
}

impl Kms {
    pub fn new(options: &Options, seals: Arc<Seals>, metrics: Arc<Metrics>) -> Result<Kms, String> {
        Ok(Kms {
            prefix: format!("{PREFIX}{}:", options.name),
            name: options.name.clone(),
            client: Client::new(options, metrics.clone())?,
            seals,
            metrics,
            state: ArcSwapOption::empty(),
            probed: tokio::sync::Mutex::default(),
            deks: Mutex::new(LruCache::new(MAX_DEKS)),
            asking: tokio::sync::Mutex::default(),
            proven: Mutex::default(),
            down: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What values of it begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How long the plugin may take.
    pub fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    /// What is written now. `None`: nothing can be.
    pub fn seal_of_now(&self) -> Option<Seal> {
        self.state.load().as_ref().map(|state| state.seal)
    }

    /// The plaintext of what follows the prefix, and what it was sealed with.
    pub async fn open(&self, data: &[u8], place: &[u8]) -> Result<(Vec<u8>, Seal), Error> {
        let unreadable = |why: String| Error::Unreadable(why);
        let object = envelope::decode(data).map_err(unreadable)?;
        let source = Source::of(&object);
        let key = source.digest();
        let sealed = (&*object.encrypted_data, place);
        let known = self.deks.lock().get(&key).cloned();
        let opened = match known {
            Some(known) => known.open(sealed)?,
            None => self.ask(key, &source, sealed).await?,
        };
        self.metrics
            .key_used("from_storage", &self.name, &source.key_id);
        Ok(opened)
    }

    /// Opens a value by a seed that is not known yet.
    async fn ask(
        &self,
        key: [u8; 32],
        source: &Source,
        sealed: (&[u8], &[u8]),
    ) -> Result<(Vec<u8>, Seal), Error> {
        let _one = self.asking.lock().await;
        if let Some(known) = self.deks.lock().get(&key).cloned() {
            return known.open(sealed);
        }
        let failed = |why: &dyn std::fmt::Display| format!("failed to decrypt DEK, error: {why}");
        if self.down.load(Ordering::Acquire) {
            let why = format_args!("the KMS plugin {} does not answer", self.name);
            return Err(Error::Unavailable(failed(&why)));
        }
        self.metrics.cache_miss();
        let (is_final, why) = match self.client.decrypt(source.to_plugin()).await {
            Err(error) => (error.is_final(), failed(&error)),
            Ok(plain) => match self.known(source, &plain, sealed) {
                Ok((known, plain)) => {
                    let seal = known.seal;
                    self.remember(key, known);
                    return Ok((plain, seal));
                }
                Err(why) => (true, why.to_owned()),
            },
        };
        if is_final && self.is_healthy().await && self.gives_back().await {
            return Err(Error::Unreadable(why));
        }
        self.down.store(true, Ordering::Release);
        self.wake.notify_one();
        Err(Error::Unavailable(why))
    }

    /// What the plugin has given for a seed, and the value that it opens.
    fn known(
        &self,
        source: &Source,
        plain: &[u8],
        (data, place): (&[u8], &[u8]),
    ) -> Result<(Known, Vec<u8>), &'static str> {
        let dek = Dek::new(source.kind, plain)?;
        let opened = dek.open(data, place)?;
        let known = Known {
            dek: Arc::new(dek),
            seal: self.seal(source),
        };
        Ok((known, opened))
    }

    /// Whether the plugin gives back the seed that is written with.
    async fn gives_back(&self) -> bool {
        let proven = *self.proven.lock();
        if proven.is_some_and(|at| at.elapsed() < PROVEN_FOR) {
            return true;
        }
        let Some(state) = self.state.load_full() else {
            return false;
        };
        self.prove(&state.source, &state.dek).await.is_ok()
    }

    /// Asks the plugin for a seed that is known.
    async fn prove(&self, source: &Source, dek: &Dek) -> Result<(), String> {
        let plain = self.client.decrypt(source.to_plugin()).await;
        let plain = plain.map_err(|error| format!("failed to decrypt DEK, error: {error}"))?;
        let same = || {
            let sealed = dek.seal(PROOF, &[])?;
            Dek::new(source.kind, &plain)?.open(&sealed, &[])
        };
        same().map_err(|_| "the KMS plugin does not give back what it has encrypted".to_owned())?;
        *self.proven.lock() = Some(Instant::now());
        Ok(())
    }

    fn remember(&self, key: [u8; 32], known: Known) {
        let mut deks = self.deks.lock();
        deks.put(key, known);
        self.metrics.deks(&self.name, deks.len());
    }

    /// Stale is what another key of the plugin's has encrypted, not what another seed has.
    fn seal(&self, source: &Source) -> Seal {
        let kind = source.kind.to_be_bytes();
        (self.seals).of(&[
            b"kms",
            self.name.as_bytes(),
            source.key_id.as_bytes(),
            &kind,
        ])
    }

    async fn is_healthy(&self) -> bool {
        self.probed.lock().await.error.is_none()
    }

    /// Appends the encrypted form, with the prefix.
    pub fn encrypt(&self, out: &mut Vec<u8>, plain: &[u8], place: &[u8]) -> Result<(), Error> {
        let state = self.state.load();
        let Some(state) = state.as_ref() else {
            self.wake.notify_one();
            let why = format!("the KMS plugin {} has not answered yet", self.name);
            return Err(Error::Unavailable(why));
        };
        if Instant::now() > state.until {
            return Err(Error::Unavailable(format!(
                "encryptedDEKSource with keyID hash {:?} expired: the KMS plugin {} has not confirmed it",
                crate::metrics::hash(&state.source.key_id),
                self.name
            )));
        }
        let sealed = state.dek.seal(plain, place);
        let sealed = sealed.map_err(|why| Error::Unreadable(why.to_owned()))?;
        self.metrics
            .key_used("to_storage", &self.name, &state.source.key_id);
        out.extend_from_slice(self.prefix.as_bytes());
        envelope::encode(out, &state.source, sealed);
        Ok(())
    }

    /// Whether the plugin is fit for use; its last answer counts for a while.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), String> {
        let mut probed = self.probed.lock().await;
        let good_for = match probed.error {
            None => GOOD_FOR,
            Some(_) => BAD_FOR,
        };
        // What was good before a call failed says nothing.
        let outdated = probed.error.is_none() && self.down.load(Ordering::Acquire);
        if !outdated && probed.at.is_some_and(|at| at.elapsed() < good_for) {
            return probed.error.clone().map_or(Ok(()), Err);
        }
        let checked = match self.client.status().await {
            Err(error) => Err(format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {error}",
                self.name
            )),
            Ok(status) => self.judge(&mut probed.version, &status).await,
        };
        probed.at = Some(Instant::now());
        probed.error = checked.clone().err();
        if checked.is_ok() {
            self.down.store(false, Ordering::Release);
        }
        checked
    }

    /// Whether what the plugin says of itself is good, with the seed that belongs to it.
    async fn judge(&self, version: &mut String, status: &Status) -> Result<(), String> {
        let mut errors = Vec::new();
        if status.healthz != "ok" {
            let said = client::cut(&status.healthz);
            errors.push(format!("got unexpected healthz status: {said}"));
        }
        let said = client::cut(&status.version);
        if !matches!(said, "v2" | "v2beta1") {
            errors.push(format!("expected KMSv2 API version v2, got {said}"));
        } else if version.is_empty() {
            said.clone_into(version);
        } else if version != said {
            errors.push(format!(
                "KMSv2 API version should not change after the initial status response version {version}, got {said}"
            ));
        }
        match envelope::check_key_id(&status.key_id) {
            Err((code, why)) => {
                self.metrics.invalid_key_id(&self.name, code);
                let hash = crate::metrics::hash(&status.key_id);
                errors.push(format!("got invalid KMSv2 KeyID hash {hash:?}: {why}"));
            }
            Ok(()) => {
                self.metrics.key_told(&self.name, &status.key_id);
                errors.extend(self.keep_up(&status.key_id).await.err());
            }
        }
        let told = match errors.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Err(format!(
            "kmsv2 Provider {} is not healthy, error: {told}",
            self.name
        ))
    }

    /// Makes a seed where the plugin has another key now; else what is there is good for longer.
    async fn keep_up(&self, key_id: &str) -> Result<(), String> {
        // From before the plugin is asked.
        let until = Instant::now().checked_add(WRITE_FOR);
        let until = until.ok_or("the clock is at its end")?;
        if let Some(state) = self.state.load_full()
            && state.source.key_id == key_id
        {
            self.state.store(Some(Arc::new(State {
                dek: state.dek.clone(),
                source: state.source.clone(),
                seal: state.seal,
                until,
            })));
            return Ok(());
        }
        let failed = |why: String| format!("failed to rotate DEK: {why}");
        let (dek, seed) = Dek::generate().map_err(|why| failed(why.to_owned()))?;
        let encrypted = self.client.encrypt(&seed).await;
        let encrypted =
            encrypted.map_err(|error| failed(format!("failed to encrypt DEK, error: {error}")))?;
        let source = Source::from_plugin(encrypted).map_err(failed)?;
        if source.key_id != key_id {
            return Err(failed(format!(
                "statusKeyIDHash={:?}, encryptKeyIDHash={:?}",
                crate::metrics::hash(key_id),
                crate::metrics::hash(&source.key_id)
            )));
        }
        // What was written with one that it has lost already would be lost.
        self.prove(&source, &dek).await.map_err(failed)?;
        let seal = self.seal(&source);
        let dek = Arc::new(dek);
        let known = Known {
            dek: dek.clone(),
            seal,
        };
        self.remember(source.digest(), known);
        self.state.store(Some(Arc::new(State {
            dek,
            source,
            seal,
            until,
        })));
        Ok(())
    }

    /// Asks the plugin once in a while until the token is cancelled. `came_back` is called when it is fit again after it was not.
    pub async fn run(&self, stop: CancellationToken, came_back: impl Fn()) {
        let mut good = self.is_healthy().await && !self.down.load(Ordering::Acquire);
        while !stop.is_cancelled() {
            let pause = match good {
                true => PROBE_PAUSE,
                false => PROBE_PAUSE_AFTER_ERROR,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
                () = self.wake.notified() => {
                    good = false;
                    // It may be a moment only: it is asked anew when its last answer does not count any more.
                    let _ = timeout(BAD_FOR, stop.cancelled()).await;
                }
            }
            match self.check().await {
                Ok(()) if !good => {
                    tracing::info!(plugin = self.name, "the KMS plugin is fit for use again");
                    good = true;
                    came_back();
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(plugin = self.name, %error, "the KMS plugin is not fit for use");
                    good = false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
