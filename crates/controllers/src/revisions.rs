//! ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, kept to go back to.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use knarr_client::errors;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::{Value, json};

use crate::deployment::template;
use crate::owners;
use crate::runner::Error;

/// The label that tells which revision a pod is of.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Longest part of a revision's name that is its owner's.
const MAX_PREFIX: usize = 223;

/// The strategic merge patch that brings a template back; `kubectl rollout undo` sends it as it is.
pub(crate) fn patch(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// Whether a revision keeps this patch. Absent and empty lists and maps are the same: what an older server wrote counts.
pub(crate) fn keeps(revision: &ControllerRevision, patch: &Value) -> bool {
    let data = revision.data.as_ref();
    data.is_some_and(|data| data.0 == *patch || template::same(&data.0, patch))
}

/// The hash that names a DaemonSet's revision and its pods.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(HASH_LABEL));
    // One without was made by hand, or by a Kubernetes before there was the label; its name is as good.
    label.map_or_else(|| name(revision), String::as_str)
}

pub(crate) fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// All revisions of an owner: those of its template as it is, and the others. Each list ascends.
#[derive(Debug)]
pub(crate) struct History {
    pub current: Vec<Arc<ControllerRevision>>,
    pub old: Vec<Arc<ControllerRevision>>,
}

impl History {
    pub(crate) fn new(mut revisions: Vec<Arc<ControllerRevision>>, patch: &Value) -> Self {
        revisions.sort_by(|a, b| order(a).cmp(&order(b)));
        let (current, old) = revisions
            .into_iter()
            .partition(|revision| keeps(revision, patch));
        Self { current, old }
    }

    /// The number of the current revision: more than that of any other.
    pub(crate) fn number(&self) -> i64 {
        let highest = self.old.last().map_or(0, |last| last.revision.max(0));
        highest.saturating_add(1)
    }

    /// Old revisions beyond `limit`, oldest first, but those that are in use.
    pub(crate) fn surplus(
        &self,
        limit: Option<i32>,
        in_use: impl Fn(&ControllerRevision) -> bool,
    ) -> Vec<Arc<ControllerRevision>> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        let surplus = self.old.len().saturating_sub(limit);
        let unused = self.old.iter().filter(|revision| !in_use(revision));
        unused.take(surplus).cloned().collect()
    }
}

pub(crate) fn order(revision: &ControllerRevision) -> (i64, Option<jiff::Timestamp>, &str) {
    let created = revision.metadata.creation_timestamp.as_ref().map(|t| t.0);
    (revision.revision, created, name(revision))
}

/// A revision of `owner`'s template, with its hash as `hash_label`. A higher `collision_count` gives the same template another
/// name.
pub(crate) fn new<O: kube::Resource<DynamicType = ()>>(
    owner: &O,
    template: &PodTemplateSpec,
    hash_label: &str,
    number: i64,
    collision_count: Option<i32>,
) -> ControllerRevision {
    let hash = template::hash(template, collision_count);
    let meta = owner.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let prefix: String = name.chars().take(MAX_PREFIX).collect();
    let template_labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let mut labels = template_labels.unwrap_or_default();
    labels.insert(hash_label.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![owners::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(patch(template))),
        revision: number,
    }
}

/// Creates a revision, or finds it where that was done before and is not seen yet. `None`: another template, or another
/// owner, has its name.
pub(crate) async fn create(
    api: &Api<ControllerRevision>,
    wanted: &ControllerRevision,
) -> Result<Option<ControllerRevision>, Error> {
    let error = match api.create(&PostParams::default(), wanted).await {
        Ok(created) => return Ok(Some(created)),
        Err(error) => error,
    };
    if !errors::is_already_exists(&error) {
        return Err(error.into());
    }
    let existing = api.get(name(wanted)).await?;
    let owner = |revision: &ControllerRevision| {
        owners::controller_of(&revision.metadata).map(|owner| owner.uid.clone())
    };
    let data = wanted.data.as_ref();
    let ours = owner(&existing) == owner(wanted) && data.is_some_and(|d| keeps(&existing, &d.0));
    Ok(ours.then_some(existing))
}

#[cfg(test)]
mod tests;
