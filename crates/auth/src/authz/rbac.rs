//! RBAC: roles and bindings, indexed by subject.
//!
//! The index holds, for each user and group, the rules of every role bound to it, cluster-wide or in a namespace. It is rebuilt
//! by the first request after a role or binding changed; only changed objects are parsed again (a store revision names one
//! version of one object). Readers share the index through an `ArcSwap` and never block each other.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use arc_swap::ArcSwap;
use knarr_meta::field::quote;
use parking_lot::Mutex;
use serde::Deserialize;

use super::rules::{Rule, nullable};
pub use crate::accounts::service_account_user;
use crate::{
    UserInfo,
    objects::{Object, Objects},
    request::{Authorizer, Decision, RequestInfo},
};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = [
    "clusterroles",
    "roles",
    "clusterrolebindings",
    "rolebindings",
];

/// The part of a role or binding that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parsed {
    metadata: ParsedMeta,
    #[serde(deserialize_with = "shared_rules")]
    rules: Arc<[Rule]>,
    #[serde(rename = "roleRef")]
    role_ref: RoleRef,
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ParsedMeta {
    name: String,
    namespace: String,
}

/// Reference from a binding to its role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RoleRef {
    pub api_group: String,
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

fn shared_rules<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<[Rule]>, D::Error> {
    Ok(nullable::<D, Rule>(deserializer)?.into())
}

/// One binding as it applies to one subject.
struct Grant {
    /// `None`: the role does not exist (any more).
    rules: Option<Arc<[Rule]>>,
    /// `RBAC: allowed by …`, made once.
    reason: String,
    role: RoleRef,
}

#[derive(Default)]
struct Grants {
    cluster: Vec<Arc<Grant>>,
    namespaces: HashMap<String, Vec<Arc<Grant>>>,
}

#[derive(Default)]
struct Index {
    /// What the index was built from, in the order of `RESOURCES`; `None` before the first build.
    revisions: Option<[u64; 4]>,
    parsed: [HashMap<u64, Arc<Parsed>>; 4],
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
    /// Rules by (namespace, name); ClusterRoles have an empty namespace.
    roles: HashMap<(String, String), Arc<[Rule]>>,
}

/// The RBAC authorizer.
pub struct Rbac {
    objects: Arc<dyn Objects>,
    index: ArcSwap<Index>,
    rebuilding: Mutex<()>,
}

/// What a user may do in a namespace.
#[derive(Default)]
pub struct Held {
    sets: Vec<Arc<[Rule]>>,
    /// Roles that are bound but do not exist, in upstream's words.
    pub errors: Vec<String>,
}

impl Held {
    /// Every rule.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.sets.iter().flat_map(|set| set.iter())
    }
}

impl Rbac {
    /// An empty index; the first request fills it.
    pub fn new(objects: Arc<dyn Objects>) -> Rbac {
        Rbac {
            objects,
            index: ArcSwap::default(),
            rebuilding: Mutex::new(()),
        }
    }

    fn revisions(&self) -> [u64; 4] {
        RESOURCES.map(|resource| self.objects.revision_of(GROUP, resource))
    }

    /// The index as of now.
    fn current(&self) -> arc_swap::Guard<Arc<Index>> {
        let index = self.index.load();
        if index.revisions == Some(self.revisions()) {
            return index;
        }
        drop(index);
        let _one = self.rebuilding.lock();
        let old = self.index.load_full();
        // Read before the objects: a change in between makes the next request build again.
        let revisions = self.revisions();
        if old.revisions != Some(revisions) {
            self.index
                .store(Arc::new(Index::build(&old, revisions, &*self.objects)));
        }
        self.index.load()
    }

    /// Rules of the role that a binding in `namespace` (empty: a ClusterRoleBinding) refers to.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[Rule]>> {
        self.current().role(role, namespace)
    }

    /// Everything `user` holds in `namespace` (empty: cluster-wide only).
    pub fn held(&self, user: &UserInfo, namespace: &str) -> Held {
        let mut held = Held::default();
        let index = self.current();
        let _all = index.visit(user, namespace, |grant| {
            match &grant.rules {
                Some(rules) => held.sets.push(rules.clone()),
                None => held.errors.push(not_found(&grant.role)),
            }
            ControlFlow::<()>::Continue(())
        });
        held
    }
}

/// Upstream's text for a dangling reference.
pub fn not_found(role: &RoleRef) -> String {
    format!(
        "{}.{GROUP} {} not found",
        role.kind.to_lowercase(),
        quote(&role.name)
    )
}

impl Authorizer for Rbac {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        let index = self.current();
        let namespace = if request.is_resource {
            request.namespace
        } else {
            ""
        };
        let mut errors: Vec<String> = Vec::new();
        let allowed = index.visit(user, namespace, |grant| {
            match &grant.rules {
                Some(rules) if rules.iter().any(|rule| rule.allows(request)) => {
                    return ControlFlow::Break(grant.reason.clone());
                }
                Some(_) => {}
                None => {
                    let error = not_found(&grant.role);
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
            }
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(reason) = allowed {
            return Decision::Allow { reason };
        }
        let reason = match errors.as_slice() {
            [] => String::new(),
            [error] => format!("RBAC: {error}"),
            errors => format!("RBAC: [{}]", errors.join(", ")),
        };
        Decision::NoOpinion { reason }
    }
}

impl Index {
    fn build(old: &Index, revisions: [u64; 4], objects: &dyn Objects) -> Index {
        let mut index = Index {
            revisions: Some(revisions),
            ..Index::default()
        };
        for (at, resource) in RESOURCES.into_iter().enumerate() {
            index.parsed[at] = match old.revisions {
                Some(before) if before[at] == revisions[at] => old.parsed[at].clone(),
                _ => parse_all(&old.parsed[at], objects.list(GROUP, resource, "")),
            };
        }
        for role in index.parsed[0].values().chain(index.parsed[1].values()) {
            index.roles.insert(
                (role.metadata.namespace.clone(), role.metadata.name.clone()),
                role.rules.clone(),
            );
        }
        let bindings: Vec<Arc<Parsed>> = index.parsed[2]
            .values()
            .chain(index.parsed[3].values())
            .cloned()
            .collect();
        for binding in bindings {
            index.add(&binding);
        }
        index
    }

    fn add(&mut self, binding: &Parsed) {
        let namespace = binding.metadata.namespace.as_str();
        let rules = self.role(&binding.role_ref, namespace);
        for subject in &binding.subjects {
            let of = if subject.namespace.is_empty() {
                namespace
            } else {
                &subject.namespace
            };
            let (table, key, shown) = match subject.kind.as_str() {
                "User" => (&mut self.users, subject.name.clone(), subject.name.clone()),
                "Group" => (&mut self.groups, subject.name.clone(), subject.name.clone()),
                "ServiceAccount" if !of.is_empty() => (
                    &mut self.users,
                    service_account_user(of, &subject.name),
                    format!("{}/{of}", subject.name),
                ),
                _ => continue,
            };
            let (kind, name) = match namespace {
                "" => ("ClusterRoleBinding", binding.metadata.name.clone()),
                _ => (
                    "RoleBinding",
                    format!("{}/{namespace}", binding.metadata.name),
                ),
            };
            let grant = Arc::new(Grant {
                rules: rules.clone(),
                reason: format!(
                    "RBAC: allowed by {kind} {} of {} {} to {} {}",
                    quote(&name),
                    binding.role_ref.kind,
                    quote(&binding.role_ref.name),
                    subject.kind,
                    quote(&shown)
                ),
                role: binding.role_ref.clone(),
            });
            let grants = table.entry(key).or_default();
            match namespace {
                "" => grants.cluster.push(grant),
                _ => grants
                    .namespaces
                    .entry(namespace.to_owned())
                    .or_default()
                    .push(grant),
            }
        }
    }

    fn role(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[Rule]>> {
        let namespace = match role.kind.as_str() {
            "ClusterRole" => "",
            "Role" if !namespace.is_empty() => namespace,
            _ => return None,
        };
        self.roles
            .get(&(namespace.to_owned(), role.name.clone()))
            .cloned()
    }

    /// Calls `visit` for each grant of the user and its groups, cluster-wide ones first.
    fn visit<B>(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Grant) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let of = self.users.get(&user.name).into_iter().chain(
            user.groups
                .iter()
                .filter_map(|group| self.groups.get(group)),
        );
        for grants in of.clone() {
            for grant in &grants.cluster {
                visit(grant)?;
            }
        }
        if !namespace.is_empty() {
            for grant in of
                .filter_map(|grants| grants.namespaces.get(namespace))
                .flatten()
            {
                visit(grant)?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn parse_all(old: &HashMap<u64, Arc<Parsed>>, objects: Vec<Object>) -> HashMap<u64, Arc<Parsed>> {
    let parse = |object: Object| {
        let parsed = match old.get(&object.revision) {
            Some(parsed) => parsed.clone(),
            None => match serde_json::from_slice(&object.json) {
                Ok(parsed) => Arc::new(parsed),
                Err(error) => {
                    tracing::error!(%error, revision = object.revision, "a stored role or binding is not readable; it grants nothing");
                    return None;
                }
            },
        };
        Some((object.revision, parsed))
    };
    objects.into_iter().filter_map(parse).collect()
}
