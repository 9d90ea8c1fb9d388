//! Controller references: which objects a controller owns, which it adopts, which it lets go (upstream's
//! `controller_ref_manager`).

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_client::{IndexKey, Informer, Object, errors};
use knarr_meta::labels::Selector;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::runner::Error;

/// The controller that objects of a namespace name, or none: those can be adopted. A uid alone is what the author of a
/// reference wrote; in another namespace than the controller's it makes nobody its object.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ByController {
    namespace: String,
    uid: Option<String>,
}

impl<K: Owned> IndexKey<K> for ByController {
    fn keys_of(object: &K) -> Vec<Self> {
        vec![Self {
            namespace: object.namespace().to_owned(),
            uid: object.controller().map(|owner| owner.uid.to_owned()),
        }]
    }
}

/// Who controls an object, by the reference in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Controller<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

/// What is asked of objects that controllers own.
pub(crate) trait Owned: Object {
    fn uid(&self) -> &str;
    fn label(&self, key: &str) -> Option<&str>;
    fn has_labels_of(&self, other: &Self) -> bool;
    /// The managing controller, if any.
    fn controller(&self) -> Option<Controller<'_>>;
    /// It is being deleted.
    fn is_going(&self) -> bool;
}

impl<K: Resource<DynamicType = ()> + Object> Owned for K {
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }

    fn has_labels_of(&self, other: &Self) -> bool {
        self.meta().labels == other.meta().labels
    }

    fn controller(&self) -> Option<Controller<'_>> {
        let owner = controller_of(self.meta())?;
        Some(Controller {
            kind: &owner.kind,
            name: &owner.name,
            uid: &owner.uid,
        })
    }

    fn is_going(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
}

/// The objects of `namespace` whose controller has this uid.
pub(crate) fn controlled<K: Owned>(
    informer: &Informer<K>,
    namespace: &str,
    uid: &str,
) -> Vec<Arc<K>> {
    informer.by_index(&ByController {
        namespace: namespace.to_owned(),
        uid: Some(uid.to_owned()),
    })
}

/// What a controller in `namespace` has to look at: the objects it controls, and those that nobody does.
pub(crate) fn candidates<K: Owned>(
    informer: &Informer<K>,
    namespace: &str,
    uid: &str,
) -> Vec<Arc<K>> {
    let mut found = controlled(informer, namespace, uid);
    found.extend(informer.by_index(&ByController {
        namespace: namespace.to_owned(),
        uid: None,
    }));
    found
}

/// The reference to the managing controller, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// The reference by which `owner` controls; deletion of the owner waits for what it controls.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What is to be done about ownership of some candidates.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    pub owned: Vec<Arc<K>>,
    /// They match, nobody controls them.
    pub adopt: Vec<Arc<K>>,
    /// They are controlled, but match no more.
    pub release: Vec<Arc<K>>,
}

/// Sorts `candidates` (of the owner's namespace) by what `owner`, who selects by `selector`, has to do with them.
pub(crate) fn claim<K: Owned>(
    owner: &ObjectMeta,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
) -> Claims<K> {
    let mut claims = Claims {
        owned: Vec::new(),
        adopt: Vec::new(),
        release: Vec::new(),
    };
    let owner_deleting = owner.deletion_timestamp.is_some();
    for object in candidates {
        let matches = selector.matches_with(|key| object.label(key));
        match object.controller() {
            Some(controller) if Some(controller.uid) != owner.uid.as_deref() => {}
            Some(_) if matches => claims.owned.push(object),
            Some(_) if owner_deleting => {}
            Some(_) => claims.release.push(object),
            None if matches && !owner_deleting && !object.is_going() => claims.adopt.push(object),
            None => {}
        }
    }
    claims
}

/// Carries out `claims`: what the owner has then, the adopted included.
///
/// Before an adoption the owner is read live: one that is being deleted (or another one of that name) must not gain
/// objects because an informer is late.
pub(crate) async fn execute<O, K, T>(
    claims: Claims<K>,
    owner: &O,
    owners: &Api<O>,
    objects: &Api<T>,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    K: Owned,
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    execute_holding(claims, owner, owners, objects, &[]).await
}

/// As [`execute`], for owners that hold what they own by `finalizers`: the adopted get them, the released lose them.
pub(crate) async fn execute_holding<O, K, T>(
    claims: Claims<K>,
    owner: &O,
    owners: &Api<O>,
    objects: &Api<T>,
    finalizers: &[&str],
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    K: Owned,
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut owned = claims.owned;
    let owner_uid = owner.meta().uid.clone().unwrap_or_default();
    let owner_name = owner.meta().name.as_deref().unwrap_or_default();
    if !claims.adopt.is_empty() {
        let live = owners.get(owner_name).await?;
        if live.meta().uid != owner.meta().uid || live.meta().deletion_timestamp.is_some() {
            return Err(Error::Other(format!(
                "{owner_name} is gone or being deleted, it adopts nothing"
            )));
        }
    }
    for object in claims.adopt {
        let mut patch = serde_json::json!({"metadata": {
            "ownerReferences": [controller_reference(owner)],
            "uid": object.uid(),
        }});
        if !finalizers.is_empty() {
            patch["metadata"]["finalizers"] = serde_json::json!(finalizers);
        }
        let name = object.name();
        let result = objects
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if errors::optional(result)?.is_some() {
            owned.push(object);
        }
    }
    for object in claims.release {
        let mut patch = serde_json::json!({"metadata": {
            "ownerReferences": [{"$patch": "delete", "uid": owner_uid}],
            "uid": object.uid(),
        }});
        if !finalizers.is_empty() {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] =
                serde_json::json!(finalizers);
        }
        let name = object.name();
        match objects
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => {}
            // Deleted, perhaps made anew, or released by itself.
            Err(error) if errors::is_not_found(&error) || errors::is_invalid(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests;
