//! Managed fields in the write path: whose write it is, of which version and part, and what a write through that part resets.

use std::borrow::Cow;

use knarr_api::{
    Kind,
    kind::{Alias, Part},
    schema,
};
use knarr_apply::{
    Applier, Deduced, FieldManager, Schema, Versions,
    typed::{self, Duplicates},
};
use knarr_meta::{field::Form, object_meta, status::Status, time, types};
use serde_json::{Map, Value};

mod forms;
mod resets;
pub mod scale;
mod siblings;
#[cfg(test)]
mod tests;

pub use siblings::{ROUNDS, Siblings};

/// What becomes of an object's managed fields in a write.
#[derive(Clone, Copy)]
pub enum Managed<'a> {
    /// They stay: upstream does not look at such a write (bindings).
    Kept,
    /// They follow from what the write changes.
    Update(Manager<'a>),
    /// The object that is written has the new ones.
    Given,
}

/// Of the server's own writes, as upstream's: who says how requests are served has a name of its own there.
pub fn own(kind: &Kind) -> Managed<'static> {
    Managed::Update(Manager {
        name: match &*kind.group {
            "flowcontrol.apiserver.k8s.io" => "api-priority-and-fairness-config-producer-v1",
            _ => "kube-apiserver",
        },
        alias: None,
        siblings: None,
    })
}

/// Whose write it is.
#[derive(Clone, Copy)]
pub struct Manager<'a> {
    /// Empty: nobody knows.
    pub name: &'a str,
    /// The version of the request, where it is not the stored one.
    pub alias: Option<&'a Alias>,
    /// The other versions of a custom resource. Without, they are taken to be the same but for their names.
    pub siblings: Option<&'a Siblings>,
}

/// The manager that a request's parameter names, else the program at its other end.
pub fn manager_name(parameter: &str, user_agent: &str) -> String {
    if !parameter.is_empty() {
        return parameter.to_owned();
    }
    let program = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for c in program.chars().filter(|c| object_meta::is_printable(*c)) {
        if name.len().saturating_add(c.len_utf8()) > object_meta::MANAGER_NAME_MAX_LENGTH {
            break;
        }
        name.push(c);
    }
    name
}

/// The versions in which a kind is served.
struct KindVersions<'k> {
    kind: &'k Kind,
    siblings: Option<&'k Siblings>,
}

impl KindVersions<'_> {
    /// Whether it may be another version of a kind that came at run time. Each of them is a kind of its own.
    fn is_sibling(&self, version: &str) -> bool {
        !self.kind.is_built_in() && types::split_api_version(version).0 == self.kind.group
    }

    fn alias(&self, version: &str) -> Option<&Alias> {
        let mut aliases = self.kind.aliases.iter();
        aliases.find(|alias| types::api_version(alias.group, alias.version) == version)
    }
}

impl Versions for KindVersions<'_> {
    fn schema(&self, version: &str) -> Option<&dyn Schema> {
        if version == self.kind.api_version() {
            return Some(of_kind(self.kind));
        }
        if self.is_sibling(version) {
            // Of a version that is not served the type is taken to be the same.
            let sibling = self.siblings.and_then(|all| all.find(self.kind, version));
            return Some(of_kind(sibling.unwrap_or(self.kind)));
        }
        Some(of_table(self.alias(version)?.definition))
    }

    fn refusal(&self, version: &str) -> Option<String> {
        if self.kind.is_built_in() {
            return None;
        }
        let (group, name) = types::split_api_version(version);
        if group != self.kind.group {
            let (api_version, kind) = (self.kind.api_version(), &self.kind.kind);
            return Some(format!(
                "{api_version}, Kind={kind} is unstructured and is not suitable for converting to {version:?}"
            ));
        }
        let is_there = name == self.kind.version || self.kind.strategy.has_version(version);
        (!is_there).then(|| format!("request to convert CR to an invalid group/version: {version}"))
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Result<Value, String> {
        if let Some(siblings) = self.siblings
            && let Some(kind) = siblings.find(self.kind, to)
        {
            let converted = siblings.convert(object, kind)?;
            let valid = typed::validate(&converted, of_kind(kind), Duplicates::Allowed);
            return valid.map(|()| converted).map_err(|why| why.to_string());
        }
        let object = match self.alias(from) {
            Some(alias) => (alias.encode)(object.clone()),
            None => object.clone(),
        };
        let mut object = match self.alias(to) {
            Some(alias) => (alias.decode)(object),
            None => object,
        };
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), Value::from(to));
        }
        Ok(object)
    }
}

fn of_kind(kind: &Kind) -> &dyn Schema {
    match kind.strategy.apply_schema() {
        Some(schema) => schema,
        None => of_table(&kind.definition),
    }
}

/// A type of the schema table. Of one that it does not have nothing is known.
fn of_table(definition: &str) -> &'static dyn Schema {
    match schema::definition(definition) {
        Some(schema) => schema,
        None => &Deduced,
    }
}

/// The subresource as managed fields name it.
fn subresource(part: Part) -> &'static str {
    match part {
        Part::Main => "",
        Part::Status => "status",
        Part::Subresource(name) => name,
    }
}

/// An object of the stored version as one of the request's.
fn served<'v>(alias: Option<&Alias>, object: &'v Value) -> Cow<'v, Value> {
    match alias {
        Some(alias) => Cow::Owned((alias.decode)(object.clone())),
        None => Cow::Borrowed(object),
    }
}

/// Calls `work` with the field manager of a kind's part.
fn with_fields<T>(
    kind: &Kind,
    manager: &Manager<'_>,
    part: Part,
    work: impl FnOnce(&FieldManager<'_>) -> T,
) -> T {
    let version = match manager.alias {
        Some(alias) => Cow::Owned(types::api_version(alias.group, alias.version)),
        None => kind.api_version(),
    };
    work(&FieldManager {
        versions: &KindVersions {
            kind,
            siblings: manager.siblings,
        },
        version: &version,
        kind: &kind.kind,
        subresource: subresource(part),
        filter: resets::filter(kind, part),
        now: &time::now_seconds(),
    })
}

impl Manager<'_> {
    /// Sets the managed fields of an object of the stored version that this manager makes of `live`; `None`: of nothing. `forms` are
    /// of the object of the request's version.
    pub fn update(
        &self,
        kind: &Kind,
        part: Part,
        live: Option<&Value>,
        new: &mut Value,
        forms: &[Form],
    ) {
        // What every object has is nobody's.
        let live = live.map(|live| schema::written::with_left_out(&kind.definition, live));
        let live = live.as_deref();
        let live = live.or_else(|| Some(schema::written::empty(&kind.definition)));
        with_fields(kind, self, part, |fields| {
            let asked = |object: &Value| {
                let schema = fields.versions.schema(fields.version)?;
                forms::asked(object, schema, forms)
            };
            let converted = match self.alias {
                None => asked(new),
                Some(alias) => {
                    let converted = (alias.decode)(new.clone());
                    Some(asked(&converted).unwrap_or(converted))
                }
            };
            match converted {
                None => fields.update(live, new, self.name),
                Some(mut converted) => {
                    let live = live.map(|live| served(self.alias, live));
                    fields.update(live.as_deref(), &mut converted, self.name);
                    let entries = take(&mut converted);
                    put(new, entries);
                }
            }
        });
    }

    /// What a configuration makes of the live object (of nothing, where it is `None`), both of the request's version.
    pub fn apply(
        &self,
        kind: &Kind,
        part: Part,
        live: Option<&Value>,
        config: &Value,
        force: bool,
    ) -> Result<Value, Status> {
        let nothing = Value::Object(Map::new());
        let by = Applier {
            manager: self.name,
            force,
        };
        with_fields(kind, self, part, |fields| {
            fields.apply(live.unwrap_or(&nothing), config, by)
        })
    }
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

/// Takes the managed fields out of an object.
pub fn take(object: &mut Value) -> Option<Value> {
    metadata(object)?.remove("managedFields")
}

/// Sets the managed fields of an object.
pub fn put(object: &mut Value, entries: Option<Value>) {
    if let Some(metadata) = metadata(object) {
        match entries {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }
}

fn entries(object: &Value) -> &[Value] {
    knarr_meta::object::list_at(object, &["metadata", "managedFields"])
}

/// Whether managed fields differ, and in nothing but times.
pub fn only_times_differ(new: &Value, old: &Value) -> bool {
    let (new, old) = (entries(new), entries(old));
    let same_but_time = |new: &Value, old: &Value| match (new.as_object(), old.as_object()) {
        (Some(new), Some(old)) => {
            let without =
                |map: &'_ Map<String, Value>| map.len() - usize::from(map.contains_key("time"));
            without(new) == without(old)
                && new
                    .iter()
                    .filter(|(name, _)| *name != "time")
                    .all(|(name, value)| old.get(name) == Some(value))
        }
        _ => new == old,
    };
    new != old
        && new.len() == old.len()
        && new
            .iter()
            .zip(old)
            .all(|(new, old)| same_but_time(new, old))
}
