//! The revisions of a StatefulSet: what its pods are rolled from and to, and what can be gone back to.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use knarr_meta::labels::Selector;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::Value;

use super::plan::Version;
use super::{StatefulSetController, revision_note};
use crate::deletion;
use crate::owners;
use crate::revisions::{self, HASH_LABEL, History};
use crate::runner::{Error, Key, uid};

/// What tells revisions apart; the pods' label has their names.
const REVISION_LABEL: &str = "controller.kubernetes.io/hash";

pub(super) struct Versions {
    pub current: Version,
    pub update: Version,
    /// All revisions that there were, in ascending order.
    history: Vec<Arc<ControllerRevision>>,
}

fn version(revision: &ControllerRevision) -> Result<Version, Error> {
    let data = revision.data.as_ref();
    let mut template = data
        .and_then(|data| data.0.pointer("/spec/template").cloned())
        .unwrap_or_default();
    if let Value::Object(fields) = &mut template {
        fields.remove("$patch");
    }
    let name = revisions::name(revision).to_owned();
    match serde_json::from_value::<PodTemplateSpec>(template) {
        Ok(template) => Ok(Version { name, template }),
        Err(error) => Err(Error::Other(format!(
            "revision {name} has no template: {error}"
        ))),
    }
}

/// Revisions beyond the limit, oldest first, but those in use, which are not counted. A negative limit keeps all.
fn surplus(
    history: &[Arc<ControllerRevision>],
    limit: i32,
    in_use: impl Fn(&str) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let Ok(limit) = usize::try_from(limit) else {
        return Vec::new();
    };
    let unused = history.iter().filter(|r| !in_use(revisions::name(r)));
    let unused: Vec<_> = unused.cloned().collect();
    let surplus = unused.len().saturating_sub(limit);
    unused.into_iter().take(surplus).collect()
}

impl StatefulSetController {
    fn revisions_api(&self, key: &Key) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// `None`: the set is being deleted, and so are its revisions. The collector would delete each that is made for ever.
    pub(super) async fn versions(
        &self,
        key: &Key,
        set: &StatefulSet,
        selector: &Selector,
    ) -> Result<Option<Versions>, Error> {
        let going = set.metadata.deletion_timestamp.is_some();
        let api = self.revisions_api(key);
        let sets = Api::<StatefulSet>::namespaced(self.client.clone(), &key.namespace);
        let candidates = owners::candidates(&self.revisions, &key.namespace, uid(set));
        let claims = owners::claim(&set.metadata, selector, candidates);
        let owned = owners::execute(claims, set, &sets, &api).await?;
        let template = set.spec.as_ref().map(|s| s.template.clone());
        let template = template.unwrap_or_default();
        let mut all = owned.clone();
        all.sort_by(|a, b| revisions::order(a).cmp(&revisions::order(b)));
        let history = History::new(owned, &revisions::patch(&template));
        let update = match history.current.last() {
            None if going => return Ok(None),
            None => {
                self.make(key, set, &api, &template, history.number())
                    .await?
            }
            Some(current) if !going && current.revision < history.number() => {
                // It was rolled back to: it is the newest again.
                let mut raised = ControllerRevision::clone(current);
                raised.revision = history.number();
                let name = revisions::name(current);
                let answer = api.replace(name, &PostParams::default(), &raised).await?;
                self.written.note(key, &revision_note(name), &answer);
                answer
            }
            Some(current) => ControllerRevision::clone(current),
        };
        let status = set.status.as_ref();
        let named = status.and_then(|s| s.current_revision.as_deref());
        let current = all.iter().find(|r| Some(revisions::name(r)) == named);
        Ok(Some(Versions {
            current: version(current.map_or(&update, |revision| revision))?,
            update: version(&update)?,
            history: all,
        }))
    }

    async fn make(
        &self,
        key: &Key,
        set: &StatefulSet,
        api: &Api<ControllerRevision>,
        template: &PodTemplateSpec,
        number: i64,
    ) -> Result<ControllerRevision, Error> {
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let collisions = Some(collisions.unwrap_or(0));
        let wanted = revisions::new(set, template, REVISION_LABEL, number, collisions);
        if let Some(made) = revisions::create(api, &wanted).await? {
            let note = revision_note(revisions::name(&made));
            self.written.note(key, &note, &made);
            return Ok(made);
        }
        let mut status = set.status.clone().unwrap_or_default();
        // Any other one than before will do.
        let collisions = status.collision_count.unwrap_or(0);
        status.collision_count = Some(collisions.wrapping_add(1));
        self.replace_status(key, set, status).await?;
        Err(Error::Again("the name of the revision is taken"))
    }

    pub(super) async fn truncate(
        &self,
        key: &Key,
        set: &StatefulSet,
        versions: &Versions,
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
        let of = |pod: &Arc<Pod>| pod.metadata.labels.as_ref()?.get(HASH_LABEL).cloned();
        let used: Vec<String> = pods.iter().filter_map(of).collect();
        let in_use = |name: &str| {
            name == versions.current.name
                || name == versions.update.name
                || used.iter().any(|used| used == name)
        };
        let api = self.revisions_api(key);
        for revision in surplus(&versions.history, limit.unwrap_or(10), in_use) {
            deletion::delete(&api, &revision.metadata, DeleteParams::default()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
