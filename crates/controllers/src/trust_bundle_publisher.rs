//! A ClusterTrustBundle of what signs the API server's certificate, named by its contents; older ones go.

use std::fmt;
use std::sync::Arc;

use knarr_client::certificates::{ClusterTrustBundle, ClusterTrustBundleSpec};
use knarr_client::{Informer, InformerScope, WorkQueue};
use knarr_x509::pem;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use sha2::{Digest, Sha256};

use crate::deletion;
use crate::runner::{Context, Error, Reconciler, synced};

const WORKERS: usize = 1;
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";
const HASH_BYTES: usize = 12;

/// There is one thing to do.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bundles;

impl fmt::Display for Bundles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SIGNER)
    }
}

pub(crate) struct TrustBundlePublisher {
    client: kube::Client,
    pem: String,
    bundles: Informer<ClusterTrustBundle>,
    queue: WorkQueue<Bundles>,
}

pub(crate) fn start(context: &Context) {
    let pem = context.config.root_ca_pem.clone();
    if !pem::blocks(pem.as_bytes()).any(|block| block.label == pem::CERTIFICATE) {
        return;
    }
    let scope = InformerScope {
        field_selector: Some(format!("spec.signerName={SIGNER}")),
        ..InformerScope::default()
    };
    let controller = Arc::new(TrustBundlePublisher {
        client: context.client("kube-apiserver-serving-clustertrustbundle-publisher"),
        pem,
        bundles: context.informers.informer_with(scope),
        queue: WorkQueue::new(),
    });
    controller.queue.add(Bundles);
    let queue = controller.queue.clone();
    controller.bundles.on_event(move |_| queue.add(Bundles));
    let informers = vec![synced(&controller.bundles)];
    context.start(controller, WORKERS, informers);
}

/// What to do: make or change the one that is to be there, and delete the others.
#[derive(Debug, Default)]
struct Plan {
    create: Option<ClusterTrustBundle>,
    update: Option<ClusterTrustBundle>,
    delete: Vec<Arc<ClusterTrustBundle>>,
}

fn plan(pem: &str, existing: &[Arc<ClusterTrustBundle>]) -> Plan {
    let name = name(pem);
    let is_it = |bundle: &Arc<ClusterTrustBundle>| bundle.metadata.name.as_ref() == Some(&name);
    let mut plan = Plan::default();
    match existing.iter().find(|bundle| is_it(bundle)) {
        Some(bundle) if bundle.spec.trust_bundle == pem => {}
        Some(bundle) => {
            let mut changed = ClusterTrustBundle::clone(bundle);
            changed.spec.trust_bundle = pem.to_owned();
            plan.update = Some(changed);
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            let spec = ClusterTrustBundleSpec {
                signer_name: SIGNER.to_owned(),
                trust_bundle: pem.to_owned(),
            };
            plan.create = Some(ClusterTrustBundle::new(metadata, spec));
        }
    }
    let others = existing.iter().filter(|bundle| !is_it(bundle));
    plan.delete = others.cloned().collect();
    plan
}

/// The signer's prefix and the beginning of a hash.
fn name(pem: &str) -> String {
    let hash = Sha256::digest(pem.as_bytes());
    let hex: String = hash
        .iter()
        .take(HASH_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{}:{hex}", SIGNER.replace('/', ":"))
}

impl Reconciler for TrustBundlePublisher {
    const NAME: &'static str = "kube-apiserver-serving-clustertrustbundle-publisher";
    type Key = Bundles;

    fn queue(&self) -> &WorkQueue<Bundles> {
        &self.queue
    }

    async fn reconcile(&self, _key: &Bundles) -> Result<(), Error> {
        let plan = plan(&self.pem, &self.bundles.list());
        let api: Api<ClusterTrustBundle> = Api::all(self.client.clone());
        let params = PostParams::default();
        if let Some(bundle) = &plan.create {
            api.create(&params, bundle).await?;
        }
        if let Some(bundle) = &plan.update {
            let name = bundle.metadata.name.as_deref().unwrap_or_default();
            api.replace(name, &params, bundle).await?;
        }
        for bundle in &plan.delete {
            deletion::delete(&api, &bundle.metadata, DeleteParams::default()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{Asked, accepted, failed, reconcile};

    fn old(name: &str) -> ClusterTrustBundle {
        let mut bundle = plan("before", &[]).create.expect("a bundle");
        bundle.metadata.name = Some(name.to_owned());
        bundle.metadata.uid = Some(name.to_owned());
        bundle
    }

    /// What is asked for when these bundles are there.
    async fn asked(
        bundles: Vec<ClusterTrustBundle>,
        answer: impl FnMut(&Asked) -> (u16, Value),
    ) -> (Result<(), Error>, Vec<String>) {
        let (client, mut server) = fake::client();
        let controller = TrustBundlePublisher {
            client,
            pem: "one".to_owned(),
            bundles: Informer::new(),
            queue: WorkQueue::new(),
        };
        bundles
            .into_iter()
            .for_each(|b| controller.bundles.apply(b));
        let (result, asked) = reconcile(&controller, &Bundles, &mut server, answer).await;
        (result, asked.iter().map(Asked::shown).collect())
    }

    #[tokio::test]
    async fn the_new_one_is_there_before_the_old_ones_go() {
        let path = "/apis/certificates.k8s.io/v1/clustertrustbundles";
        let create = format!("POST {path}");
        let delete = format!("DELETE {path}/old");
        let (result, first) = asked(Vec::new(), accepted).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(first, std::slice::from_ref(&create));
        let (result, rotated) = asked(vec![old("old")], accepted).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(rotated, [create.clone(), delete]);
        // While there is no new one the old one stays.
        let full = |_: &_| failed(500, "InternalError");
        let (result, failing) = asked(vec![old("old")], full).await;
        assert!(result.is_err());
        assert_eq!(failing, [create]);
    }

    #[tokio::test]
    async fn one_that_is_gone_is_no_error() {
        let mut current = old("x");
        current.metadata.name = Some(name("one"));
        current.spec.trust_bundle = "one".to_owned();
        let gone = |asked: &Asked| match &*asked.method {
            "DELETE" => failed(404, "NotFound"),
            _ => (200, json!({})),
        };
        let (result, asked) = asked(vec![current, old("old")], gone).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn one_bundle_is_there() {
        let made = plan("one", &[]);
        let bundle = made.create.expect("a bundle");
        let name = bundle.metadata.name.clone().unwrap_or_default();
        let hash = name.strip_prefix("kubernetes.io:kube-apiserver-serving:");
        assert_eq!(hash.map(str::len), Some(24));
        let bundle = Arc::new(bundle);
        let same = plan("one", std::slice::from_ref(&bundle));
        assert!(same.create.is_none() && same.update.is_none() && same.delete.is_empty());
        let mut damaged = ClusterTrustBundle::clone(&bundle);
        damaged.spec.trust_bundle = "two".to_owned();
        let repaired = plan("one", &[Arc::new(damaged)]);
        let repaired = repaired.update.map(|bundle| bundle.spec.trust_bundle);
        assert_eq!(repaired.as_deref(), Some("one"));
        let rotated = plan("two", std::slice::from_ref(&bundle));
        assert!(rotated.create.is_some());
        assert_eq!(rotated.delete, [bundle]);
    }
}
