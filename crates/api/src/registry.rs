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
    Alias, Kind, admissionregistration, apiextensions, apiregistration, apps, authentication,
    authorization, autoscaling, batch, certificates, coordination, core, discovery, flowcontrol,
    kind::{BuiltIn, Text},
    networking, node, policy, rbac, resource, scheduling, storage, storagemigration,
};

static BUILT_IN: &[&BuiltIn] = &[
    &core::binding::KIND,
    &core::component_status::KIND,
    &core::config_map::KIND,
    &core::endpoints::KIND,
    &core::event::KIND,
    &core::limit_range::KIND,
    &core::namespace::KIND,
    &core::node::KIND,
    &core::persistent_volume_claim::KIND,
    &core::persistent_volume::KIND,
    &core::pod::KIND,
    &core::pod_template::KIND,
    &core::replication_controller::KIND,
    &core::resource_quota::KIND,
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
    &autoscaling::horizontal_pod_autoscaler::KIND,
    &batch::cron_job::KIND,
    &batch::job::KIND,
    &certificates::certificate_signing_request::KIND,
    &certificates::cluster_trust_bundle::KIND,
    &certificates::pod_certificate_request::KIND,
    &coordination::lease::KIND,
    &discovery::endpoint_slice::KIND,
    &flowcontrol::flow_schema::KIND,
    &flowcontrol::priority_level::KIND,
    &networking::ingress_class::KIND,
    &networking::ingress::KIND,
    &networking::ip_address::KIND,
    &networking::network_policy::KIND,
    &networking::service_cidr::KIND,
    &node::runtime_class::KIND,
    &policy::pod_disruption_budget::KIND,
    &rbac::cluster_role_binding::KIND,
    &rbac::cluster_role::KIND,
    &rbac::role_binding::KIND,
    &rbac::role::KIND,
    &resource::device_class::KIND,
    &resource::device_taint_rule::KIND,
    &resource::resource_claim::KIND,
    &resource::resource_claim_template::KIND,
    &resource::resource_slice::KIND,
    &scheduling::priority_class::KIND,
    &storage::csi_driver::KIND,
    &storage::csi_node::KIND,
    &storage::csi_storage_capacity::KIND,
    &storage::storage_class::KIND,
    &storage::volume_attachment::KIND,
    &storage::volume_attributes_class::KIND,
    &storagemigration::storage_version_migration::KIND,
    &admissionregistration::mutating_admission_policy::KIND,
    &admissionregistration::mutating_admission_policy_binding::KIND,
    &admissionregistration::webhook_configuration::MUTATING,
    &admissionregistration::validating_admission_policy::KIND,
    &admissionregistration::validating_admission_policy_binding::KIND,
    &admissionregistration::webhook_configuration::VALIDATING,
    &apiextensions::custom_resource_definition::KIND,
    &apiregistration::api_service::KIND,
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

    /// Whether this version is the one that is stored: stored bytes serve as they are. Those that a webhook converts may be of
    /// any version.
    pub fn is_stored(&self) -> bool {
        self.alias.is_none()
            && self.kind.stored.is_none()
            && self.kind.strategy.conversion().is_none()
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

    /// A set with these kinds in the place of all that are now the versions of a resource: none, to serve it no longer. They stand
    /// behind the program's own, in the order of group and name.
    ///
    /// # Errors
    /// Where another resource has their place.
    pub fn replaced(&self, group: &str, resource: &str, new: &[Arc<Kind>]) -> Result<Kinds, Taken> {
        let is_it = |kind: &Arc<Kind>| kind.group == group && kind.resource == resource;
        let mut all: Vec<_> = self
            .all
            .iter()
            .filter(|kind| !is_it(kind))
            .cloned()
            .collect();
        for kind in new {
            let place = all
                .iter()
                .find(|other| other.storage.is_some() && other.storage == kind.storage);
            let name = all.iter().find(|other| {
                other.resource == kind.resource
                    && Served::all(other).any(|served| served.serves(&kind.group, &kind.version))
            });
            if let Some(other) = place.or(name) {
                let what = format!("{}/{}", other.api_version(), other.resource);
                return Err(Taken { what });
            }
        }
        let at = all.iter().position(|other| {
            !other.is_built_in()
                && (&other.group, &other.resource) > (&group.into(), &resource.into())
        });
        let at = at.unwrap_or(all.len());
        all.splice(at..at, new.iter().cloned());
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

    /// Every group-version that serves the stored objects of a kind.
    pub fn equivalents<'k>(&'k self, kind: &'k Kind) -> impl Iterator<Item = &'k Served> {
        let named = self.by_resource.get(&kind.resource).into_iter().flatten();
        named.filter(move |served| match &kind.storage {
            Some(place) => served.kind.storage.as_ref() == Some(place),
            None => served.kind.storage.is_none() && served.kind.group == kind.group,
        })
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
