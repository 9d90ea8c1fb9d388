//! The field manager: what the API server calls with every write. Upstream's chain of managers, in one place.

use std::sync::LazyLock;

use knarr_meta::{
    object,
    status::{Reason, Status},
    types::split_api_version,
};
use serde_json::{Map, Value};

use crate::{
    element::Element,
    filter::Filter,
    managers::{Identity, Managers, Operation, Owned},
    set::Set,
    typed::{self, Duplicates},
    update::{Error, Updater, Versions},
    value,
};

mod last_applied;
#[cfg(test)]
mod tests;

/// Who owned what an object had before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who an update is by that does not say it.
const UNKNOWN: &str = "unknown";

/// Fields that nobody owns: they are the object's name, or the server's.
static NOBODYS: LazyLock<Set<'static>> = LazyLock::new(|| {
    let mut set = Set::default();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[Element::Field(name.into())]);
    }
    for name in [
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        set.insert(&[
            Element::Field("metadata".into()),
            Element::Field(name.into()),
        ]);
    }
    set
});

/// The field manager of one version of a kind, or of one of its subresources.
pub struct FieldManager<'m> {
    pub versions: &'m dyn Versions,
    /// The request's API version, as `apps/v1`.
    pub version: &'m str,
    pub kind: &'m str,
    /// Empty for the object itself.
    pub subresource: &'m str,
    /// What cannot be changed through it.
    pub filter: Option<&'m Filter>,
    /// RFC 3339 in whole seconds.
    pub now: &'m str,
}

/// Who applies, and how.
#[derive(Clone, Copy, Debug)]
pub struct Applier<'a> {
    pub manager: &'a str,
    /// Take what others own.
    pub force: bool,
}

impl<'m> FieldManager<'m> {
    fn updater(&self) -> Updater<'m> {
        Updater {
            versions: self.versions,
            version: self.version,
            filter: self.filter,
        }
    }

    fn identity<'a>(&self, manager: &'a str, operation: Operation) -> Identity<'a>
    where
        'm: 'a,
    {
        Identity {
            manager: match manager {
                "" => UNKNOWN.into(),
                manager => manager.into(),
            },
            operation,
            version: match operation {
                Operation::Apply => "".into(),
                Operation::Update => self.version.into(),
            },
            subresource: self.subresource.into(),
        }
    }

    /// Sets `metadata.managedFields` of an object that is to be written, of the request's version. `live` is what it replaces;
    /// `None`: it is new. Never refuses a write: where managers cannot be found out, they stay as they were.
    pub fn update(&self, live: Option<&Value>, new: &mut Value, manager: &str) {
        let given = metadata(new).and_then(|metadata| metadata.remove("managedFields"));
        let encoded = match self.updated(live, new, given.as_ref(), manager) {
            Ok(managers) => managers.encode(),
            Err(_) => live.and_then(|live| entries(live).cloned()),
        };
        set_entries(new, encoded);
    }

    fn updated<'a>(
        &self,
        live: Option<&'a Value>,
        new: &'a Value,
        given: Option<&'a Value>,
        manager: &'a str,
    ) -> Result<Managers<'a>, Error<'static>>
    where
        'm: 'a,
    {
        let managers = self.known(live, given);
        // Objects that were never tracked, or whose managers were reset, are not until they are applied.
        let exists = live.is_some_and(|live| !object::uid(live).is_empty());
        if managers.0.is_empty() && exists {
            return Ok(managers);
        }
        self.track(live.unwrap_or(&EMPTY), new, managers, manager)
    }

    /// The managers that a write starts from: those that it gives, else those of the live object.
    fn known<'a>(&self, live: Option<&'a Value>, given: Option<&'a Value>) -> Managers<'a> {
        let of_live = || Managers::decode(live.and_then(entries)).unwrap_or_default();
        if !self.subresource.is_empty() {
            return of_live();
        }
        if given.is_some_and(resets) {
            return Managers::default();
        }
        match Managers::decode(given) {
            Ok(managers) if !managers.0.is_empty() => managers,
            _ => of_live(),
        }
    }

    fn track<'a>(
        &self,
        live: &'a Value,
        new: &'a Value,
        mut managers: Managers<'a>,
        manager: &'a str,
    ) -> Result<Managers<'a>, Error<'static>>
    where
        'm: 'a,
    {
        let mut set = self.updater().update(live, new, &mut managers)?;
        set.subtract(&NOBODYS);
        if !set.is_empty() {
            let identity = self.identity(manager, Operation::Update);
            let set = match managers.0.get(&identity) {
                Some(before) => set.union(&before.set),
                None => set,
            };
            let owned = Owned {
                set,
                version: self.version.into(),
                time: Some(self.now.into()),
            };
            managers.0.insert(identity, owned);
        }
        managers.cap_updates();
        Ok(managers)
    }

    /// What `config` makes of the live object (an empty one where there is none), with its managers. Both are of the request's
    /// version, `config` as the client sent it.
    ///
    /// 400 for a configuration of another type, 409 for fields that others own, 500 for one that does not fit the type, all in
    /// upstream's words.
    pub fn apply(&self, live: &Value, config: &Value, by: Applier<'_>) -> Result<Value, Status> {
        self.check_type(config)?;
        let managers = Managers::decode(entries(live))
            .map_err(|why| internal(format!("failed to decode managed fields: {why}")))?;
        if config["metadata"]["managedFields"].is_array() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let schema = self.updater().schema().map_err(status)?;
        for (object, what, duplicates) in [
            (config, "patch", Duplicates::Refused),
            (live, "live", Duplicates::Allowed),
        ] {
            typed::validate(object, schema, duplicates).map_err(|why| {
                let of = self.describe(object);
                internal(format!(
                    "failed to create typed {what} object ({of}): {why}"
                ))
            })?;
        }
        let (mut new, managers) = self.applied(live, config, managers, by)?;
        if by.manager == last_applied::KUBECTL {
            last_applied::renew(&mut new, config);
        }
        let encoded = managers.encode();
        set_entries(&mut new, encoded);
        Ok(new)
    }

    /// Applies; objects of kubectl's older kind of apply give their fields to its newer one without a conflict.
    fn applied<'a>(
        &self,
        live: &'a Value,
        config: &'a Value,
        managers: Managers<'a>,
        by: Applier<'a>,
    ) -> Result<(Value, Managers<'a>), Status>
    where
        'm: 'a,
    {
        let conflicts = match self.apply_once(live, config, managers.clone(), by) {
            Ok(applied) => return Ok(applied),
            Err(Error::Conflicts(conflicts)) => conflicts,
            Err(other) => return Err(status(other)),
        };
        let allowed = match by.manager {
            last_applied::KUBECTL => self
                .updater()
                .schema()
                .ok()
                .and_then(|schema| last_applied::owned(live, self.version, schema)),
            _ => None,
        };
        let Some(allowed) = allowed else {
            return Err(conflicts.status());
        };
        if !conflicts.paths().difference(&allowed).is_empty() {
            return Err(conflicts.without(&allowed).status());
        }
        let forced = Applier { force: true, ..by };
        self.apply_once(live, config, managers, forced)
            .map_err(status)
    }

    fn apply_once<'a>(
        &self,
        live: &'a Value,
        config: &'a Value,
        mut managers: Managers<'a>,
        by: Applier<'a>,
    ) -> Result<(Value, Managers<'a>), Error<'a>>
    where
        'm: 'a,
    {
        if managers.0.is_empty() {
            managers = self.track(&EMPTY, live, managers, BEFORE_FIRST_APPLY)?;
        }
        let applier = self.identity(by.manager, Operation::Apply);
        let new = self
            .updater()
            .apply(live, config, &mut managers, &applier, by.force)?;
        if let Some(owned) = managers.0.get_mut(&applier) {
            owned.set.subtract(&NOBODYS);
            if !value::same(live, &new) {
                owned.time = Some(self.now.into());
            }
        }
        managers.0.retain(|_, owned| !owned.set.is_empty());
        Ok((new, managers))
    }

    fn check_type(&self, config: &Value) -> Result<(), Status> {
        let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
        if (text("apiVersion"), text("kind")) == (self.version, self.kind) {
            return Ok(());
        }
        let given = gvk(text("apiVersion"), text("kind"));
        Err(Status::bad_request(format!("invalid object type: {given}")))
    }

    /// As upstream's messages name an object: `default/web; apps/v1, Kind=Deployment`.
    fn describe(&self, object: &Value) -> String {
        format!(
            "{}/{}; {}",
            object::namespace(object),
            object::name(object),
            gvk(self.version, self.kind)
        )
    }
}

/// What an object was before it was made.
static EMPTY: Value = Value::Null;

/// Group, version and kind as Go prints them.
fn gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = split_api_version(api_version);
    format!("{group}/{version}, Kind={kind}")
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

/// `metadata.managedFields`.
fn entries(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

fn set_entries(object: &mut Value, entries: Option<Value>) {
    if let Some(metadata) = metadata(object) {
        match entries {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }
}

/// Whether managers are given that are none: the way to forget them all.
fn resets(given: &Value) -> bool {
    let empty = |entry: &Value| match entry {
        Value::Object(fields) => fields
            .values()
            .all(|value| value.is_null() || value.as_str() == Some("")),
        other => other.is_null(),
    };
    match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => empty(only),
        _ => false,
    }
}

/// An error that upstream gives no reason.
fn internal(message: String) -> Status {
    Status::new(500, Reason::Unknown, message)
}

fn status(error: Error<'_>) -> Status {
    match error {
        Error::Conflicts(conflicts) => conflicts.status(),
        Error::Failed(why) => internal(why),
    }
}
