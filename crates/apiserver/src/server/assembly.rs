//! How a server is put together, each part from those before it, and what has to be there before anybody asks it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak, atomic::Ordering},
};

use knarr_api::{Kinds, flowcontrol::standard};
use knarr_auth::{
    authn::{self, Authn},
    authz::Authz,
    front_proxy::FrontProxies,
    objects::Objects,
    pki::{self, Pki, Role},
    request::TokenAuthenticator,
    tokens::{self, Tokens},
};
use knarr_authorizer::Authorizers;
use knarr_encryption::Encryption;
use knarr_fairness::Fairness;
use knarr_identity::Identities;
use knarr_registry::{
    Registry,
    allocators::{self, Allocators},
    cache::{self, Cache},
    catalog::Catalog,
    definitions::Definitions,
    transform::Transformer,
    write::repeat::Repeats,
};
use knarr_store::Store;
use knarr_webhook::Clients;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config, Error, Server, flow_control, incoming, listen, neighbour,
    peer::Proxies,
    rotation::{self, Rotation},
    token_use::TokenUse,
};
use crate::{
    aggregation::{self, Aggregation, Locals},
    backend::Backends,
    bootstrap::{self, Bootstrap},
    core::Core,
    kubelet::Kubelets,
    protobuf,
};

impl Server {
    /// Binds, loads keys and objects, starts the feed and makes what every cluster has.
    pub async fn new(mut config: Config, store: Arc<dyn Store>) -> Result<Server, Error> {
        let (listener, address) = listen::bind(config.listener.take(), config.listen)?;
        let service_ips = allocators::first_service_ips(&config.service_cidrs)?;
        let (Some(&advertise), Some(&service_ip)) = (config.advertise.first(), service_ips.first())
        else {
            return Err(Error::NoAddress);
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (pki, tls, proxies) = keys(&mut config, service_ips)?;
        let mut encryption = config.encryption.clone();
        if config.shared_store && encryption.config_file.is_none() {
            let plain = neighbour::keeps_secrets_plain(&*store).await;
            encryption.plain = plain.map_err(cache::Error::Store)?;
        }
        let storage = Storage::load(&pki, &encryption, store).await?;
        let objects: Arc<dyn Objects> = storage.cache.clone();
        let advertised = SocketAddr::new(advertise, address.port()).to_string();
        let judges = Judges::new(&mut config, &pki, &objects, &advertised)?;
        let shared = config.shared_store.then(|| storage.store.clone());
        let ranges = allocators::Config::new(config.service_cidrs.clone());
        let claimed = Some((storage.store.clone(), config.shared_store));
        let allocators = Arc::new(Allocators::new(&ranges, objects.clone(), claimed)?);
        let admission = config.admission.clone();
        let registry = registry(storage, &judges, allocators.clone(), admission);
        let rotation = Rotation::new(registry.clone(), pki.clone(), config.shared_store);
        let used = TokenUse::new(registry.clone(), tasks.clone());
        judges.tokens.tell(Arc::new(used));
        let place = Place {
            service_ip,
            advertise,
            port: address.port(),
        };
        let wanted = wanted(&config, &pki, place);
        let bootstrap = Arc::new(Bootstrap::new(wanted, objects, registry.clone(), shared));
        let event_ttl = config.event_ttl;
        let parts = Parts {
            registry,
            kubelets: Kubelets::new(Some(pki.client_config(Role::KubeletClient)?), stop.clone()),
            proxies,
            advertised,
            drains: incoming::Drains::new(tasks.clone(), stop.clone()),
            backends: Backends::new(stop.clone()),
        };
        let server = Server {
            core: Arc::new(core(config, parts, &judges)),
            pki,
            allocators,
            bootstrap,
            rotation: Arc::new(rotation),
            listener,
            address,
            event_ttl,
            tls,
            stop,
            tasks,
            audited: CancellationToken::new(),
            audits: TaskTracker::new(),
        };
        server.start(judges).await?;
        Ok(server)
    }

    /// Starts what keeps the server true. Afterwards it can be asked.
    async fn start(&self, judges: Judges) -> Result<(), Error> {
        self.start_auditor();
        if let Some(authorizers) = judges.authorizers {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { authorizers.run(stop).await });
        }
        if let Some(identities) = judges.identities {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { identities.run(stop).await });
        }
        self.start_feed();
        self.start_encryption();
        // What Services have already is claimed before anybody asks for more.
        let claimed = self.allocators.repair_claims().await;
        claimed.map_err(cache::Error::Store)?;
        self.bootstrap.run().await?;
        let mut definitions = Definitions::new(self.core.registry.clone());
        definitions.sync().await;
        // After the kinds of definitions: theirs are APIServices, too.
        let aggregated = aggregation::Task::new(
            self.core.aggregation.clone(),
            self.core.registry.clone(),
            self.pki.client_identity(Role::FrontProxy)?,
            self.tasks.clone(),
        );
        let stop = self.stop.clone();
        self.tasks.spawn(async move { definitions.run(stop).await });
        self.tasks.spawn(aggregated.run(self.stop.clone()));
        let flow_control = flow_control::Task::start(&self.core).await;
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { flow_control.run(stop).await });
        self.core.health.bootstrapped.store(true, Ordering::Release);
        Ok(())
    }
}

type Keys = (Arc<Pki>, Arc<rustls::ServerConfig>, Option<Proxies>);

/// The cluster's keys, what clients are served with, and which front proxies are believed.
fn keys(config: &mut Config, service_ips: Vec<IpAddr>) -> Result<Keys, Error> {
    let options = pki::Options {
        node_name: config.node_name.clone(),
        node_ips: config.advertise.clone(),
        cluster_domain: config.cluster_domain.clone(),
        service_ips,
        extra_sans: config.extra_sans.clone(),
    };
    let pki = Arc::new(Pki::open(&config.pki_dir, options)?);
    let Some(options) = config.front_proxies.take() else {
        let tls = pki.server_config(Role::ApiServer)?;
        return Ok((pki, tls, None));
    };
    let believed = Arc::new(FrontProxies::new(&options)?);
    let (tls, verifier) = pki.proxied_server_config(Role::ApiServer, believed.clone())?;
    Ok((pki, tls, Some(Proxies { believed, verifier })))
}

/// The store, and what is read of it.
struct Storage {
    store: Arc<dyn Store>,
    transformer: Arc<Transformer>,
    kinds: Kinds,
    cache: Arc<Cache>,
}

impl Storage {
    async fn load(
        pki: &Pki,
        encryption: &knarr_encryption::Options,
        store: Arc<dyn Store>,
    ) -> Result<Self, Error> {
        if encryption.plain {
            tracing::warn!(
                "Secrets of this store are not encrypted, and stay so: whoever else reads it has no key of this cluster; --encryption-provider-config encrypts them"
            );
        }
        let own = rotation::own_keys(pki.encryption_keys());
        let encryption = Encryption::open(encryption, own).await?;
        let transformer = Transformer::new(Arc::new(encryption));
        let transformer = Arc::new(transformer.reading_protobuf(protobuf::stored));
        let kinds = Kinds::built_in();
        let cache = Cache::load(store.clone(), transformer.clone(), &kinds).await?;
        Ok(Self {
            store,
            transformer,
            kinds,
            cache: Arc::new(cache),
        })
    }
}

/// Who tells who asks, and whether they may.
struct Judges {
    objects: Arc<dyn Objects>,
    tokens: Arc<Tokens>,
    authz: Arc<Authz>,
    authorizers: Option<Authorizers>,
    identities: Option<Arc<Identities>>,
}

impl Judges {
    fn new(
        config: &mut Config,
        pki: &Pki,
        objects: &Arc<dyn Objects>,
        advertised: &str,
    ) -> Result<Self, Error> {
        let token_config = tokens::Config::of_domain(&config.cluster_domain, advertised)
            .with_issuers(&config.token_issuers)
            .with_keys(std::mem::take(&mut config.token_keys));
        let key = pki.service_account_key();
        let tokens = Arc::new(Tokens::new(key, token_config, objects.clone())?);
        let authz = Arc::new(Authz::new(objects.clone()));
        let authorizers = Authorizers::configure(&config.authorizers, authz.clone())?;
        let identities = Identities::open(&config.identities, tokens.issuers())?.map(Arc::new);
        Ok(Self {
            objects: objects.clone(),
            tokens,
            authz,
            authorizers,
            identities,
        })
    }

    /// Who knows tokens that are not the cluster's own.
    fn others(&self) -> Option<Arc<dyn TokenAuthenticator>> {
        let known = self.identities.clone();
        known.map(|known| known as Arc<dyn TokenAuthenticator>)
    }
}

fn registry(
    storage: Storage,
    judges: &Judges,
    allocators: Arc<Allocators>,
    admission: Arc<knarr_admission::Configuration>,
) -> Arc<Registry> {
    let webhooks = Arc::new(Clients::new(judges.objects.clone()));
    Arc::new_cyclic(|registry: &Weak<Registry>| Registry {
        catalog: Catalog::new(storage.kinds, storage.cache.clone()),
        cache: storage.cache,
        store: storage.store,
        transformer: storage.transformer,
        admission: knarr_admission::chain(
            &admission,
            judges.objects.clone(),
            judges.authz.clone(),
            registry.clone(),
            webhooks.clone(),
        ),
        webhooks,
        hooks: vec![allocators],
        repeats: Repeats::default(),
        own_user: authn::server(),
    })
}

/// Where the server is for its cluster.
struct Place {
    service_ip: IpAddr,
    advertise: IpAddr,
    port: u16,
}

/// What every cluster has.
fn wanted(config: &Config, pki: &Pki, place: Place) -> bootstrap::Config {
    bootstrap::Config {
        service_ip: place.service_ip,
        service_cidrs: config.service_cidrs.clone(),
        advertise_ip: place.advertise,
        port: place.port,
        cluster_dns: config.cluster_dns.clone(),
        dns_endpoint: config.dns_endpoint,
        client_ca: pki.ca_pem().to_owned(),
        front_proxy_ca: pki.front_proxy_ca_pem().to_owned(),
        node_settings: config.node_settings.clone(),
    }
}

/// What handlers share and configuration alone does not tell.
struct Parts {
    registry: Arc<Registry>,
    kubelets: Kubelets,
    proxies: Option<Proxies>,
    advertised: String,
    drains: incoming::Drains,
    backends: Backends,
}

fn core(config: Config, parts: Parts, judges: &Judges) -> Core {
    let (tokens, authz) = (judges.tokens.clone(), judges.authz.clone());
    let authenticator = Authn::new(tokens.clone(), judges.objects.clone()).with(judges.others());
    Core {
        registry: parts.registry,
        authenticator: Arc::new(authenticator),
        authorizer: authz.clone(),
        impersonation: Default::default(),
        auditor: config.auditor,
        admission: config.admission,
        goaway_chance: config.goaway_chance,
        handlers: crate::handlers::table(tokens.clone(), authz, judges.others()),
        pages: crate::handlers::pages(&tokens),
        backends: parts.backends,
        aggregation: Arc::new(Aggregation::new(Locals::new(config.local_apis))),
        kubelets: parts.kubelets,
        health: Default::default(),
        components: Default::default(),
        flags: config.flags,
        proxies: parts.proxies,
        advertised: parts.advertised,
        drains: parts.drains,
        limits: Default::default(),
        fairness: Arc::new(Fairness::new(config.seats, standard::mandatory_schema)),
        watches: Default::default(),
        heavy: Default::default(),
        metrics: Default::default(),
    }
}
