//! Ingresses: what is followed of them, and what they are told.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use knarr_client::{Informer, Informers};
use knarr_tasks::Tasks;
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    build::{self, Built, Claim, Key},
    class,
    listen::State,
    publish::Publisher,
    regexes::Taking,
};

/// The controller of Ingresses.
pub struct Ingresses {
    client: kube::Client,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    publisher: Arc<Publisher>,
}

impl Ingresses {
    /// `changed` is told of what matters to routes.
    pub fn new(client: kube::Client, informers: &Informers, changed: &Arc<Notify>) -> Self {
        let (ingresses, classes) = (informers.informer(), informers.informer());
        let this = Self {
            publisher: Publisher::new(client.clone(), ingresses.clone(), classes.clone()),
            client,
            ingresses,
            classes,
        };
        this.listen(changed);
        this
    }

    /// Notes what events change.
    fn listen(&self, changed: &Arc<Notify>) {
        let (to, publisher) = (changed.clone(), self.publisher.clone());
        self.ingresses.on_event(move |event| {
            to.notify_one();
            publisher.look_at(event.object());
        });
        let (to, publisher) = (changed.clone(), self.publisher.clone());
        self.classes.on_event(move |_| {
            to.notify_one();
            publisher.look_at_all();
        });
    }

    /// Waits until Ingresses and classes are known.
    pub async fn synced(&self) {
        self.ingresses.synced().await;
        self.classes.synced().await;
    }

    /// Makes the class, and begins to write statuses.
    pub fn start(&self, tasks: &Tasks, token: &CancellationToken) {
        let class = class::ensure(self.client.clone(), self.classes.clone());
        let stop = token.clone();
        tasks.spawn("the IngressClass", async move {
            stop.run_until_cancelled(class).await;
        });
        let publisher = self.publisher.clone();
        let stop = token.clone();
        tasks.spawn("the statuses of Ingresses", async move {
            stop.run_until_cancelled(publisher.run()).await;
        });
    }

    /// Routes and certificates of those that are ours.
    pub fn build(
        &self,
        claims: Vec<Claim>,
        regexes: &mut Taking<'_>,
        certificate: &mut impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
    ) -> Built {
        let ours = class::ours(&self.ingresses, &self.classes);
        build::build(ours, claims, regexes, certificate)
    }

    /// Tells of what is not served as its Ingress says.
    pub fn tell(&self, built: &Built) {
        self.publisher.tell(&built.problems);
    }

    /// Tells users what becomes of a port. One that is ours makes Ingresses reachable.
    pub fn watch(
        &self,
        state: watch::Receiver<State>,
        addresses: Vec<IpAddr>,
        (tasks, token): (&Tasks, &CancellationToken),
    ) {
        let watching = watch_port(state, self.publisher.clone(), addresses);
        let stop = token.clone();
        tasks.spawn("the state of a port", async move {
            stop.run_until_cancelled(watching).await;
        });
    }
}

async fn watch_port(
    mut state: watch::Receiver<State>,
    publisher: Arc<Publisher>,
    addresses: Vec<IpAddr>,
) {
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            State::Waiting => {}
            State::Listening => publisher.serve_at(addresses.clone()),
            State::Taken(problem) => publisher.tell_of_port(&problem),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
