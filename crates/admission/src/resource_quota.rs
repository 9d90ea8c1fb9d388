//! ResourceQuota: a write that would use more of a namespace than its quotas allow is refused; what it uses is charged.
//!
//! Charges are compare and swap on a quota's status, so that no two writes take the same. A write that fails afterwards stays
//! charged until the quota controller counts anew, as upstream.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use jiff::Timestamp;
use knarr_api::{
    built_in,
    core::{
        amounts::{Amounts, amounts},
        resource_quota::usage::{self, Counted},
    },
    kind::Part,
};
use knarr_auth::objects::Objects;
use knarr_meta::{Quantity, clock, object, status::Status};
use serde_json::{Map, Value};

use super::{forbidden, parse};
use crate::{
    request::{AdmissionPlugin, AdmissionRequest, Operation},
    writer::Writer,
};

/// The plugin.
pub struct ResourceQuota {
    objects: Arc<dyn Objects>,
    /// The server that this plugin is a part of.
    writer: Weak<dyn Writer>,
}

/// What a request uses, before and after.
struct Use<'r> {
    request: &'r AdmissionRequest<'r>,
    counted: Counted<'r>,
    object: &'r Value,
    now: Timestamp,
}

fn counted<'r>(request: &'r AdmissionRequest<'_>) -> Counted<'r> {
    Counted {
        group: &request.kind.group,
        resource: &request.kind.resource,
    }
}

impl ResourceQuota {
    pub fn new(objects: Arc<dyn Objects>, writer: Weak<dyn Writer>) -> Self {
        ResourceQuota { objects, writer }
    }

    async fn charge(&self, quota: &Value, wanted: &Use<'_>) -> Result<(), Status> {
        let writer = self.writer.upgrade();
        let kind = built_in("", "v1", "resourcequotas");
        let (Some(writer), Some(kind)) = (writer, kind) else {
            return Err(Status::internal("the server is being stopped"));
        };
        let change = |quota: &mut Value| {
            let Some(used) = wanted.of(quota)? else {
                return Ok(false);
            };
            set_used(quota, &used);
            Ok(true)
        };
        let (namespace, name) = (wanted.request.namespace, object::name(quota));
        match writer
            .update(kind, namespace, name, Part::Status, &change)
            .await
        {
            // One that is gone limits nothing.
            Err(status) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }
}

fn set_used(quota: &mut Value, used: &Amounts) {
    let Some(status) = object::child_mut(quota, "status") else {
        return;
    };
    let used = used
        .iter()
        .map(|(name, q)| (name.clone(), Value::from(q.to_string())));
    status.insert("used".to_owned(), used.collect::<Map<_, _>>().into());
}

#[async_trait]
impl AdmissionPlugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let counted = counted(request);
        let whole = request.subresource.is_empty();
        if request.namespace.is_empty() || request.kind.storage.is_none() || counted.is_ignored() {
            return false;
        }
        match request.operation {
            Operation::Create => whole,
            Operation::Update if counted.is_pod() => {
                let ends = |pod: Option<&Value>| pod.is_some_and(usage::is_terminating);
                request.subresource == "resize"
                    || whole && ends(request.object.as_deref()) != ends(request.old)
            }
            Operation::Update => {
                whole
                    && counted.group.is_empty()
                    && matches!(counted.resource, "services" | "persistentvolumeclaims")
            }
            _ => false,
        }
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let quotas = self.objects.list("", "resourcequotas", request.namespace);
        if quotas.is_empty() {
            return Ok(());
        }
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        let wanted = Use {
            request,
            counted: counted(request),
            object,
            now: clock::now(),
        };
        // All are asked before the first is charged.
        let mut charged = Vec::new();
        for quota in quotas.iter().filter_map(parse) {
            if wanted.of(&quota)?.is_some() {
                charged.push(quota);
            }
        }
        if request.dry_run {
            return Ok(());
        }
        for quota in &charged {
            self.charge(quota, &wanted).await?;
        }
        Ok(())
    }
}

impl Use<'_> {
    fn refuse(&self, why: String) -> Status {
        forbidden(self.request, why)
    }

    /// What a quota has used when this is charged; `None` where it has nothing to do with it.
    ///
    /// # Errors
    /// The refusal, where that is too much.
    fn of(&self, quota: &Value) -> Result<Option<Amounts>, Status> {
        let name = object::name(quota);
        let hard = amounts(quota, &["status", "hard"]);
        let used = amounts(quota, &["status", "used"]);
        let limited: BTreeSet<&str> = hard
            .keys()
            .map(String::as_str)
            .filter(|name| self.counted.uses(name))
            .collect();
        if limited.is_empty() || !self.counted.in_scopes(quota, self.object) {
            return Ok(None);
        }
        if self.counted.is_pod()
            && let Some(missing) = usage::unstated(self.object, limited.iter().copied())
        {
            return Err(self.refuse(format!("failed quota: {name}: {missing}")));
        }
        let unknown = |name: &&&str| !used.contains_key(**name);
        if limited.iter().any(|name| unknown(&name)) {
            let all: Vec<&str> = limited.into_iter().collect();
            let all = all.join(",");
            return Err(self.refuse(format!(
                "status unknown for quota: {name}, resources: {all}"
            )));
        }
        let mut wanted = self.delta(quota)?;
        wanted.retain(|name, amount| hard.contains_key(name) && !amount.is_zero());
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut total = used.clone();
        knarr_api::core::pod::amounts::add(&mut total, &wanted);
        let over: Vec<&String> = wanted
            .keys()
            .filter(|name| total.get(*name) > hard.get(*name))
            .collect();
        if !over.is_empty() {
            let (requested, used, limited) = (
                listed(&over, &wanted),
                listed(&over, &used),
                listed(&over, &hard),
            );
            return Err(self.refuse(format!(
                "exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"
            )));
        }
        Ok(Some(total))
    }

    /// What is used beyond what the object, as it was, used of this quota.
    fn delta(&self, quota: &Value) -> Result<Amounts, Status> {
        let mut wanted = self.counted.usage(self.object, self.now);
        let negative: Vec<&str> = wanted
            .iter()
            .filter(|(_, amount)| amount.is_negative())
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            let names = negative.join(",");
            return Err(self.refuse(format!("quota usage is negative for resource(s): {names}")));
        }
        let old = self
            .request
            .old
            .filter(|old| self.counted.in_scopes(quota, old));
        if let Some(old) = old {
            let before = self.counted.usage(old, self.now);
            for (name, amount) in &mut wanted {
                if let Some(before) = before.get(name) {
                    *amount -= *before;
                    if amount.is_negative() {
                        *amount = Quantity::default();
                    }
                }
            }
        }
        Ok(wanted)
    }
}

/// `cpu=1,pods=2`, of these resources.
fn listed(names: &[&String], amounts: &Amounts) -> String {
    let shown = names.iter().map(|name| {
        let amount = amounts.get(*name).cloned().unwrap_or_default();
        format!("{name}={amount}")
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
