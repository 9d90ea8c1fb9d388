//! What a write does to the managers: upstream's `merge.Updater`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;

mod prune;

use crate::{
    conflict::Conflicts,
    filter::Filter,
    managers::{Identity, Managers, Owned},
    schema::Schema,
    set::Set,
    typed::{self, Comparison},
};

/// The versions of a kind.
pub trait Versions {
    /// The type of objects of this version, as `apps/v1`. `None`: it is no longer served, and who owns fields of it owns nothing.
    fn schema(&self, version: &str) -> Option<&dyn Schema>;
    /// Why nothing can be found out about an object in whose fields somebody has a part at this version: there is none such, and it
    /// is told, where a version that is [no longer served](Versions::schema) is not.
    fn refusal(&self, _version: &str) -> Option<String> {
        None
    }
    /// An object of one served version as one of another.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Result<Value, String>;
}

/// Why managers could not be updated.
#[derive(Debug, thiserror::Error)]
pub enum Error<'a> {
    #[error("{}", .0.status().message)]
    Conflicts(Conflicts<'a>),
    #[error("{0}")]
    Failed(String),
}

/// The writes of one version of a kind.
pub struct Updater<'u> {
    pub versions: &'u dyn Versions,
    pub version: &'u str,
    pub filter: Option<&'u Filter>,
}

fn failed(what: &str, why: impl std::fmt::Display) -> Error<'static> {
    Error::Failed(format!("{what}: {why}"))
}

/// What a write takes from a manager: what it changes, and what it removes.
struct Judged<'a> {
    manager: Identity<'a>,
    conflict: Set<'a>,
    removed: Set<'a>,
}

impl<'u> Updater<'u> {
    /// The type of objects of the request's version.
    pub(crate) fn schema(&self) -> Result<&'u dyn Schema, Error<'static>> {
        let schema = self.versions.schema(self.version);
        schema.ok_or_else(|| Error::Failed(format!("no corresponding type for {}", self.version)))
    }

    /// An object as one of another version.
    fn converted<'v>(
        &self,
        object: &'v Value,
        from: &str,
        to: &str,
    ) -> Result<Cow<'v, Value>, String> {
        match from == to {
            true => Ok(Cow::Borrowed(object)),
            false => self.versions.convert(object, from, to).map(Cow::Owned),
        }
    }

    fn compare<'c>(
        &self,
        live: &'c Value,
        new: &'c Value,
        schema: &'c dyn Schema,
    ) -> Result<Comparison<'c>, Error<'static>> {
        let all = typed::compare(live, new, schema)
            .map_err(|why| failed("failed to compare objects", why))?;
        Ok(match self.filter {
            None => all,
            Some(filter) => Comparison {
                removed: filter.keep(&all.removed),
                modified: filter.keep(&all.modified),
                added: filter.keep(&all.added),
            },
        })
    }

    /// After a write that is no apply: takes what changed from all managers. Returns what the writer owns by it.
    pub fn update<'c>(
        &self,
        live: &'c Value,
        new: &'c Value,
        managers: &mut Managers<'_>,
    ) -> Result<Set<'c>, Error<'static>>
    where
        'u: 'c,
    {
        self.reconcile(managers)?;
        let own = self.compare(live, new, self.schema()?)?;
        let judged = self.judge(live, new, managers, None, &own)?;
        settle(managers, judged);
        Ok(own.modified.and(own.added))
    }

    /// Merges what an applier wants into the live object, and removes what it wanted before and nobody owns now.
    pub fn apply<'a>(
        &self,
        live: &'a Value,
        config: &'a Value,
        managers: &mut Managers<'a>,
        applier: &Identity<'a>,
        force: bool,
    ) -> Result<Value, Error<'a>>
    where
        'u: 'a,
    {
        self.reconcile(managers)?;
        let schema = self.schema()?;
        let merged = typed::merge(live, config, schema)
            .map_err(|why| failed("failed to merge config", why))?;
        let set = typed::field_set(config, schema)
            .map_err(|why| failed("failed to get field set", why))?;
        let set = match self.filter {
            Some(filter) => filter.keep(&set),
            None => set,
        };
        let last = managers.0.get(applier).cloned();
        let owned = Owned {
            set,
            version: Cow::Borrowed(self.version),
            time: last.as_ref().and_then(|last| last.time.clone()),
        };
        managers.0.insert(applier.clone(), owned);
        let new = match last {
            Some(last) if !last.set.is_empty() => self
                .prune(merged, managers, &last)
                .map_err(|why| failed("failed to prune fields", why))?,
            _ => merged,
        };
        let own = self.compare(live, &new, schema)?;
        let judged = self.judge(live, &new, managers, Some(applier), &own)?;
        if !force {
            let conflicts: BTreeMap<_, _> = judged
                .iter()
                .filter(|judged| !judged.conflict.is_empty())
                .map(|judged| (judged.manager.clone(), judged.conflict.clone()))
                .collect();
            if !conflicts.is_empty() {
                return Err(Error::Conflicts(Conflicts(conflicts)));
            }
        }
        settle(managers, judged);
        Ok(new)
    }

    /// What the change from `live` to `new` means to each manager but the writer. Managers at versions that are not served any
    /// more go.
    fn judge<'a>(
        &self,
        live: &Value,
        new: &Value,
        managers: &mut Managers<'a>,
        writer: Option<&Identity<'_>>,
        own: &Comparison<'_>,
    ) -> Result<Vec<Judged<'a>>, Error<'static>> {
        managers
            .0
            .retain(|_, owned| self.versions.schema(&owned.version).is_some());
        let versions: BTreeSet<&str> = managers.0.values().map(|o| &*o.version).collect();
        let mut out = Vec::new();
        for version in versions {
            let of_version = managers
                .0
                .iter()
                .filter(|(manager, owned)| owned.version == version && Some(*manager) != writer);
            if version == self.version {
                judge_each(of_version, own, &mut out);
                continue;
            }
            let Some(schema) = self.versions.schema(version) else {
                continue;
            };
            let live = self
                .converted(live, self.version, version)
                .map_err(|why| failed("failed to convert old object", why))?;
            let new = self
                .converted(new, self.version, version)
                .map_err(|why| failed("failed to convert new object", why))?;
            let comparison = self.compare(&live, &new, schema)?;
            judge_each(of_version, &comparison, &mut out);
        }
        Ok(out)
    }

    /// Brings sets in line with types that have changed since they were written.
    fn reconcile(&self, managers: &mut Managers<'_>) -> Result<(), Error<'static>> {
        let mut versions = managers.0.values().map(|owned| &*owned.version);
        if let Some(why) = versions.find_map(|version| self.versions.refusal(version)) {
            return Err(Error::Failed(why));
        }
        managers.0.retain(|_, owned| {
            let Some(schema) = self.versions.schema(&owned.version) else {
                return false;
            };
            if let Some(set) = owned.set.reconciled(schema) {
                owned.set = set;
            }
            true
        });
        Ok(())
    }
}

fn judge_each<'m, 'a: 'm>(
    managers: impl Iterator<Item = (&'m Identity<'a>, &'m Owned<'a>)>,
    comparison: &Comparison<'_>,
    out: &mut Vec<Judged<'a>>,
) {
    let changed = comparison.modified.union(&comparison.added);
    for (manager, owned) in managers {
        let conflict = owned.set.intersection(&changed);
        let removed = owned.set.intersection(&comparison.removed);
        if !conflict.is_empty() || !removed.is_empty() {
            out.push(Judged {
                manager: manager.clone(),
                conflict,
                removed,
            });
        }
    }
}

/// Leaves each manager what it keeps; who owns nothing is no manager.
fn settle<'a>(managers: &mut Managers<'a>, judged: Vec<Judged<'a>>) {
    for judged in judged {
        if let Some(owned) = managers.0.get_mut(&judged.manager) {
            owned.set.subtract(&judged.conflict);
            owned.set.subtract(&judged.removed);
        }
    }
    managers.0.retain(|_, owned| !owned.set.is_empty());
}
