//! The cluster's keys and certificates: made at first start, renewed before they expire, served to TLS.
//!
//! Everything is ECDSA P-256 under one directory (mode 0700): a certificate authority that lives ten years signs leafs that
//! live one. A leaf is issued again when two thirds of its life have passed, when its names changed, when it does not fit its
//! key (a crash between two writes) or when it was signed by another authority. The authority's key is the root of trust:
//! where its files are damaged the start fails, it is never silently replaced.
//!
//! A second authority signs one certificate only: the one by which aggregated API servers know who passes requests on to them, and whom
//! they believe when it names a user. Were it the cluster's, whoever gets a request for a client certificate signed could be that.
//! It is published as an object, and made again where its files are lost.
//!
//! TLS configurations look their certificate up at each handshake, so that a renewal takes effect without a restart. Kubeconfigs that
//! were written here get renewed certificates, too. An authority is replaced by command, in steps ([`Pki::replace_authorities`]).

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{client::ResolvesClientCert, server::ResolvesServerCert};
use thiserror::Error;

use crate::front_proxy::{FrontProxies, Verifier};

mod authority;
mod cert;
mod encryption;
pub mod files;
mod issue;
mod key;
mod kubeconfig;
pub mod shared;
#[cfg(test)]
mod tests;
mod tls;

use authority::Authority;
pub use cert::Credential;
pub use encryption::EncryptionKeys;

/// Life of the authority's certificate.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Life of a leaf certificate.
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Certificates are valid from a while before they are made, for clients whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Length of the key that encrypts Secrets in the store.
pub const ENCRYPTION_KEY_BYTES: usize = 32;
/// Its file.
const ENCRYPTION_KEY: &str = "secrets-encryption.key";

/// Group of the API server as a client of kubelets: bound to the ClusterRole `system:kubelet-api-admin` and to nothing else. The
/// server shows this certificate to whatever address a node reports.
pub const KUBELET_ADMINS: &str = "knarr:kubelet-api-admins";

/// Why keys or certificates cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{path} is damaged: {reason}; restore it from a backup, or remove the whole directory to make a new cluster authority"
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} is of another cluster than the datastore's; use another --data-dir, or remove the directory it is in"
    )]
    OtherCluster { path: PathBuf },
    #[error(
        "the authority that was replaced last is still trusted: drop it first (knarr cert rotate --drop-old-ca)"
    )]
    StillTrusted,
    #[error("no replaced authority is trusted: there is nothing to drop")]
    NothingReplaced,
    #[error(
        "the authority was replaced while this knarr ran: restart it first, then all agents, so that they get certificates of the new one"
    )]
    RestartFirst,
    #[error("cannot issue a certificate for {name}")]
    Issue { name: String, source: rcgen::Error },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("cannot verify client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What the certificates are made for.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_name: String,
    /// Of each family one at most.
    pub node_ips: Vec<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// First addresses of the Services' ranges: `default/kubernetes` has that of the primary one.
    pub service_ips: Vec<IpAddr>,
    /// More names or addresses by which clients reach the API server.
    pub extra_sans: Vec<String>,
}

/// A leaf certificate of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// What the API server serves with.
    ApiServer,
    /// What the API server shows to kubelets (CN `kube-apiserver-kubelet-client`, O [`KUBELET_ADMINS`]).
    KubeletClient,
    /// The administrator (CN `kubernetes-admin`, O `system:masters`).
    Admin,
    /// The node's own, for its server and as its client (CN `system:node:<name>`, O `system:nodes`).
    Kubelet,
    /// What the API server shows to aggregated ones (CN [`FRONT_PROXY_NAME`]), signed by the authority for that.
    FrontProxy,
}

/// Who passes requests on to aggregated API servers.
pub const FRONT_PROXY_NAME: &str = "front-proxy-client";

impl Role {
    /// Every leaf.
    pub const ALL: [Role; 5] = [
        Role::ApiServer,
        Role::KubeletClient,
        Role::Admin,
        Role::Kubelet,
        Role::FrontProxy,
    ];

    /// File name without extension.
    fn file(self) -> &'static str {
        match self {
            Role::ApiServer => "apiserver",
            Role::KubeletClient => "apiserver-kubelet-client",
            Role::Admin => "admin",
            Role::Kubelet => "kubelet",
            Role::FrontProxy => FRONT_PROXY_NAME,
        }
    }
}

/// Who signs.
struct Authorities {
    cluster: Authority,
    front_proxy: Authority,
}

impl Authorities {
    fn of(&self, role: Role) -> &Authority {
        match role {
            Role::FrontProxy => &self.front_proxy,
            Role::ApiServer | Role::KubeletClient | Role::Admin | Role::Kubelet => &self.cluster,
        }
    }
}

/// Keys and certificates of one cluster.
pub struct Pki {
    dir: PathBuf,
    options: Options,
    authorities: Authorities,
    leafs: BTreeMap<Role, Arc<ArcSwap<Credential>>>,
    /// One renewal at a time.
    renewing: Mutex<()>,
    service_account_key: Vec<u8>,
    encryption_keys: EncryptionKeys,
    kubeconfigs: Mutex<BTreeMap<PathBuf, kubeconfig::Written>>,
}

impl Pki {
    /// Loads what is under `dir`, makes what is missing and renews what is due.
    pub fn open(dir: &Path, options: Options) -> Result<Pki, Error> {
        files::private_dir(dir)?;
        let now = SystemTime::now();
        let authorities = Authorities {
            cluster: Authority::open(dir, &authority::CLUSTER, now)?,
            front_proxy: Authority::open(dir, &authority::FRONT_PROXY, now)?,
        };
        let mut leafs = BTreeMap::new();
        for role in Role::ALL {
            let (profile, authority) = (cert::profile(role, &options), authorities.of(role));
            let leaf = match cert::Credential::load(dir, role.file(), authority) {
                Some(leaf) if !leaf.due(now) && leaf.fits(&profile) => leaf,
                _ => cert::Credential::issue(dir, role.file(), authority, &profile, now)?,
            };
            leafs.insert(role, Arc::new(ArcSwap::from_pointee(leaf)));
        }
        let service_account_key = cert::service_account_key(dir)?;
        let encryption_keys = EncryptionKeys::open(dir)?;
        files::sync_dir(dir)?;
        Ok(Pki {
            dir: dir.into(),
            options,
            authorities,
            leafs,
            renewing: Mutex::new(()),
            service_account_key,
            encryption_keys,
            kubeconfigs: Mutex::default(),
        })
    }

    /// Issues every leaf again that has passed two thirds of its life; handshakes use the new ones from then on. Call it once
    /// in a while (hours). Returns what was renewed.
    pub fn renew_due(&self) -> Result<Vec<Role>, Error> {
        self.renew_due_at(SystemTime::now())
    }

    fn renew_due_at(&self, now: SystemTime) -> Result<Vec<Role>, Error> {
        self.renew(now, |leaf| leaf.due(now))
    }

    /// Issues every leaf again, with a new key; handshakes use the new ones from then on, and connections go on.
    pub fn renew_all(&self) -> Result<Vec<Role>, Error> {
        self.renew(SystemTime::now(), |_| true)
    }

    fn renew(
        &self,
        now: SystemTime,
        is_wanted: impl Fn(&Credential) -> bool,
    ) -> Result<Vec<Role>, Error> {
        let _one = self.renewing.lock();
        let mut renewed = Vec::new();
        for (&role, leaf) in &self.leafs {
            if is_wanted(&leaf.load()) {
                let profile = cert::profile(role, &self.options);
                leaf.store(Arc::new(cert::Credential::issue(
                    &self.dir,
                    role.file(),
                    self.authorities.of(role),
                    &profile,
                    now,
                )?));
                renewed.push(role);
            }
        }
        for (path, written) in &mut *self.kubeconfigs.lock() {
            if renewed.contains(&written.role) {
                written.renew(self.ca_pem(), &self.credential(written.role), path)?;
            }
        }
        Ok(renewed)
    }

    /// Makes new authorities, which the next start signs by; the present ones stay trusted until they are dropped.
    pub fn replace_authorities(&self) -> Result<(), Error> {
        let _one = self.renewing.lock();
        for (profile, old) in self.profiles() {
            if authority::is_replacing(old) || !old.is_in(&self.dir, profile)? {
                return Err(Error::StillTrusted);
            }
        }
        let now = SystemTime::now();
        for (profile, old) in self.profiles() {
            authority::replace(&self.dir, profile, old, now)?;
        }
        Ok(())
    }

    /// From the next start on nothing is trusted that replaced authorities have signed.
    pub fn drop_replaced_authorities(&self) -> Result<(), Error> {
        let _one = self.renewing.lock();
        for (profile, own) in self.profiles() {
            if !own.is_in(&self.dir, profile)? {
                return Err(Error::RestartFirst);
            }
        }
        if !self
            .profiles()
            .iter()
            .any(|(_, own)| authority::is_replacing(own))
        {
            return Err(Error::NothingReplaced);
        }
        for (profile, own) in self.profiles() {
            authority::drop_replaced(&self.dir, profile, own)?;
        }
        Ok(())
    }

    fn profiles(&self) -> [(&'static authority::AuthorityProfile, &Authority); 2] {
        [
            (&authority::FRONT_PROXY, &self.authorities.front_proxy),
            (&authority::CLUSTER, &self.authorities.cluster),
        ]
    }

    /// The authority's certificate, and behind it that of a replaced one that is still trusted.
    pub fn ca_pem(&self) -> &str {
        self.authorities.cluster.pem()
    }

    /// The certificate of the authority that only [`Role::FrontProxy`] is signed by.
    pub fn front_proxy_ca_pem(&self) -> &str {
        self.authorities.front_proxy.pem()
    }

    /// The authority as what signs the requests of clients and kubelets.
    pub fn signer(&self) -> Arc<knarr_x509::Authority> {
        self.authorities.cluster.signer().clone()
    }

    /// Names and addresses by which clients reach the API server, as its certificate has them.
    pub fn server_names(&self) -> Vec<String> {
        let profile = cert::profile(Role::ApiServer, &self.options);
        profile.sans.into_iter().collect()
    }

    /// A leaf as it is now.
    pub fn credential(&self, role: Role) -> Arc<Credential> {
        self.leafs[&role].load_full()
    }

    /// Where a leaf's certificate and key lie, for components that read files.
    pub fn paths(&self, role: Role) -> (PathBuf, PathBuf) {
        (
            self.dir.join(format!("{}.crt", role.file())),
            self.dir.join(format!("{}.key", role.file())),
        )
    }

    /// PKCS#8 DER of the P-256 key that signs service-account tokens.
    pub fn service_account_key(&self) -> &[u8] {
        &self.service_account_key
    }

    /// The keys for Secrets in the store.
    pub fn encryption_keys(&self) -> &EncryptionKeys {
        &self.encryption_keys
    }

    /// TLS for a server of this cluster: HTTP/2 and HTTP/1.1 by ALPN; a client may show a certificate of the authority, and
    /// one that is shown must be valid.
    pub fn server_config(&self, role: Role) -> Result<Arc<rustls::ServerConfig>, Error> {
        tls::server(&self.authorities.cluster, self.leafs[&role].clone())
    }

    /// The same for a server that front proxies come to, too; with what tells their certificates from users'.
    pub fn proxied_server_config(
        &self,
        role: Role,
        proxies: Arc<FrontProxies>,
    ) -> Result<(Arc<rustls::ServerConfig>, Arc<Verifier>), Error> {
        tls::proxied_server(
            &self.authorities.cluster,
            self.leafs[&role].clone(),
            proxies,
        )
    }

    /// TLS towards a server of this cluster, showing the role's certificate.
    pub fn client_config(&self, role: Role) -> Result<Arc<rustls::ClientConfig>, Error> {
        tls::client(&self.authorities.cluster, self.leafs[&role].clone())
    }

    /// The role's certificate, as it is at each handshake, for a client that verifies servers in its own way.
    pub fn client_identity(&self, role: Role) -> Result<Arc<dyn ResolvesClientCert>, Error> {
        tls::identity(self.leafs[&role].clone())
    }

    /// The role's certificate, as it is at each handshake, for a server that verifies clients in its own way.
    pub fn serving_identity(&self, role: Role) -> Result<Arc<dyn ResolvesServerCert>, Error> {
        tls::serving_identity(self.leafs[&role].clone())
    }

    /// Writes a kubeconfig for `role` (mode 0600, everything embedded, context `knarr`), unless the file already says just
    /// that, and again when that role's certificate is renewed. `server` is the URL.
    pub fn write_kubeconfig(&self, role: Role, server: &str, path: &Path) -> Result<(), Error> {
        let credential = self.credential(role);
        let written = kubeconfig::write(self.ca_pem(), (role, &credential), server, path)?;
        self.kubeconfigs.lock().insert(path.to_owned(), written);
        Ok(())
    }
}
