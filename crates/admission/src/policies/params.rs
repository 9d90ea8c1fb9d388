//! The objects that parameterize policies, as upstream's `CollectParams`.

use std::sync::Arc;

use knarr_api::{Kind, Kinds, Served};
use knarr_auth::objects::{Object, Objects};
use knarr_meta::{Gvk, object, types::split_api_version};
use serde_json::Value;

use super::{
    Binding, Policy,
    found::{Found, Of},
    hook::ParamRef,
};
use crate::{matching::request_namespace, parse, request::AdmissionRequest};

/// Most parameters that a binding keeps as they were read: each is an object in memory.
const MAX_KEPT: usize = 100;

/// The kind of a policy's parameters; none where it has none.
///
/// # Errors
/// In upstream's words where nobody serves it.
pub fn kind<C>(policy: &Policy<C>, kinds: &Kinds) -> Result<Option<Served>, String> {
    let Some((api_version, kind)) = &policy.param_kind else {
        return Ok(None);
    };
    let (group, version) = split_api_version(api_version);
    let gvk = Gvk::new(group.to_owned(), version.to_owned(), kind.clone());
    let unknown = || format!("failed to find resource referenced by paramKind: '{gvk}'");
    let found = kinds.find_kind(&gvk).filter(|kind| kind.storage.is_some());
    let found = found.and_then(|kind| {
        let mut served = Served::all(kind);
        served.find(|served| served.group() == group && served.version() == version)
    });
    found.map(Some).ok_or_else(unknown)
}

/// The parameters that a binding brings: one that is none where it asks for none.
///
/// # Errors
/// Why a policy cannot be asked through it.
pub fn of(
    binding: &Binding,
    kind: Option<&Served>,
    request: &AdmissionRequest<'_>,
    objects: &dyn Objects,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    // A reference where the policy has no parameters is ignored; parameters that are not referred to are null.
    let (Some(served), Some(reference)) = (kind, &binding.param) else {
        return Ok(vec![None]);
    };
    let namespace = namespace(reference, &served.kind, request)?;
    let found = find(binding, reference, served, namespace, objects)?;
    if found.params.is_empty() && reference.denies_missing {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        );
    }
    Ok(found.params.iter().cloned().map(Some).collect())
}

fn namespace<'r>(
    reference: &'r ParamRef,
    kind: &Arc<Kind>,
    request: &'r AdmissionRequest<'_>,
) -> Result<&'r str, String> {
    match (kind.namespaced(), &*reference.namespace) {
        (true, "") => match request_namespace(request) {
            "" => Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()),
            namespace => Ok(namespace),
        },
        (true, namespace) => Ok(namespace),
        (false, "") => Ok(""),
        (false, _) => {
            Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned())
        }
    }
}

fn find(
    binding: &Binding,
    reference: &ParamRef,
    served: &Served,
    namespace: &str,
    objects: &dyn Objects,
) -> Result<Arc<Found>, String> {
    let kind = &served.kind;
    let named = match &*reference.name {
        "" => None,
        name => Some(objects.get(&kind.group, &kind.resource, namespace, name)),
    };
    let of = Of {
        kind: kind.clone(),
        version: served.version().to_owned(),
        namespace: namespace.to_owned(),
        // Read before the objects: a change in between makes the next request read them again.
        revision: match &named {
            Some(named) => named.as_ref().map(|named| named.revision),
            None => Some(objects.revision_of(&kind.group, &kind.resource)),
        },
    };
    if let Some(found) = &*binding.found.lock()
        && found.of.is_same(&of)
    {
        return Ok(found.clone());
    }
    let params = match (&named, &reference.selector) {
        (Some(named), _) => named
            .iter()
            .filter_map(|named| read(served, named))
            .map(Arc::new)
            .collect(),
        (None, Some(selector)) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let all = objects.list(&kind.group, &kind.resource, namespace);
            let read = all.iter().filter_map(|found| read(served, found));
            read.filter(|found| selector.matches_with(|key| object::label(found, key)))
                .map(Arc::new)
                .collect()
        }
        (None, None) => return Err("one of name or selector must be provided".to_owned()),
    };
    let found = Arc::new(Found { of, params });
    let kept = (found.params.len() <= MAX_KEPT).then(|| found.clone());
    *binding.found.lock() = kept;
    Ok(found)
}

/// A stored object in the version that a policy names.
fn read(served: &Served, stored: &Object) -> Option<Value> {
    let mut tree = parse(stored)?;
    served.kind.from_stored(&mut tree);
    if let Some(alias) = served.alias() {
        tree = (alias.decode)(tree);
    }
    if let Some(metadata) = object::metadata_mut(&mut tree) {
        let revision = stored.revision.to_string();
        metadata.insert("resourceVersion".to_owned(), revision.into());
    }
    Some(tree)
}
