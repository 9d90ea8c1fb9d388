//! What goes from an object because its applier does not want it any more.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use super::Updater;
use crate::{
    managers::{Managers, Owned},
    schema::Schema,
    set::Set,
    typed,
};

/// An object in some version.
struct Versioned<'v> {
    value: Cow<'v, Value>,
    version: &'v str,
}

impl Updater<'_> {
    /// `merged` without what the applier owned by `last`, does not own now, and nobody else owns.
    pub(super) fn prune(
        &self,
        merged: Value,
        managers: &Managers<'_>,
        last: &Owned<'_>,
    ) -> Result<Value, String> {
        let version = &*last.version;
        let Some(schema) = self.versions.schema(version) else {
            return Ok(merged);
        };
        let converted = self
            .converted(&merged, self.version, version)
            .map_err(|why| {
                format!("failed to convert merged object to last applied version: {why}")
            })?;
        let last_set = last.set.with_named_fields(Some(schema));
        let pruned = Versioned {
            value: Cow::Owned(typed::remove(&converted, &last_set, schema)),
            version,
        };
        let pruned = self
            .add_back_owned(&converted, pruned, managers)
            .map_err(|why| format!("failed add back owned items: {why}"))?;
        let pruned = self
            .add_back_dangling(&converted, &pruned, &last_set, version, schema)
            .map_err(|why| format!("failed add back dangling items: {why}"))?;
        Ok(self.converted(&pruned, version, self.version)?.into_owned())
    }

    /// Adds back what others own, or the applier's new configuration: first at the version in which it was pruned, where
    /// conversion cannot fail for what is gone.
    fn add_back_owned<'v>(
        &self,
        merged: &'v Value,
        pruned: Versioned<'v>,
        managers: &'v Managers<'_>,
    ) -> Result<Versioned<'v>, String> {
        let first = pruned.version;
        let mut by_version: BTreeMap<&str, Set<'_>> = BTreeMap::new();
        for owned in managers.0.values() {
            let all = by_version.entry(&owned.version).or_default();
            *all = all.union(&owned.set);
        }
        let mut merged = Versioned {
            value: Cow::Borrowed(merged),
            version: first,
        };
        let mut pruned = pruned;
        let own = by_version.remove_entry(first);
        for (version, owned) in own.into_iter().chain(by_version) {
            let Some(schema) = self.versions.schema(version) else {
                continue;
            };
            let convert = |object: Versioned<'v>| -> Result<Versioned<'v>, String> {
                let value = match object.version == version {
                    true => object.value,
                    false => Cow::Owned(self.versions.convert(
                        &object.value,
                        object.version,
                        version,
                    )?),
                };
                Ok(Versioned { value, version })
            };
            merged = convert(merged).map_err(|why| {
                format!("failed to convert merged object at version {version}: {why}")
            })?;
            pruned = convert(pruned).map_err(|why| {
                format!("failed to convert pruned object at version {version}: {why}")
            })?;
            let there = named(&merged.value, schema)?;
            let keep = named(&pruned.value, schema)?;
            let gone = there
                .difference(&keep)
                .difference(&owned.with_named_fields(Some(schema)));
            pruned.value = Cow::Owned(typed::remove(&merged.value, &gone, schema));
        }
        Ok(pruned)
    }

    /// Adds back what the applier did not own: list elements and fields that went with what contains them.
    fn add_back_dangling(
        &self,
        merged: &Value,
        pruned: &Versioned<'_>,
        last: &Set<'_>,
        version: &str,
        schema: &dyn Schema,
    ) -> Result<Value, String> {
        let pruned = self
            .converted(&pruned.value, pruned.version, version)
            .map_err(|why| {
                format!("failed to convert pruned object to last applied version: {why}")
            })?;
        let gone = named(merged, schema)?
            .difference(&named(&pruned, schema)?)
            .intersection(last);
        Ok(typed::remove(merged, &gone, schema))
    }
}

/// The paths of an object, with the declared fields that contain them.
fn named<'a>(object: &'a Value, schema: &'a dyn Schema) -> Result<Set<'a>, String> {
    let set = typed::field_set(object, schema)
        .map_err(|why| format!("failed to create field set: {why}"))?;
    Ok(set.with_named_fields(Some(schema)))
}
