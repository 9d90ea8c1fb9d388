//! Aggregated ClusterRoles: their rules are those of the roles they select by label.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use knarr_client::{Event, IndexKey, Informer, WorkQueue};
use knarr_meta::labels::Selector;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
/// Who owns the rules.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Roles that are made of others.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Aggregated;

impl IndexKey<ClusterRole> for Aggregated {
    fn keys_of(role: &ClusterRole) -> Vec<Self> {
        let rule = role.aggregation_rule.as_ref();
        rule.map(|_| Self).into_iter().collect()
    }
}

pub(crate) struct ClusterRoleAggregation {
    client: kube::Client,
    roles: Informer<ClusterRole>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(ClusterRoleAggregation {
        client: context.client("clusterrole-aggregation-controller"),
        roles: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.roles.on_event(move |event| {
        let Some(this) = this.upgrade() else { return };
        for aggregated in this.roles.by_index(&Aggregated) {
            let concerns = |role: &ClusterRole| {
                role.metadata.name == aggregated.metadata.name || selects(&aggregated, role)
            };
            let old = matches!(&event, Event::Updated { old, .. } if concerns(old));
            if old || concerns(event.object()) {
                this.queue.add(Key::of(&*aggregated));
            }
        }
    });
    let informers = vec![synced(&controller.roles)];
    context.start(controller, WORKERS, informers);
}

fn selects(aggregated: &ClusterRole, role: &ClusterRole) -> bool {
    let selectors = aggregated
        .aggregation_rule
        .as_ref()
        .and_then(|rule| rule.cluster_role_selectors.as_ref());
    role.metadata.name != aggregated.metadata.name
        && selectors.into_iter().flatten().any(|selector| {
            Selector::from_label_selector(selector)
                .is_ok_and(|s| s.matches_option(role.metadata.labels.as_ref()))
        })
}

/// What is applied. Where there are no rules it says nothing of them: those that others gave the role stay.
fn configuration(name: &str, rules: &[PolicyRule]) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
    });
    if !rules.is_empty() {
        role["rules"] = json!(rules);
    }
    role
}

/// The rules the role is to have; `None` when it has them. Roles count in the order of their names, equal rules once.
fn plan(aggregated: &ClusterRole, roles: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let mut selected: Vec<_> = roles
        .iter()
        .filter(|role| selects(aggregated, role))
        .collect();
    selected.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in selected
        .into_iter()
        .flat_map(|role| role.rules.iter().flatten())
    {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    (aggregated.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

impl Reconciler for ClusterRoleAggregation {
    const NAME: &'static str = "clusterrole-aggregation";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(role) = self
            .roles
            .get("", &key.name)
            .filter(|role| role.aggregation_rule.is_some())
        else {
            return Ok(());
        };
        let Some(rules) = plan(&role, &self.roles.list()) else {
            return Ok(());
        };
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        let applied = configuration(&key.name, &rules);
        api.patch(&key.name, &params, &Patch::Apply(&applied))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
