//! Eviction: the delete of a pod that its disruption budget can refuse.
//!
//! What a budget allows is taken by a compare and swap on its status, which notes the pod there too: the disruption controller
//! does not count it as healthy while its deletion is on its way.

use bytes::Bytes;
use http::StatusCode;
use knarr_admission::request::Operation;
use knarr_api::{Kind, kind::Part};
use knarr_auth::objects::Objects;
use knarr_meta::{
    GroupKind, GroupResource,
    field::{Error, Path},
    labels::Selector,
    object::{self, i64_at, list_at, str_at},
    status::{Reason, Status},
    time,
};
use knarr_registry::{
    managed, object_key,
    write::{DeleteOptions, Phase, Propagation, Write},
};
use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, WriteOptions},
    budget,
    decode::{self, Expected},
    delete_options::precondition,
    modify::write_of,
    pods,
};
use crate::{
    negotiate::Shapes,
    respond::{self, Answer},
};

/// How often a pod that others change is looked at anew, as upstream.
const ATTEMPTS: usize = 20;
const SEVERAL_BUDGETS: &str = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

/// What is wanted of a pod.
struct Eviction<'a> {
    ask: &'a Ask<'a>,
    name: &'a str,
    write: Write<'a>,
    options: DeleteOptions,
}

/// POST of an Eviction.
pub async fn evict(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::None)?;
    let options = WriteOptions::parse(ask.request, "CreateOptions")?;
    let expected = Expected {
        group: "policy",
        version: "v1",
        kind: "Eviction",
        definition: "io.k8s.api.policy.v1.Eviction",
        strategy: None,
        emptied: None,
    };
    // kubectl up to 1.21 sends the beta version, which has the same fields.
    let body = beta_to_v1(body);
    let mut object = decode::body(ask, &body, &expected, options.validation)?;
    let name = ask.request.info.name;
    if object::name(&object) != name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    delete_options(&object, name, options.dry_run)?;
    let write = Write {
        options: &options,
        ..write_of(ask, options.dry_run)
    };
    for phase in [Phase::Mutate, Phase::Validate] {
        ask.core
            .registry
            .admit(
                &write,
                Operation::Create,
                name,
                phase,
                Some(&mut object),
                None,
            )
            .await?;
    }
    // What admission made of it counts.
    let delete = delete_options(&object, name, options.dry_run)?;
    let eviction = Eviction {
        ask,
        name,
        write: Write {
            subresource: "",
            dry_run: delete.dry_run,
            ..write
        },
        options: delete,
    };
    eviction.run().await?;
    Ok(respond::tree(
        StatusCode::CREATED,
        &pods::success(),
        accepted,
    ))
}

fn beta_to_v1(body: Bytes) -> Bytes {
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut tree) if tree["apiVersion"] == "policy/v1beta1" => {
            tree["apiVersion"] = json!("policy/v1");
            Bytes::from(tree.to_string())
        }
        _ => body,
    }
}

/// The eviction's options; a dry run is one whether the request or its body says so.
fn delete_options(eviction: &Value, name: &str, dry_run: bool) -> Result<DeleteOptions, Status> {
    let asked = eviction.get("deleteOptions").unwrap_or(&Value::Null);
    let breaking = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if object::bool_at(asked, &[breaking]) {
        let message = "can not be set for pod eviction, try after removing the option";
        let path = Path::new("deleteOptions").child(breaking);
        let errors = vec![Error::invalid(&path, true, message)];
        return Err(Status::invalid(
            GroupKind::new("policy", "Eviction"),
            name,
            errors,
        ));
    }
    Ok(DeleteOptions {
        grace_period_seconds: i64_at(asked, &["gracePeriodSeconds"]),
        uid: precondition(asked, "uid"),
        resource_version: precondition(asked, "resourceVersion"),
        orphan_dependents: asked.get("orphanDependents").and_then(Value::as_bool),
        propagation_policy: match str_at(asked, &["propagationPolicy"]) {
            "Orphan" => Some(Propagation::Orphan),
            "Foreground" => Some(Propagation::Foreground),
            "Background" => Some(Propagation::Background),
            _ => None,
        },
        dry_run: dry_run || !list_at(asked, &["dryRun"]).is_empty(),
        only_unreadable: false,
    })
}

/// What is to be checked of the pod when it is deleted, beyond what the client asked.
enum Guard {
    None,
    /// It must be as it was when it was found to be unhealthy, by this version.
    Unchanged(String),
}

impl Eviction<'_> {
    async fn run(&self) -> Result<(), Status> {
        let mut attempts = 1;
        let pod = loop {
            let pod = self.pod().await?;
            if !needs_no_budget(&pod) {
                break pod;
            }
            let guard = match phase(&pod) {
                // It may become ready in between, and its budget's business.
                "Pending" if object::deletion_timestamp(&pod).is_none() => {
                    Guard::Unchanged(object::resource_version(&pod).to_owned())
                }
                _ => Guard::None,
            };
            match self.delete(&guard).await {
                Err(status)
                    if status.is_conflict()
                        && self.options.resource_version.is_none()
                        && attempts < ATTEMPTS =>
                {
                    attempts = attempts.saturating_add(1);
                }
                result => return result,
            }
        };
        let kind = self.budgets()?;
        let Some(budget) = self.budget_of(&pod)? else {
            return self.delete(&Guard::None).await;
        };
        let name = object::name(&budget);
        if !budget::is_ready(&pod) && budget::spares(&budget) {
            let guard = Guard::Unchanged(object::resource_version(&pod).to_owned());
            return match self.delete(&guard).await {
                Err(status) if status.is_conflict() && self.options.resource_version.is_none() => {
                    Err(budget::in_process(name))
                }
                result => result,
            };
        }
        self.take(&kind, name).await?;
        self.delete(&Guard::None).await
    }

    async fn pod(&self) -> Result<Value, Status> {
        let cache = &self.ask.core.registry.cache;
        cache.fresh().await?;
        let key = object_key(self.write.kind, self.write.namespace, self.name);
        let entry = cache.of(self.write.kind)?.find(&key)?;
        let entry =
            entry.ok_or_else(|| Status::not_found(self.write.group_resource(), self.name))?;
        Ok(entry.tree())
    }

    fn budgets(&self) -> Result<std::sync::Arc<Kind>, Status> {
        let snapshot = self.ask.core.registry.catalog.current();
        let served = snapshot.kinds.find("policy", "v1", budget::RESOURCE);
        Ok(served.ok_or_else(Status::path_not_found)?.kind.clone())
    }

    /// The budget that selects a pod. One whose selector cannot be read selects none.
    fn budget_of(&self, pod: &Value) -> Result<Option<Value>, Status> {
        let all =
            self.ask
                .core
                .registry
                .cache
                .list("policy", budget::RESOURCE, self.write.namespace);
        let read = all
            .iter()
            .filter_map(|budget| serde_json::from_slice(&budget.json).ok());
        let selects = |budget: &Value| {
            let selector = object::struct_at(budget, &["spec", "selector"]);
            Selector::from_value(selector)
                .is_ok_and(|selector| selector.matches_with(|key| object::label(pod, key)))
        };
        let mut selecting = read.filter(selects);
        match (selecting.next(), selecting.next()) {
            (_, Some(_)) => Err(Status::new(500, Reason::Unknown, SEVERAL_BUDGETS)),
            (one, None) => Ok(one),
        }
    }

    /// Takes one of the disruptions that the budget allows, for this pod.
    async fn take(&self, kind: &Kind, budget: &str) -> Result<(), Status> {
        let core = self.ask.core;
        let write = Write {
            kind,
            group: "policy",
            alias: None,
            options: &(),
            namespace: self.write.namespace,
            subresource: "status",
            user: &core.registry.own_user,
            dry_run: self.write.dry_run,
            warnings: self.write.warnings,
            emptied: None,
            annotations: self.write.annotations,
            managed: managed::own(kind),
            siblings: None,
        };
        let now = time::now_seconds();
        let mut compute = |current: &Value| budget::taken(current, self.name, &now);
        let taken = core
            .registry
            .update_unadmitted(&write, budget, Part::Status, &mut compute)
            .await;
        match taken {
            Err(status) if status.is_conflict() => Err(Status::timeout(
                format!("couldn't update PodDisruptionBudget {budget:?} due to conflicts"),
                10,
            )),
            result => result.map(drop),
        }
    }

    /// Says in the pod's status why it goes, and deletes it.
    async fn delete(&self, guard: &Guard) -> Result<(), Status> {
        let mut options = self.options.clone();
        if let (Guard::Unchanged(version), None) = (guard, &options.resource_version) {
            options.resource_version = Some(version.clone());
        }
        let core = self.ask.core;
        if !self.write.dry_run {
            let write = Write {
                subresource: "status",
                ..self.write
            };
            let mut compute = |pod: &Value| {
                check(pod, self.name, &options)?;
                Ok(disrupted(pod))
            };
            let updated = core
                .registry
                .update_unadmitted(&write, self.name, Part::Status, &mut compute)
                .await?;
            if options.resource_version.is_some() {
                // The version that was asked for has just been changed by this very eviction.
                options.resource_version = Some(updated.entry.revision.to_string());
            }
        }
        core.registry
            .delete(&self.write, self.name, &options)
            .await?;
        Ok(())
    }
}

fn phase(pod: &Value) -> &str {
    str_at(pod, &["status", "phase"])
}

/// Whether no budget is asked: the pod serves nobody yet, or no more.
fn needs_no_budget(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending")
        || object::deletion_timestamp(pod).is_some()
}

/// The preconditions of the delete that follows.
fn check(pod: &Value, name: &str, options: &DeleteOptions) -> Result<(), Status> {
    // Upstream names the kind where the resource belongs.
    let conflict = |why: String| Status::conflict(GroupResource::new("", "Pod"), name, why);
    let uid = object::uid(pod);
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return Err(conflict(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). \
             The object might have been deleted and then recreated"
        )));
    }
    let version = object::resource_version(pod);
    let other = |wanted: &&str| *wanted != version;
    if let Some(wanted) = options.resource_version.as_deref().filter(other) {
        return Err(conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified"
        )));
    }
    Ok(())
}

/// The pod with the condition that says why it goes.
fn disrupted(pod: &Value) -> Value {
    const TYPE: &str = "DisruptionTarget";
    let mut pod = pod.clone();
    let Some(status) = object::child_mut(&mut pod, "status") else {
        return pod;
    };
    let conditions = status.entry("conditions").or_insert(Value::Null);
    if conditions.is_null() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return pod;
    };
    let mut condition = Map::from_iter([
        ("type".to_owned(), json!(TYPE)),
        ("status".to_owned(), json!("True")),
        ("reason".to_owned(), json!("EvictionByEvictionAPI")),
        ("message".to_owned(), json!("Eviction API: evicting")),
        ("lastProbeTime".to_owned(), Value::Null),
        ("lastTransitionTime".to_owned(), json!(time::now_seconds())),
    ]);
    match conditions.iter_mut().find(|c| c["type"] == TYPE) {
        Some(there) => {
            if there["status"] == "True" {
                condition["lastTransitionTime"] = there["lastTransitionTime"].clone();
            }
            *there = condition.into();
        }
        None => conditions.push(condition.into()),
    }
    pod
}
