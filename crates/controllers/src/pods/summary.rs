//! What is kept of a pod by whoever counts many: some hundred bytes, of several thousand. Each change of one of a thousand pods has all of
//! them counted again; decoding them for that is most of what a large rollout costs.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::Object;
use serde::Deserialize;

use super::view::View;
use crate::owners::{Controller, Owned};

#[derive(Clone, Debug)]
struct Owner {
    kind: Box<str>,
    name: Box<str>,
    uid: Box<str>,
}

/// A pod, as far as it is counted.
#[derive(Clone, Debug)]
pub(crate) struct PodSummary {
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
    revision: Box<str>,
    /// By key, in order.
    labels: Box<[(Box<str>, Box<str>)]>,
    controller: Option<Owner>,
    is_going: bool,
    created: Option<Timestamp>,
    node: Box<str>,
    phase: Box<str>,
    is_ready: bool,
    ready_since: Option<Timestamp>,
    restarts: i32,
    deletion_cost: i32,
}

impl Object for PodSummary {
    const IS_KEPT: bool = true;

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resource_version(&self) -> &str {
        &self.revision
    }

    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Raw<'_>>(json).map(Self::from)
    }
}

impl Owned for PodSummary {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn label(&self, key: &str) -> Option<&str> {
        let place = self
            .labels
            .binary_search_by(|(known, _)| (**known).cmp(key));
        let (_, value) = self.labels.get(place.ok()?)?;
        Some(value)
    }

    fn has_labels_of(&self, other: &Self) -> bool {
        self.labels == other.labels
    }

    fn controller(&self) -> Option<Controller<'_>> {
        self.controller.as_ref().map(|owner| Controller {
            kind: &owner.kind,
            name: &owner.name,
            uid: &owner.uid,
        })
    }

    fn is_going(&self) -> bool {
        self.is_going
    }
}

impl View for PodSummary {
    fn phase(&self) -> &str {
        &self.phase
    }

    fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn ready_since(&self) -> Option<Timestamp> {
        self.ready_since
    }

    fn node_name(&self) -> &str {
        &self.node
    }

    fn restarts(&self) -> i32 {
        self.restarts
    }

    fn deletion_cost(&self) -> i32 {
        self.deletion_cost
    }

    fn created(&self) -> Option<Timestamp> {
        self.created
    }
}

type Text<'a> = Option<Cow<'a, str>>;

fn boxed(text: Text<'_>) -> Box<str> {
    text.map(Box::from).unwrap_or_default()
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(borrow, default)]
    spec: Option<RawSpec<'a>>,
    #[serde(borrow, default)]
    status: Option<RawStatus<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    resource_version: Text<'a>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Text<'a>>>,
    #[serde(borrow, default)]
    annotations: Option<RawAnnotations<'a>>,
    #[serde(borrow, default)]
    owner_references: Option<Vec<RawOwner<'a>>>,
    #[serde(default)]
    creation_timestamp: Option<Time>,
    #[serde(default)]
    deletion_timestamp: Option<Time>,
}

#[derive(Deserialize)]
struct RawAnnotations<'a> {
    #[serde(borrow, default, rename = "controller.kubernetes.io/pod-deletion-cost")]
    deletion_cost: Text<'a>,
}

#[derive(Deserialize)]
struct RawOwner<'a> {
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(default)]
    controller: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec<'a> {
    #[serde(borrow, default)]
    node_name: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus<'a> {
    #[serde(borrow, default)]
    phase: Text<'a>,
    #[serde(borrow, default)]
    conditions: Option<Vec<RawCondition<'a>>>,
    #[serde(default)]
    container_statuses: Option<Vec<RawContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCondition<'a> {
    #[serde(borrow, default, rename = "type")]
    type_: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(default)]
    last_transition_time: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    #[serde(default)]
    restart_count: Option<i32>,
}

impl From<Raw<'_>> for PodSummary {
    fn from(raw: Raw<'_>) -> Self {
        let meta = raw.metadata;
        let mut owners = meta.owner_references.into_iter().flatten();
        let controller = owners.find(|owner| owner.controller == Some(true));
        let controller = controller.map(|owner| Owner {
            kind: boxed(owner.kind),
            name: boxed(owner.name),
            uid: boxed(owner.uid),
        });
        let cost = meta.annotations.and_then(|known| known.deletion_cost);
        let status = raw.status.unwrap_or(RawStatus {
            phase: None,
            conditions: None,
            container_statuses: None,
        });
        let mut conditions = status.conditions.into_iter().flatten();
        let ready = conditions.find(|condition| condition.type_.as_deref() == Some("Ready"));
        let ready = ready.filter(|ready| ready.status.as_deref() == Some("True"));
        let containers = status.container_statuses.into_iter().flatten();
        let labels = meta.labels.into_iter().flatten();
        Self {
            namespace: boxed(meta.namespace),
            name: boxed(meta.name),
            uid: boxed(meta.uid),
            revision: boxed(meta.resource_version),
            labels: labels
                .map(|(key, value)| (key.into(), boxed(value)))
                .collect(),
            controller,
            is_going: meta.deletion_timestamp.is_some(),
            created: meta.creation_timestamp.map(|time| time.0),
            node: boxed(raw.spec.and_then(|spec| spec.node_name)),
            phase: boxed(status.phase),
            is_ready: ready.is_some(),
            ready_since: ready
                .and_then(|ready| ready.last_transition_time)
                .map(|time| time.0),
            restarts: containers
                .filter_map(|one| one.restart_count)
                .max()
                .unwrap_or(0),
            deletion_cost: cost.and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests;
