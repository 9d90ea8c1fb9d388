//! Since when uses of Secrets' tokens are noted: what was not used before that day says nothing about a token (upstream's
//! `pkg/controlplane/controller/legacytokentracking`).

use knarr_auth::tokens::legacy;
use knarr_meta::{clock, object};
use serde_json::{Value, json};

use super::{Error, Merge, Wanted, kind};

pub(super) fn since() -> Result<Wanted, Error> {
    let (namespace, name) = (legacy::TRACKING_NAMESPACE, legacy::TRACKING_NAME);
    Ok(Wanted {
        kind: kind("", "v1", "configmaps")?,
        namespace: namespace.into(),
        name: name.into(),
        object: json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {legacy::TRACKING_SINCE: legacy::date(clock::now())},
        }),
        merge,
    })
}

/// A day that is told stays.
fn merge(stored: &mut Value, wanted: &Value) -> Merge {
    let key = legacy::TRACKING_SINCE;
    let told = object::str_at(stored, &["data", key]);
    if legacy::parse(told).is_some() {
        return Merge::Fine;
    }
    let today = wanted["data"][key].clone();
    match stored.get_mut("data") {
        Some(Value::Object(data)) => {
            data.insert(key.into(), today);
        }
        _ => stored["data"] = json!({key: today}),
    }
    Merge::Changed
}
