//! The list of kinds, in the order discovery shows them.

use knarr_meta::Gvk;

use crate::{
    Alias, Kind, apps, authentication, authorization, coordination, core, discovery, rbac,
    scheduling,
};

static KINDS: &[&Kind] = &[
    &core::binding::KIND,
    &core::config_map::KIND,
    &core::endpoints::KIND,
    &core::event::KIND,
    &core::namespace::KIND,
    &core::node::KIND,
    &core::pod::KIND,
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
    &apps::deployment::KIND,
    &apps::replica_set::KIND,
    &coordination::lease::KIND,
    &discovery::endpoint_slice::KIND,
    &rbac::cluster_role_binding::KIND,
    &rbac::cluster_role::KIND,
    &rbac::role_binding::KIND,
    &rbac::role::KIND,
    &scheduling::priority_class::KIND,
];

/// Every built-in kind.
pub fn kinds() -> &'static [&'static Kind] {
    KINDS
}

/// The kind that serves a resource, also where it is served as an alias.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    find_served(group, version, resource).map(|(kind, _)| kind)
}

/// The kind that serves a resource, and the alias where the group-version is not the stored one.
pub fn find_served(
    group: &str,
    version: &str,
    resource: &str,
) -> Option<(&'static Kind, Option<&'static Alias>)> {
    KINDS
        .iter()
        .filter(|kind| kind.resource == resource)
        .find_map(|kind| {
            if kind.group == group && kind.version == version {
                return Some((*kind, None));
            }
            kind.aliases
                .iter()
                .find(|alias| alias.group == group && alias.version == version)
                .map(|alias| (*kind, Some(alias)))
        })
}

/// The kind of this group, version and kind, also where it is an alias.
pub fn find_kind(gvk: &Gvk) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| {
        kind.kind == gvk.kind
            && ((kind.group == gvk.group && kind.version == gvk.version)
                || kind
                    .aliases
                    .iter()
                    .any(|alias| alias.group == gvk.group && alias.version == gvk.version))
    })
}

#[cfg(test)]
mod tests;
