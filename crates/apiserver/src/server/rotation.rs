//! A new key for what is encrypted: everything is written anew, and the cluster's own key is replaced where that is what encrypts.
//!
//! The replaced key is forgotten when nothing can ask for it any more: not before the store's history ends after the last value that it
//! has written. A restart goes on where it was.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use knarr_auth::pki::{EncryptionKeys, Pki};
use knarr_encryption::{Encryption, OwnKey};
use knarr_registry::{Registry, write::reseal::Resealing};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

/// Between looks at how far back the store's history goes.
const HISTORY_POLL: Duration = Duration::from_secs(5);

/// How far a rotation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// There was none in this process.
    #[default]
    None,
    /// Objects are written anew.
    Writing,
    /// Everything is written; the replaced key is kept for the store's history.
    History,
    Done,
    /// Something could not be written, or not be read: it has to be begun again.
    Failed,
}

/// What is told of a rotation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    /// Whether the cluster's own key is what is replaced.
    pub own_key: bool,
    pub total: usize,
    pub done: usize,
    pub failed: usize,
    /// Objects that cannot be read and stay as they are.
    pub unreadable: usize,
    pub error: Option<String>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    resealing: Arc<Resealing>,
}

/// Makes rotations, one at a time.
pub struct Rotation {
    registry: Arc<Registry>,
    pki: Arc<Pki>,
    /// Other servers have the store, too, and would not know a key of this one.
    shared: bool,
    state: Mutex<State>,
    wanted: Notify,
}

/// Those of a directory, for whom they are no files.
pub fn own_keys(keys: &EncryptionKeys) -> Vec<OwnKey> {
    keys.all().into_iter().map(OwnKey::new).collect()
}

impl Rotation {
    pub fn new(registry: Arc<Registry>, pki: Arc<Pki>, shared: bool) -> Rotation {
        Rotation {
            registry,
            pki,
            shared,
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    fn encryption(&self) -> &Encryption {
        self.registry.transformer.encryption()
    }

    /// Begins one. While there is one already, nothing.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn begin(&self) -> Result<(), String> {
        let own = !self.encryption().is_configured();
        if own && self.shared {
            return Err("the servers of this datastore have one key, which cannot be replaced while they run: give each of them --encryption-provider-config, whose keys can be".to_owned());
        }
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Writing | Phase::History) {
            return Ok(());
        }
        if own {
            let keys = self.pki.encryption_keys();
            keys.replace().map_err(|error| shown(&error))?;
            self.encryption().set_own(own_keys(keys));
        }
        *state = State {
            phase: Phase::Writing,
            resealing: Arc::default(),
        };
        drop(state);
        self.wanted.notify_one();
        Ok(())
    }

    pub fn progress(&self) -> Progress {
        let state = self.state.lock();
        let Resealing {
            total,
            done,
            failed,
            error,
        } = &*state.resealing;
        Progress {
            phase: state.phase,
            own_key: !self.encryption().is_configured(),
            total: total.load(Ordering::Relaxed),
            done: done.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            unreadable: self.registry.unreadable(),
            error: error.lock().clone(),
        }
    }

    /// Makes what was begun until the token is cancelled; goes on with what another process has begun.
    pub async fn run(&self, stop: CancellationToken) {
        if self.pki.encryption_keys().is_replacing()
            && let Err(error) = self.begin()
        {
            tracing::warn!(%error, "a replaced key of the Secrets is kept");
        }
        let work = async {
            loop {
                self.wanted.notified().await;
                let phase = self.rotate().await;
                self.state.lock().phase = phase;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn rotate(&self) -> Phase {
        let resealing = self.state.lock().resealing.clone();
        loop {
            self.registry.reseal(&resealing).await;
            let failed = resealing.failed.load(Ordering::Relaxed);
            let done = resealing.done.load(Ordering::Relaxed);
            tracing::info!(
                done,
                failed,
                "encrypted objects were written with the newest key"
            );
            if failed > 0 {
                return Phase::Failed;
            }
            if !self.pki.encryption_keys().is_replacing() {
                return Phase::Done;
            }
            self.state.lock().phase = Phase::History;
            match self.history_ended().await {
                // A write that had been encrypted when the key was replaced, and came into the store after all others were written.
                Ok(true) => self.state.lock().phase = Phase::Writing,
                Ok(false) => return self.forget_replaced(),
                Err(why) => {
                    tracing::warn!(why, "the replaced key of the Secrets is kept");
                    return Phase::Failed;
                }
            }
        }
    }

    /// Waits until the store's history ends after all that is in it now. Whether something has to be written even so.
    async fn history_ended(&self) -> Result<bool, String> {
        let store = &self.registry.store;
        let revision = store.revision().await.map_err(|error| shown(&error))?;
        while store.compacted() < revision {
            sleep(HISTORY_POLL).await;
        }
        if self.registry.unreadable() > 0 {
            return Err("there are objects that cannot be read".to_owned());
        }
        let outdated = self.registry.has_outdated().await;
        outdated.map_err(|status| status.message)
    }

    fn forget_replaced(&self) -> Phase {
        let keys = self.pki.encryption_keys();
        if let Err(error) = keys.forget_replaced() {
            tracing::warn!(
                error = shown(&error),
                "the replaced key of the Secrets is kept"
            );
            return Phase::Failed;
        }
        self.encryption().set_own(own_keys(keys));
        tracing::info!("the replaced key of the Secrets is gone");
        Phase::Done
    }
}

fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text.push_str(&format!(": {one}"));
        cause = one.source();
    }
    text
}
