//! Where the objects are: in the embedded store, or in an etcd that several servers share. Those have the cluster's keys in common.

use std::{fs, path::Path, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use knarr_auth::pki::shared::{MIN_TOKEN_CHARACTERS, Shared};
use knarr_etcd::{Etcd, Options, Tls};
use knarr_store::{Embedded, Op, Outcome, Store};

use crate::cli::DatastoreFlags;

/// Where servers find the keys that they have in common.
const KEYS: &str = "/knarr/bootstrap";

/// The store of a control plane.
#[derive(Clone)]
pub enum Datastore {
    Embedded(Arc<Embedded>),
    Etcd(Arc<Etcd>),
}

impl Datastore {
    /// Opens the store, and has the cluster's keys in `pki_dir` if it shares them.
    ///
    /// # Errors
    /// In one line: what cannot be read, reached or opened; a token that is not the cluster's.
    pub async fn open(flags: &DatastoreFlags, data_dir: &Path, pki_dir: &Path) -> Result<Self> {
        let Some(address) = &flags.datastore else {
            return embedded(data_dir).await;
        };
        let options = Options {
            tls: tls(flags)?,
            ..Options::of(address.clone())
        };
        let etcd = Etcd::connect(options).await?;
        let token = token(flags)?;
        share_keys(&etcd, pki_dir, token).await?;
        Ok(Self::Etcd(Arc::new(etcd)))
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Etcd(store) => store.clone(),
        }
    }

    /// Whether other servers may have the same objects.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close(),
            Self::Etcd(store) => store.close().await,
        }
    }
}

/// What can be said of the flags before anything is made.
///
/// # Errors
/// What is missing, or would be spoken in the clear.
pub fn check(flags: &DatastoreFlags) -> Result<()> {
    let Some(address) = &flags.datastore else {
        return Ok(());
    };
    if flags.datastore_ca.is_none() && !address.is_local() {
        bail!(
            "--datastore {address} is not on this machine, and would be spoken to in the clear; give --datastore-ca"
        );
    }
    tls(flags)?;
    token(flags).map(drop)
}

/// Opening reads the disk: off the async threads.
async fn embedded(data_dir: &Path) -> Result<Datastore> {
    let path = data_dir.join("store");
    let opened = tokio::task::spawn_blocking(move || {
        Embedded::open(&path, knarr_store::Options::default())
            .with_context(|| format!("cannot open the store in {}", path.display()))
    });
    let store = opened.await.context("opening the store was aborted")??;
    Ok(Datastore::Embedded(Arc::new(store)))
}

fn tls(flags: &DatastoreFlags) -> Result<Option<Tls>> {
    let read =
        |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let Some(ca) = &flags.datastore_ca else {
        return Ok(None);
    };
    let identity = match (&flags.datastore_cert, &flags.datastore_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(Some(Tls {
        ca: read(ca)?,
        identity,
    }))
}

fn token(flags: &DatastoreFlags) -> Result<String> {
    let token = match (&flags.token, &flags.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => fs::read_to_string(path)
            .with_context(|| format!("cannot read the token in {}", path.display()))?,
        (None, None) => bail!(
            "--datastore needs --token-file or --token: what all servers of the cluster know (openssl rand -hex 16 makes one)"
        ),
    };
    let token = token.trim();
    if token.chars().count() < MIN_TOKEN_CHARACTERS {
        bail!("--token needs at least {MIN_TOKEN_CHARACTERS} characters");
    }
    Ok(token.to_owned())
}

/// Has the cluster's keys in `pki_dir`: those that are stored, or, for the first server, its own, which it stores.
async fn share_keys(store: &Etcd, pki_dir: &Path, token: String) -> Result<()> {
    let (_, stored) = store.get(KEYS, None).await?;
    let sealed = match stored {
        Some(kv) => kv.value,
        None => {
            // Those that were made beside are nobody's: another server may be faster.
            let beside = pki_dir.with_extension("new");
            let source = match Shared::is_in(pki_dir) {
                true => pki_dir.to_owned(),
                false => beside.clone(),
            };
            let (made, secret) = (source.clone(), token.clone());
            let sealed = blocking(move || Ok(Shared::open(&made)?.seal(&secret)?)).await?;
            let outcome = store.commit(Op::create(KEYS, sealed.clone())).await?;
            let sealed = match outcome {
                Outcome::Committed { .. } => sealed.into(),
                Outcome::Conflict { current, .. } => {
                    current
                        .context("the cluster's keys have gone from the datastore")?
                        .value
                }
            };
            if source == beside {
                knarr_host::remove(&beside)
                    .with_context(|| format!("cannot delete {}", beside.display()))?;
            }
            sealed
        }
    };
    let pki_dir = pki_dir.to_owned();
    blocking(move || {
        let shared = Shared::unseal(&sealed, &token).context("cannot have the cluster's keys")?;
        Ok(shared.write(&pki_dir)?)
    })
    .await
}

/// Deriving a key from a token takes a while, and files are written.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("sharing the cluster's keys was aborted")?
}
