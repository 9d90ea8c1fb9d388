//! Managers of `/scale`: it shows one field of its parent, which keeps the managers of both.

use serde_json::Value;

use crate::{
    element::Element,
    managers::{Identity, Managers, Operation, Owned},
    set::Set,
};

/// The API version of every Scale.
pub const VERSION: &str = "autoscaling/v1";

/// Where a version of the parent has its replicas. `None`: no such version; empty: it has none.
pub type ReplicasPath<'p> = dyn Fn(&str) -> Option<Vec<&'p str>> + 'p;

fn set_of(path: &[&str]) -> Set<'static> {
    let path: Vec<_> = path
        .iter()
        .map(|name| Element::Field((*name).to_owned().into()))
        .collect();
    let mut set = Set::default();
    set.insert(&path);
    set
}

fn owns(owned: &Owned<'_>, path: &[&str]) -> bool {
    !owned.set.intersection(&set_of(path)).is_empty()
}

/// The managers of the Scale of an object with these `metadata.managedFields`. The error is upstream's.
pub fn of_parent(parent: Option<&Value>, path: &ReplicasPath<'_>) -> Result<Option<Value>, String> {
    let mut managers = Managers::decode(parent)?;
    managers
        .0
        .retain(|_, owned| path(&owned.version).is_some_and(|path| owns(owned, &path)));
    for owned in managers.0.values_mut() {
        owned.set = set_of(&["spec", "replicas"]);
        owned.version = VERSION.into();
    }
    Ok(managers.encode())
}

/// The managers of the object after its Scale, which had those of [`of_parent`], has `scale`. `version` is the parent's in the
/// request. As upstream, who comes by the Scale has no time.
pub fn to_parent(
    parent: Option<&Value>,
    scale: Option<&Value>,
    version: &str,
    path: &ReplicasPath<'_>,
) -> Result<Option<Value>, String> {
    let before = Managers::decode(parent)?;
    let mut scale = Managers::decode(scale)?;
    let mut managers = before.clone();
    managers.0.retain(|manager, owned| {
        let Some(path) = path(&owned.version) else {
            return false;
        };
        if !owns(owned, &path) || scale.0.remove(&in_scale(manager)).is_some() {
            return true;
        }
        // Somebody else has set the replicas.
        owned.set = owned.set.difference(&set_of(&path));
        !owned.set.is_empty()
    });
    let path = path(version).unwrap_or_default();
    for (mut manager, owned) in scale.0 {
        if !owns(&owned, &["spec", "replicas"]) {
            continue;
        }
        if manager.operation == Operation::Update {
            manager.version = version.to_owned().into();
        }
        let mut set = set_of(&path);
        if let Some(there) = managers.0.get(&manager) {
            set = set.union(&there.set);
        }
        let time = before.0.get(&manager).and_then(|owned| owned.time.clone());
        let owned = Owned {
            set,
            version: version.to_owned().into(),
            time,
        };
        managers.0.insert(manager, owned);
    }
    Ok(managers.encode())
}

/// What a manager of the parent is called among those of the Scale.
fn in_scale<'a>(manager: &Identity<'a>) -> Identity<'a> {
    let mut manager = manager.clone();
    if manager.operation == Operation::Update {
        manager.version = VERSION.into();
    }
    manager
}
