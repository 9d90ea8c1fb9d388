//! The revisions of a DaemonSet: one for each template, the current one found or made, old ones kept for a while.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use knarr_client::errors;
use knarr_meta::labels::Selector;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::DaemonSetController;
use super::observed::label;
use crate::deletion;
use crate::owners;
use crate::revisions::{self, HASH_LABEL, History};
use crate::runner::{Error, Key, uid};

fn template(set: &DaemonSet) -> PodTemplateSpec {
    let spec = set.spec.as_ref();
    spec.map(|s| s.template.clone()).unwrap_or_default()
}

impl DaemonSetController {
    fn revisions_api(&self, key: &Key) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The hash of the template's revision, and all that there were.
    pub(super) async fn history(
        &self,
        key: &Key,
        set: &DaemonSet,
        selector: &Selector,
        pods: &[Arc<Pod>],
    ) -> Result<(String, History), Error> {
        let api = self.revisions_api(key);
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), &key.namespace);
        let candidates = owners::candidates(&self.revisions, &key.namespace, uid(set));
        let claims = owners::claim(&set.metadata, selector, candidates);
        let owned = owners::execute(claims, set, &sets, &api).await?;
        let template = template(set);
        let history = History::new(owned, &revisions::patch(&template));
        let Some((current, duplicates)) = history.current.split_last() else {
            let collisions = set.status.as_ref().and_then(|s| s.collision_count);
            let wanted = revisions::new(set, &template, HASH_LABEL, history.number(), collisions);
            let made = self.make(key, set, &api, &wanted).await?;
            return Ok((revisions::hash_of(&made).to_owned(), history));
        };
        let hash = revisions::hash_of(current).to_owned();
        if !duplicates.is_empty() {
            self.merge(key, &hash, duplicates, pods).await?;
        }
        if current.revision < history.number() {
            // It was rolled back to: it is the newest again.
            let mut raised = ControllerRevision::clone(current);
            raised.revision = history.number();
            let name = revisions::name(current);
            let answer = api.replace(name, &PostParams::default(), &raised).await?;
            self.written.note(key, name, &answer);
        }
        Ok((hash, history))
    }

    async fn make(
        &self,
        key: &Key,
        set: &DaemonSet,
        api: &Api<ControllerRevision>,
        wanted: &ControllerRevision,
    ) -> Result<ControllerRevision, Error> {
        if let Some(made) = revisions::create(api, wanted).await? {
            self.written.note(key, revisions::name(&made), &made);
            return Ok(made);
        }
        let mut status = set.status.clone().unwrap_or_default();
        // Any other one than before will do.
        let collisions = status.collision_count.unwrap_or(0);
        status.collision_count = Some(collisions.wrapping_add(1));
        self.replace_status(key, set, status).await?;
        Err(Error::Again("the name of the revision is taken"))
    }

    /// Two revisions of one template: their pods become the newer one's.
    async fn merge(
        &self,
        key: &Key,
        hash: &str,
        duplicates: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let is_duplicate = |pod: &Pod| {
            let mut hashes = duplicates
                .iter()
                .map(|revision| revisions::hash_of(revision));
            hashes.any(|duplicate| duplicate != hash && label(pod, HASH_LABEL) == Some(duplicate))
        };
        for pod in pods.iter().filter(|pod| is_duplicate(pod)) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let labels =
                json!({"metadata": {"uid": pod.metadata.uid, "labels": {HASH_LABEL: hash}}});
            let patch = Patch::Merge(labels);
            errors::optional(api.patch(name, &PatchParams::default(), &patch).await)?;
        }
        self.drop_revisions(key, duplicates).await
    }

    pub(super) async fn drop_revisions(
        &self,
        key: &Key,
        dropped: &[Arc<ControllerRevision>],
    ) -> Result<(), Error> {
        let api = self.revisions_api(key);
        for revision in dropped {
            deletion::delete(&api, &revision.metadata, DeleteParams::default()).await?;
        }
        Ok(())
    }
}
