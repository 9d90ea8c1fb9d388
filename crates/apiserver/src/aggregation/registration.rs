//! APIServices of what is served here: upstream's autoregister and crd-registration controllers.
//!
//! The program's own group-versions get theirs when the server starts, and are not looked after later: who deletes or changes one
//! has it until the next start. Those of custom resources come and go with their definitions. One without the label is its
//! writer's.

use std::collections::BTreeMap;

use knarr_api::{
    Kinds, Served,
    apiregistration::{
        api_service::{self, ALWAYS, MANAGED, ON_START, name_of},
        priorities::{self, Priority},
    },
};
use knarr_meta::object::{self, i64_at, label, str_at};
use serde_json::{Value, json};

/// Labels the APIServices that were made for what another part of this process serves.
const LOCAL: &str = "knarr.io/local-api";

/// The APIService of a group-version that is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub group: String,
    pub version: String,
    priority: Priority,
    /// What labels it: [`MANAGED`] with [`ON_START`] or [`ALWAYS`], or [`LOCAL`].
    label: (&'static str, &'static str),
}

impl Wanted {
    /// That of a group-version which is no kinds'.
    pub fn local(group: &str, version: &str, priority: Priority) -> Wanted {
        Wanted {
            group: group.to_owned(),
            version: version.to_owned(),
            priority,
            label: (LOCAL, "true"),
        }
    }

    pub fn object(&self) -> Value {
        let (label, value) = self.label;
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "name": name_of(&self.group, &self.version),
                "labels": {label: value},
            },
            "spec": self.spec(),
        })
    }

    pub fn spec(&self) -> Value {
        let mut spec = json!({
            "version": self.version,
            "groupPriorityMinimum": self.priority.group,
            "versionPriority": self.priority.version,
        });
        if !self.group.is_empty() {
            spec["group"] = json!(self.group);
        }
        spec
    }

    /// Whether an object's spec says the same.
    pub fn is_in(&self, object: &Value) -> bool {
        let number = |field: &str| i64_at(object, &["spec", field]).unwrap_or_default();
        api_service::service(object).is_none()
            && str_at(object, &["spec", "group"]) == self.group
            && str_at(object, &["spec", "version"]) == self.version
            && number("groupPriorityMinimum") == i64::from(self.priority.group)
            && number("versionPriority") == i64::from(self.priority.version)
    }
}

/// What is wanted for a set of kinds, by name.
pub fn wanted(kinds: &Kinds) -> BTreeMap<String, Wanted> {
    let mut all = BTreeMap::new();
    for served in kinds.iter().flat_map(Served::all) {
        let (group, version) = (served.group(), served.version());
        let (priority, managed) = match served.kind.is_built_in() {
            true => match priorities::registered(group, version) {
                Some(priority) => (priority, ON_START),
                None => continue,
            },
            false => (priorities::CUSTOM, ALWAYS),
        };
        all.entry(name_of(group, version))
            .or_insert_with(|| Wanted {
                group: group.to_owned(),
                version: version.to_owned(),
                priority,
                label: (MANAGED, managed),
            });
    }
    all
}

/// Whether the server looks after an object.
pub fn is_managed(object: &Value) -> bool {
    matches!(label(object, MANAGED), Some(ON_START | ALWAYS))
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Create(Value),
    /// Gives a managed object this spec.
    SetSpec(String, Value),
    Delete(String),
    /// Says of an object without a Service that it is available.
    MakeLocal(String),
}

/// What is to be done. `starting`: the first time since the start, when objects of that kind are looked after.
pub fn plan(all: &BTreeMap<String, Wanted>, existing: &[Value], starting: bool) -> Vec<Step> {
    let there: BTreeMap<&str, &Value> = existing
        .iter()
        .map(|object| (object::name(object), object))
        .collect();
    let mut steps = Vec::new();
    for (name, wanted) in all {
        let due = starting || wanted.label == (MANAGED, ALWAYS);
        match there.get(name.as_str()) {
            None if due => steps.push(Step::Create(wanted.object())),
            Some(object) if due && is_managed(object) && !wanted.is_in(object) => {
                steps.push(Step::SetSpec(name.clone(), wanted.spec()));
            }
            _ => {}
        }
    }
    for (name, object) in there {
        let due = starting || label(object, MANAGED) == Some(ALWAYS);
        if due && is_managed(object) && !all.contains_key(name) {
            steps.push(Step::Delete(name.to_owned()));
        } else if api_service::service(object).is_none() && !is_local(object) {
            steps.push(Step::MakeLocal(name.to_owned()));
        }
    }
    steps
}

/// What is to be done at the start for group-versions that other parts of this process serve: theirs are made where there is none
/// by that name, and those of what is served no more are deleted. One that names a Service is its writer's, whatever labels it.
pub fn plan_local(all: &[Wanted], existing: &[Value]) -> Vec<Step> {
    let name = |wanted: &Wanted| name_of(&wanted.group, &wanted.version);
    let is_there = |wanted: &&Wanted| {
        let name = name(wanted);
        existing.iter().any(|object| object::name(object) == name)
    };
    let missing = all.iter().filter(|wanted| !is_there(wanted));
    let mut steps: Vec<Step> = missing
        .map(|wanted| Step::Create(wanted.object()))
        .collect();
    for object in existing {
        let ours = label(object, LOCAL).is_some() && api_service::service(object).is_none();
        if ours
            && !all
                .iter()
                .any(|wanted| name(wanted) == object::name(object))
        {
            steps.push(Step::Delete(object::name(object).to_owned()));
        }
    }
    steps
}

fn is_local(object: &Value) -> bool {
    let mut copy = object.clone();
    !api_service::set_availability(&mut copy, &api_service::Availability::local())
}

#[cfg(test)]
mod tests;
