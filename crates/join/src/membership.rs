//! A node's membership: what it has of its cluster, made at the first start and kept up while it runs.

mod kept;
mod servers;
mod steps;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::{self, OptionFuture};
use jiff::Timestamp;
use rustls::{ClientConfig, server::ResolvesServerCert};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::kept::{Joined, join_or_wait, rejoin};
use crate::{
    ClusterSettings, Error, JoinToken, ServerAddress,
    certificate::{Certified, Place},
    remote::RemoteClients,
    request::{self, Identity, Purpose, blocking},
    rotation::{Kept, Order, Rotation},
    serving::Serving,
    tls::Authority,
    transport::{Servers, Transport},
};

/// Longest that joining may take, with everything that has deadlines of its own.
const JOIN_TIMEOUT: Duration = Duration::from_secs(90);
/// Requests under way get this long to end when the certificate of their connection was rotated.
const ROTATION_GRACE: Duration = Duration::from_secs(30);

/// Who joins what.
#[derive(Clone, Debug)]
pub struct Options {
    /// At least one; asked in turn.
    pub servers: Vec<ServerAddress>,
    /// For the first start.
    pub token: Option<JoinToken>,
    /// The authority's certificate, where the token has no hash of it.
    pub ca_file: Option<PathBuf>,
    /// Where keys and certificates are kept, mode 0700.
    pub pki_dir: PathBuf,
    pub node_name: String,
    /// What the node's server is reached by, beside its name; of families that the cluster does not have nothing comes of them.
    pub node_ips: Vec<IpAddr>,
    /// Life of the certificates that are asked for. `None`: the longest that the server gives.
    pub certificate_life: Option<Duration>,
    /// Whether to go to all servers that the cluster has by now, not only to `servers`. They are kept in `pki_dir`.
    pub follows_servers: bool,
    /// What a cluster does not tell its nodes that is not knarr's.
    pub foreign: Option<Foreign>,
}

/// A cluster of upstream's: its nodes are told by flags what they have to know, and nobody there approves the certificates of their
/// servers by itself.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// PEM of the cluster's authority.
    pub ca_pem: String,
    pub settings: ClusterSettings,
}

impl Options {
    fn identity(&self) -> Identity {
        Identity {
            node_name: self.node_name.clone(),
            node_ips: self.node_ips.clone(),
            life: self.certificate_life,
        }
    }

    fn place(&self, purpose: Purpose) -> Place {
        Place::new(&self.pki_dir, purpose.file())
    }
}

/// A machine that is a node.
pub struct Membership {
    authority: Authority,
    identity: Identity,
    settings: ClusterSettings,
    clients: Arc<RemoteClients>,
    servers: Arc<Servers>,
    /// Where the servers that the cluster has are kept; `None`: those that were given are all.
    follows: Option<PathBuf>,
    node: Transport,
    /// For those who show a token.
    nobody: Transport,
    client: (Place, Certified),
    kept: Arc<Kept>,
    /// `None`: the node's server shows a certificate of its own making.
    served: Option<(Place, Certified)>,
    serving: Arc<Serving>,
    order: Order,
}

/// Gets everything that a node needs before its parts start: trust in the servers, a certificate as their client, one for the node's
/// own server, and what nodes of the cluster agree on. A node that has joined before needs no token.
///
/// # Errors
/// [`Error`]; what was got until then serves the next try.
pub async fn join(options: &Options) -> Result<Membership, Error> {
    timeout(JOIN_TIMEOUT, Box::pin(within(options)))
        .await
        .unwrap_or(Err(Error::Timeout(JOIN_TIMEOUT)))
}

async fn within(options: &Options) -> Result<Membership, Error> {
    let servers = servers::known(options).await?;
    let authority = steps::trust(options, &servers).await?;
    // From here on only the cluster's own servers are spoken to.
    let anonymous = authority.client(None)?;
    match member(options, &servers, authority, &anonymous).await {
        Err(error) => Err(servers.explain(&anonymous, error).await),
        joined => joined,
    }
}

/// What a machine that trusts its servers has to get.
async fn member(
    options: &Options,
    servers: &Arc<Servers>,
    authority: Authority,
    anonymous: &Arc<ClientConfig>,
) -> Result<Membership, Error> {
    let mut identity = options.identity();
    let nobody = Transport::new(servers.clone(), anonymous.clone());
    let mut client = steps::client_certificate(options, servers, &nobody).await?;
    let changed = match &options.foreign {
        Some(_) => None,
        None => steps::changed_trust(servers, anonymous, &authority).await,
    };
    let (old, authority) = match changed {
        Some(changed) => (Some(authority), changed),
        None => (None, authority),
    };
    let node = Transport::new(servers.clone(), authority.client(Some(&client))?);
    let clients = Arc::new(RemoteClients::new(
        &options.node_name,
        node.clone(),
        &nobody,
    ));
    let api = clients.node();
    let place = options.place(Purpose::Client);
    steps::check_server(&api, servers, place.path()).await?;
    if let Some(old) = old {
        steps::keep_trust(options, &old, &authority).await?;
    }
    if options.foreign.is_none() && !steps::is_of_present(&authority, &client) {
        client = request::certificate(&api, &place, &identity, Purpose::Client).await?;
        // Nothing else has used it yet.
        node.replace(authority.client(Some(&client))?).cancel();
    }
    let (settings, shown, served) = match &options.foreign {
        Some(foreign) => (foreign.settings.clone(), identity.self_signed()?, None),
        None => {
            let settings = steps::settings(&api).await?;
            kept::keep(options, &settings).await?;
            // Addresses that nobody reaches the node by are nothing to vouch for.
            identity.node_ips.retain(|ip| settings.has_family_of(*ip));
            let served = steps::serving_certificate(options, &identity, &api, &authority).await?;
            request::check_clock(&served, &servers.current().to_string(), Timestamp::now())?;
            let place = options.place(Purpose::Serving);
            (settings, served.clone(), Some((place, served)))
        }
    };
    Ok(Membership {
        authority,
        settings,
        clients,
        servers: servers.clone(),
        follows: options.follows_servers.then(|| options.pki_dir.clone()),
        node,
        nobody,
        kept: Arc::new(Kept::new(&client)),
        client: (place, client),
        serving: Arc::new(Serving::new(&shown)?),
        served,
        identity,
        order: Order::default(),
    })
}

impl Membership {
    /// Whether a node that has started with `other` has all of this: it need not start again.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let certificate = |of: &Self| of.served.as_ref().map(|(_, served)| served.clone());
        self.authority.pem() == other.authority.pem()
            && self.settings == other.settings
            && self.client.1 == other.client.1
            && certificate(self) == certificate(other)
    }

    /// Clients of what runs on the node.
    #[must_use]
    pub fn clients(&self) -> Arc<RemoteClients> {
        self.clients.clone()
    }

    /// What the cluster's nodes agree on.
    #[must_use]
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// PEM of the cluster's authority.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The certificate that the node serves with, as it is at each handshake.
    #[must_use]
    pub fn serving(&self) -> Arc<dyn ResolvesServerCert> {
        self.serving.clone()
    }

    /// What is known of the certificate by which the node is a client.
    #[must_use]
    pub fn client_certificate(&self) -> Arc<Kept> {
        self.kept.clone()
    }

    /// By which both certificates are rotated before they are due, while [`Membership::run`] runs.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order.clone()
    }

    /// Rotates both certificates, and follows which servers there are, until cancelled.
    pub fn run(&self, token: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let serving = self
            .served
            .clone()
            .map(|served| self.rotate_serving(served));
        let serving = OptionFuture::from(serving.map(Rotation::run));
        let rotations = future::join(self.rotate_client().run(), serving);
        let followed = OptionFuture::from(self.follow(token.child_token()));
        async move {
            let all = future::join(rotations, followed);
            token.run_until_cancelled(all).await;
        }
    }

    /// Which servers there are, and which of them is this node's.
    fn follow(&self, token: CancellationToken) -> Option<impl Future<Output = ()> + Send + use<>> {
        let following = self.follows.clone().map(|pki_dir| servers::Following {
            servers: self.servers.clone(),
            clients: self.clients.clone(),
            pki_dir,
        });
        let following = OptionFuture::from(following.map(|following| following.run(token)));
        let anybody = self.authority.client(None).ok()?;
        let transports = [self.node.clone(), self.nobody.clone()];
        let back = servers::look_back(self.servers.clone(), anybody, transports);
        Some(async move {
            future::join(following, back).await;
        })
    }

    fn rotate_client(&self) -> Rotation {
        let (place, current) = self.client.clone();
        let (authority, node) = (self.authority.clone(), self.node.clone());
        Rotation {
            client: self.clients.node(),
            place,
            identity: self.identity.clone(),
            purpose: Purpose::Client,
            current,
            kept: self.kept.clone(),
            ordered: self.order.follow(),
            replace: Arc::new(move |next, old| {
                let end = node.replace(authority.client(Some(next))?);
                let grace = grace(old, Timestamp::now());
                knarr_tasks::spawn("the end of a connection", async move {
                    sleep(grace).await;
                    end.cancel();
                });
                Ok(())
            }),
        }
    }

    fn rotate_serving(&self, (place, current): (Place, Certified)) -> Rotation {
        let serving = self.serving.clone();
        Rotation {
            client: self.clients.node(),
            place,
            identity: self.identity.clone(),
            purpose: Purpose::Serving,
            kept: Arc::new(Kept::new(&current)),
            current,
            ordered: self.order.follow(),
            replace: Arc::new(move |next, _| serving.replace(next)),
        }
    }
}

/// How long the connections of a certificate may go on: not until it ends, when their requests would be refused.
fn grace(old: &Certified, now: Timestamp) -> Duration {
    let left = Duration::try_from(now.duration_until(old.not_after));
    ROTATION_GRACE.min(left.unwrap_or_default() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_before_their_certificate() {
        let certified = crate::certificate::tests::certified();
        for (now, expected) in [
            ("2030-04-25T00:00:00Z", 30),
            ("2030-04-30T23:59:40Z", 10),
            ("2030-05-02T00:00:00Z", 0),
        ] {
            let grace = grace(&certified, now.parse().expect("a time"));
            assert_eq!(grace.as_secs(), expected, "{now}");
        }
    }
}
