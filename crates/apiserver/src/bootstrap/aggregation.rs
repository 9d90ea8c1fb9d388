//! The objects of API aggregation: whom aggregated servers trust, and the APIServices of the program's own group-versions.

use knarr_api::Kinds;
use knarr_auth::pki::FRONT_PROXY_NAME;
use serde_json::{Value, json};

use super::{Config, Error, Merge, Wanted, kind, objects};
use crate::aggregation::registration;

/// Where aggregated servers look, as upstream's library for them does.
const TRUST: (&str, &str) = ("kube-system", "extension-apiserver-authentication");

/// By whom aggregated servers recognize users: those with a client certificate, and those that are named by who passes requests on.
/// There is one API server here, so that what another one would have added is not kept.
pub(super) fn trust(config: &Config) -> Result<Wanted, Error> {
    let list = |text: &str| json!([text]).to_string();
    let (namespace, name) = TRUST;
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {
            "client-ca-file": config.client_ca,
            "requestheader-client-ca-file": config.front_proxy_ca,
            "requestheader-allowed-names": list(FRONT_PROXY_NAME),
            "requestheader-username-headers": list("X-Remote-User"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
        },
    });
    Ok(Wanted {
        kind: kind("", "v1", "configmaps")?,
        namespace: namespace.into(),
        name: name.into(),
        object,
        merge: |stored, wanted| objects::set(stored, wanted, &["data"]),
    })
}

/// Those of custom resources follow when their definitions do.
pub(super) fn api_services() -> Result<Vec<Wanted>, Error> {
    let kind = kind("apiregistration.k8s.io", "v1", "apiservices")?;
    let all = registration::wanted(&Kinds::built_in());
    let wanted = all.into_iter().map(|(name, wanted)| Wanted {
        kind,
        namespace: String::new(),
        name,
        object: wanted.object(),
        merge: merge_api_service,
    });
    Ok(wanted.collect())
}

/// One that somebody else looks after is fine as it is.
fn merge_api_service(stored: &mut Value, wanted: &Value) -> Merge {
    if !registration::is_managed(stored) || stored.get("spec") == wanted.get("spec") {
        return Merge::Fine;
    }
    objects::set(stored, wanted, &["spec"])
}
