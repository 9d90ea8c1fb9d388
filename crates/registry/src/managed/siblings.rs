//! The other versions of a custom resource, in which managers own fields of an object.
//!
//! Who owns what is found out in one go, which cannot wait. A conversion by a webhook that it lacks is written down and fails it; who
//! asked has what was written down converted, and asks again. What was converted is kept until the request ends, so that each
//! object goes to the webhook once.

use std::{collections::HashMap, sync::Arc};

use knarr_api::Kind;
use knarr_meta::types::{Gvk, split_api_version};
use parking_lot::Mutex;
use serde_json::Value;

use super::take;
use crate::{Registry, catalog::Snapshot};

/// How often a write is thought through anew for the sake of conversions. Each is of a version in which a manager owns fields, and
/// pruning takes a few of each.
pub const ROUNDS: usize = 64;

/// The versions of a kind that was made of a definition, for one request.
pub struct Siblings {
    snapshot: Arc<Snapshot>,
    conversions: Mutex<Conversions>,
}

#[derive(Default)]
struct Conversions {
    /// By the object's JSON and the wanted version: the object, or why there is none.
    known: HashMap<(String, String), Result<Value, String>>,
    missing: Vec<Missing>,
}

struct Missing {
    key: (String, String),
    object: Value,
}

impl Siblings {
    /// Of what is served while a request runs.
    pub fn new(snapshot: Arc<Snapshot>) -> Siblings {
        Siblings {
            snapshot,
            conversions: Mutex::default(),
        }
    }

    /// Another served version of a kind.
    pub(super) fn find(&self, of: &Kind, version: &str) -> Option<&Kind> {
        let (group, version) = split_api_version(version);
        let gvk = Gvk {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: of.kind.clone(),
        };
        let found = &**self.snapshot.kinds.find_kind(&gvk)?;
        (found.storage == of.storage).then_some(found)
    }

    /// An object in another version: where a webhook makes it, if it has been asked already.
    pub(super) fn convert(&self, object: &Value, to: &Kind) -> Result<Value, String> {
        let mut object = object.clone();
        if to.strategy.conversion().is_none() {
            to.from_stored(&mut object);
            return Ok(object);
        }
        // As upstream: whose fields they are is no part of what is converted.
        take(&mut object);
        let key = (object.to_string(), to.api_version().into_owned());
        let mut conversions = self.conversions.lock();
        if let Some(known) = conversions.known.get(&key) {
            return known.clone();
        }
        conversions.missing.push(Missing { key, object });
        Err("it has not been converted yet".to_owned())
    }

    fn missing(&self) -> Vec<Missing> {
        std::mem::take(&mut self.conversions.lock().missing)
    }
}

impl Registry {
    /// Has converted what was asked for in vain. Whether there was anything.
    pub(crate) async fn convert_missing(&self, kind: &Kind, siblings: &Siblings) -> bool {
        let missing = siblings.missing();
        let any = !missing.is_empty();
        for Missing { key, object } in missing {
            let converted = match siblings.find(kind, &key.1) {
                Some(to) => self.in_version(to, object).await,
                None => Ok(object),
            };
            let converted = converted.map_err(|status| status.message);
            let mut conversions = siblings.conversions.lock();
            conversions.known.insert(key, converted);
        }
        any
    }
}
