//! The start of a node that has joined before while no server answers: with what it has of its cluster from the last time.
//!
//! A machine that comes up again must not wait for another one: its static pods may be what the servers are made of, and what runs on
//! it is to go on. So the facts that all nodes agree on are kept beside the certificates, and joining is made up for when a server
//! answers.

use super::*;

use std::collections::BTreeMap;

use knarr_auth::pki::files::{self, Durability};
use tracing::debug;

/// How long a node that could start without them waits for its servers. One that is switched off does not even refuse.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits between tries to reach a server, growing from one to the other.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// What the cluster's nodes agree on, as it was told last: the ConfigMap's data in JSON.
const SETTINGS_FILE: &str = "cluster.json";

/// How a node has started.
pub enum Joined {
    /// With a server.
    Now(Membership),
    /// Without one, and why: by what it has from the last time.
    Before(Membership, Error),
}

/// As [`join`], but a node that has joined before starts also while no server answers. [`rejoin`] makes up for it.
///
/// # Errors
/// [`Error`]; that no server answers is none for such a node.
pub async fn join_or_wait(options: &Options) -> Result<Joined, Error> {
    let Some(kept) = membership(options).await? else {
        return join(options).await.map(Joined::Now);
    };
    let joining = Box::pin(reached(options, &kept));
    match timeout(PATIENCE, joining).await {
        Ok(Ok(member)) => Ok(Joined::Now(member)),
        Ok(Err(error)) if error.is_absence() => Ok(Joined::Before(kept, error)),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Joined::Before(kept, Error::Timeout(PATIENCE))),
    }
}

/// Joins as soon as a server answers.
///
/// # Errors
/// [`Error`]; never that no server answers.
pub async fn rejoin(options: &Options, kept: &Membership) -> Result<Membership, Error> {
    let mut wait = RETRY_MIN;
    loop {
        match reached(options, kept).await {
            Err(error) if error.is_absence() => debug!(%error, "no server answers yet"),
            joined => return joined,
        }
        sleep(wait.mul_f64(1.0 + fastrand::f64() / 2.0)).await;
        wait = wait.saturating_mul(2).min(RETRY_MAX);
    }
}

/// Joins, once it is clear that somebody is there: else each question would wait by itself.
async fn reached(options: &Options, kept: &Membership) -> Result<Membership, Error> {
    let anybody = kept.authority.client(None)?;
    kept.servers.connect(&anybody).await?;
    join(options).await
}

/// What a node has of its cluster; `None` of a machine that has not joined before, whose certificate has ended, or that is another
/// node now.
async fn membership(options: &Options) -> Result<Option<Membership>, Error> {
    let (authority, client) = (
        steps::kept_authority(options).await?,
        steps::kept_client(options).await?,
    );
    let (Some(authority), Some(client), Some(settings)) =
        (authority, client, settings(options).await?)
    else {
        return Ok(None);
    };
    let mut identity = options.identity();
    identity.node_ips.retain(|ip| settings.has_family_of(*ip));
    let place = options.place(Purpose::Serving);
    let served = blocking(&place, Place::load).await?;
    // One that names an address that the machine has not any more is better than none.
    let served = served.filter(|served| served.is_valid(Timestamp::now()));
    let shown = match &served {
        Some(served) => served.clone(),
        None => identity.self_signed()?,
    };
    let servers = servers::known(options).await?;
    let node = Transport::new(servers.clone(), authority.client(Some(&client))?);
    let nobody = Transport::new(servers.clone(), authority.client(None)?);
    let clients = RemoteClients::new(&options.node_name, node.clone(), &nobody);
    Ok(Some(Membership {
        authority,
        settings,
        clients: Arc::new(clients),
        servers,
        follows: options.follows_servers.then(|| options.pki_dir.clone()),
        node,
        nobody,
        kept: Arc::new(Kept::new(&client)),
        client: (options.place(Purpose::Client), client),
        serving: Arc::new(Serving::new(&shown)?),
        served: served.map(|served| (place, served)),
        identity,
        order: Order::default(),
    }))
}

async fn settings(options: &Options) -> Result<Option<ClusterSettings>, Error> {
    let path = options.pki_dir.join(SETTINGS_FILE);
    let kept = tokio::task::spawn_blocking(move || files::read(&path));
    let kept = kept.await.unwrap_or(Ok(None))?;
    // What is damaged, or of another version, is told anew by the next server that answers.
    let data =
        kept.and_then(|bytes| serde_json::from_slice::<BTreeMap<String, String>>(&bytes).ok());
    Ok(data.and_then(|data| ClusterSettings::from_data(&data).ok()))
}

/// Keeps what a server has told for a start without one.
pub(super) async fn keep(options: &Options, told: &ClusterSettings) -> Result<(), Error> {
    if settings(options).await?.as_ref() == Some(told) {
        return Ok(());
    }
    let path = options.pki_dir.join(SETTINGS_FILE);
    let text = serde_json::json!(told.data()).to_string();
    let kept = tokio::task::spawn_blocking(move || {
        files::write(&path, text.as_bytes(), files::PUBLIC, Durability::Synced)
    });
    Ok(kept.await.unwrap_or(Ok(()))?)
}
