//! The sets of kinds: the program's own, in the order discovery shows them, and what is served besides.
//!
//! A set is a value and never changes. Adding or removing a kind makes another set, so that whoever holds one sees the same
//! kinds from the beginning of a request to its end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use knarr_meta::Gvk;

use crate::{
    Alias, Kind, apps, authentication, authorization, batch, coordination, core, discovery,
    kind::{BuiltIn, Text},
    networking, rbac, scheduling,
};

static BUILT_IN: &[&BuiltIn] = &[
    &core::binding::KIND,
    &core::config_map::KIND,
    &core::endpoints::KIND,
    &core::event::KIND,
    &core::namespace::KIND,
    &core::node::KIND,
    &core::pod::KIND,
    &core::pod_template::KIND,
    &core::replication_controller::KIND,
    &core::secret::KIND,
    &core::service_account::KIND,
    &core::service::KIND,
    &authentication::SELF_SUBJECT_REVIEW,
    &authentication::TOKEN_REVIEW,
    &authorization::LOCAL_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_ACCESS_REVIEW,
    &authorization::SELF_SUBJECT_RULES_REVIEW,
    &authorization::SUBJECT_ACCESS_REVIEW,
    &apps::controller_revision::KIND,
    &apps::daemon_set::KIND,
    &apps::deployment::KIND,
    &apps::replica_set::KIND,
    &apps::stateful_set::KIND,
    &batch::job::KIND,
    &coordination::lease::KIND,
    &discovery::endpoint_slice::KIND,
    &networking::ingress_class::KIND,
    &networking::ingress::KIND,
    &rbac::cluster_role_binding::KIND,
    &rbac::cluster_role::KIND,
    &rbac::role_binding::KIND,
    &rbac::role::KIND,
    &scheduling::priority_class::KIND,
];

/// A kind in a group-version that serves it.
#[derive(Clone, Debug)]
pub struct Served {
    pub kind: Arc<Kind>,
    /// Which of the kind's aliases, where the version served is not the stored one.
    alias: Option<usize>,
}

impl Served {
    /// A kind in its stored version.
    pub fn stored(kind: Arc<Kind>) -> Served {
        Served { kind, alias: None }
    }

    /// Every group-version that serves the kind, the stored one first.
    pub fn all(kind: &Arc<Kind>) -> impl Iterator<Item = Served> {
        let aliases = (0..kind.aliases.len()).map(Some);
        std::iter::once(None).chain(aliases).map(|alias| Served {
            kind: kind.clone(),
            alias,
        })
    }

    /// The version served, where it is not the stored one.
    pub fn alias(&self) -> Option<&Alias> {
        self.kind.aliases.get(self.alias?)
    }

    pub fn group(&self) -> &str {
        match self.alias() {
            Some(alias) => alias.group,
            None => &self.kind.group,
        }
    }

    pub fn version(&self) -> &str {
        match self.alias() {
            Some(alias) => alias.version,
            None => &self.kind.version,
        }
    }

    /// The group as who keeps it wants it: words of the program are not copied.
    pub fn group_text(&self) -> Text {
        match self.alias() {
            Some(alias) => Text::Borrowed(alias.group),
            None => self.kind.group.clone(),
        }
    }

    /// See [`Served::group_text`].
    pub fn version_text(&self) -> Text {
        match self.alias() {
            Some(alias) => Text::Borrowed(alias.version),
            None => self.kind.version.clone(),
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        knarr_meta::types::api_version(self.group(), self.version())
    }

    /// Name in the schema table.
    pub fn definition(&self) -> &str {
        match self.alias() {
            Some(alias) => alias.definition,
            None => &self.kind.definition,
        }
    }

    fn serves(&self, group: &str, version: &str) -> bool {
        self.group() == group && self.version() == version
    }
}

/// Why a kind cannot join a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is taken by another kind")]
pub struct Taken {
    what: String,
}

/// The kinds that are served together. No two have a resource of a group-version, or a place in the store, in common.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    all: Vec<Arc<Kind>>,
    /// Few names are in more than one group-version.
    by_resource: HashMap<Text, Vec<Served>>,
}

impl Kinds {
    /// The program's own.
    pub fn built_in() -> Kinds {
        Kinds::of(built_in_kinds().to_vec())
    }

    fn of(all: Vec<Arc<Kind>>) -> Kinds {
        let mut by_resource: HashMap<Text, Vec<Served>> = HashMap::new();
        for kind in &all {
            let served = by_resource.entry(kind.resource.clone()).or_default();
            served.extend(Served::all(kind));
        }
        Kinds { all, by_resource }
    }

    /// A set that has this kind too.
    ///
    /// # Errors
    /// Where another kind has its resource or its place.
    pub fn with(&self, kind: Arc<Kind>) -> Result<Kinds, Taken> {
        for served in Served::all(&kind) {
            let (group, version) = (served.group(), served.version());
            if self.find(group, version, &kind.resource).is_some() {
                let what = format!("{}/{}", served.api_version(), kind.resource);
                return Err(Taken { what });
            }
        }
        let places: HashSet<_> = self.all.iter().filter_map(|k| k.storage.as_ref()).collect();
        if let Some(place) = &kind.storage
            && places.contains(place)
        {
            let what = place.clone().into_owned();
            return Err(Taken { what });
        }
        let mut all = self.all.clone();
        all.push(kind);
        Ok(Kinds::of(all))
    }

    /// A set that lacks this kind.
    pub fn without(&self, kind: &Arc<Kind>) -> Kinds {
        let others = self.all.iter().filter(|other| !Arc::ptr_eq(other, kind));
        Kinds::of(others.cloned().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.iter()
    }

    /// What serves a resource.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Served> {
        let mut served = self.by_resource.get(resource)?.iter();
        served.find(|served| served.serves(group, version))
    }

    /// The kind of this group, version and kind, also where it is an alias.
    pub fn find_kind(&self, gvk: &Gvk) -> Option<&Arc<Kind>> {
        let serves = |kind: &Arc<Kind>| {
            Served::all(kind).any(|served| served.serves(&gvk.group, &gvk.version))
        };
        let mut named = self.all.iter().filter(|kind| kind.kind == gvk.kind);
        named.find(|kind| serves(kind))
    }
}

/// The program's own kinds.
pub fn built_in_kinds() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
        let kinds = BUILT_IN.iter();
        kinds
            .map(|declared| Arc::new(Kind::from(*declared)))
            .collect()
    });
    &KINDS
}

/// One of the program's own kinds, by the group, version and resource of its stored version or of an alias.
pub fn built_in(group: &str, version: &str, resource: &str) -> Option<&'static Arc<Kind>> {
    let mut named = built_in_kinds()
        .iter()
        .filter(|kind| kind.resource == resource);
    named.find(|kind| Served::all(kind).any(|served| served.serves(group, version)))
}

#[cfg(test)]
mod tests;
