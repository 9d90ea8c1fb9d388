//! One server: whether it is available, and what it serves. Asked when the way to it changes, and once in a while.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use knarr_api::apiregistration::api_service::Availability;
use knarr_registry::{Registry, cache::resource::ResourceCache, discovery::Remote};
use knarr_webhook::{Backend, Target};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Aggregation, Learned,
    availability::{self, Facts, Reference},
    discovery::{self, Found},
    objects,
    routes::Route,
};

/// How often a server is asked whether it is there, as upstream resyncs.
const RESYNC: Duration = Duration::from_secs(30);
/// How often it is asked what it serves.
const REFRESH: Duration = Duration::from_secs(60);
/// A failure is followed by another look after this, then after twice as long, up to [`RESYNC`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Looks at a server, each at one of its endpoints; one that goes well is enough.
const ATTEMPTS: usize = 5;
/// One that is not answered by now is not waited for alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes of services and endpoints that come together are taken together.
const SETTLE: Duration = Duration::from_millis(100);

/// What all followers share.
pub struct Hands {
    pub aggregation: Arc<Aggregation>,
    pub registry: Arc<Registry>,
    /// Places of those who ask a server.
    pub checks: Semaphore,
}

/// Follows one server.
pub struct Follower {
    hands: Arc<Hands>,
    route: Arc<Route>,
    token: CancellationToken,
    found: Found,
    schema: Option<String>,
    /// When the server was last asked what it serves, and answered.
    refreshed: Option<Instant>,
    failures: u32,
}

impl Follower {
    /// Shows the server as one of which nothing is known.
    pub fn new(hands: Arc<Hands>, route: Arc<Route>, token: CancellationToken) -> Follower {
        let follower = Follower {
            hands,
            route,
            token,
            found: Found::default(),
            schema: None,
            refreshed: None,
            failures: 0,
        };
        follower.show(true);
        follower
    }

    /// Follows until the token is cancelled.
    pub async fn run(mut self) {
        let token = self.token.clone();
        token
            .run_until_cancelled(async move {
                let mut before = None;
                loop {
                    let facts = self.facts();
                    if let Ok(backend) = &self.route.backend
                        && before.as_ref().is_some_and(|before| *before != facts)
                    {
                        backend.reconnect();
                    }
                    let well = self.look(&facts).await;
                    self.failures = match well {
                        true => 0,
                        false => self.failures.saturating_add(1),
                    };
                    self.wait(&facts).await;
                    before = Some(facts);
                }
            })
            .await;
    }

    /// The Service and its endpoints; servers at URLs have none.
    fn facts(&self) -> Facts {
        let cache = &*self.hands.registry.cache;
        match &self.route.way.target {
            Target::Service {
                namespace,
                name,
                port,
                ..
            } => availability::facts(
                cache,
                Reference {
                    namespace,
                    name,
                    port: *port,
                },
            ),
            Target::Url(url) => Facts::Present(url.clone(), Vec::new()),
        }
    }

    /// Asks the server, tells what came of it. False where something is not as it should be.
    async fn look(&mut self, facts: &Facts) -> bool {
        let hands = self.hands.clone();
        let verdict = {
            let Ok(_place) = hands.checks.acquire().await else {
                return false;
            };
            let verdict = judge(&self.route, facts).await;
            match (verdict.status, &self.route.backend) {
                ("True", Ok(backend)) => {
                    let backend = backend.clone();
                    self.refresh(&backend).await;
                }
                (_, Ok(backend)) => {
                    backend.reconnect();
                    self.lose();
                }
                (_, Err(_)) => self.lose(),
            }
            verdict
        };
        let written = objects::write_availability(&hands.registry, &self.route, &verdict).await;
        if let Err(status) = &written {
            tracing::warn!(error = %status.message, service = self.route.name, "cannot write an APIService's status");
        }
        verdict.status == "True" && self.refreshed.is_some() && written.is_ok()
    }

    /// Asks what is served, where that is due.
    async fn refresh(&mut self, backend: &Backend) {
        if self.refreshed.is_some_and(|last| last.elapsed() < REFRESH) {
            return;
        }
        match discovery::fetch(&self.route, backend, &self.found).await {
            Ok(found) => self.found = found,
            Err(error) => {
                tracing::warn!(%error, service = self.route.name, "cannot tell what a server serves");
                return self.lose();
            }
        }
        match discovery::schema(&self.route, backend).await {
            Ok(schema) => self.schema = schema,
            Err(error) => {
                tracing::debug!(%error, service = self.route.name, "a server's schemas are not known");
            }
        }
        self.refreshed = Some(Instant::now());
        self.show(false);
    }

    /// Nothing is known of the server any more.
    fn lose(&mut self) {
        self.found = Found::default();
        self.refreshed = None;
        self.show(true);
    }

    fn show(&self, stale: bool) {
        let serves = Remote {
            group: self.route.group.clone(),
            version: self.route.version.clone(),
            priority: self.route.priority,
            resources: self.found.resources.clone(),
            stale,
        };
        let learned = Learned {
            serves: Arc::new(serves),
            schema: self.schema.clone(),
        };
        let aggregation = &self.hands.aggregation;
        aggregation.learn(&self.route.name, learned, &self.token);
    }

    /// Waits until the server should be looked at again: its time has come, or the way to it is another.
    async fn wait(&self, facts: &Facts) {
        let until = Instant::now() + self.delay();
        let cache = &self.hands.registry.cache;
        let watched: Vec<Arc<ResourceCache>> = [
            cache.resource("", "services"),
            cache.resource("discovery.k8s.io", "endpointslices"),
        ]
        .into_iter()
        .flatten()
        .collect();
        loop {
            let seen: Vec<u64> = watched.iter().map(|one| one.last_change()).collect();
            if self.facts() != *facts {
                return;
            }
            let mut changes: FuturesUnordered<_> = watched
                .iter()
                .zip(seen)
                .map(|(resource, seen)| resource.changed(seen))
                .collect();
            tokio::select! {
                Some(()) = changes.next() => {}
                () = sleep_until(until) => return,
            }
            sleep(SETTLE).await;
        }
    }

    fn delay(&self) -> Duration {
        let longest = match self.failures.checked_sub(1) {
            None => RESYNC,
            Some(more) => RETRY_MIN
                .saturating_mul(2u32.saturating_pow(more))
                .min(RESYNC),
        };
        // Many servers are not asked at once.
        longest.mul_f64(0.8 + 0.2 * fastrand::f64())
    }
}

async fn judge(route: &Route, facts: &Facts) -> Availability {
    if let Facts::Missing(why) = facts {
        return why.clone();
    }
    let checked = match &route.backend {
        Ok(backend) => probe(route, backend).await,
        Err(why) => Err(why.clone()),
    };
    match checked {
        Ok(()) => Availability {
            status: "True",
            reason: "Passed",
            message: "all checks passed".to_owned(),
        },
        Err(message) => Availability {
            status: "False",
            reason: "FailedDiscoveryCheck",
            message,
        },
    }
}

/// True where one of [`ATTEMPTS`] goes well. The others are not made where the first is answered soon.
async fn probe(route: &Route, backend: &Backend) -> Result<(), String> {
    let mut attempts = FuturesUnordered::new();
    attempts.push(discovery::check(route, backend));
    let (mut alone, mut last) = (true, String::new());
    loop {
        match timeout(PATIENCE, attempts.next()).await {
            Ok(Some(Ok(()))) => return Ok(()),
            Ok(Some(Err(why))) => last = why,
            Ok(None) => return Err(last),
            Err(_) => {}
        }
        if std::mem::take(&mut alone) {
            attempts.extend((1..ATTEMPTS).map(|_| discovery::check(route, backend)));
        }
    }
}
