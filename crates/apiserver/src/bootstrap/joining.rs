//! The objects by which machines become nodes: where the cluster is and who vouches for it, what nodes must agree on, and the accounts
//! under which their parts act.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_auth::{cluster_info, node_accounts};
use knarr_meta::object;
use serde_json::{Value, json};

use super::{Config, Error, Merge, Wanted, kind, objects};

/// As kubeadm publishes it: a kubeconfig without a user. Signatures beside it are the bootstrap signer's. Of several servers it names the
/// first, so that all of them want the same.
pub(super) fn cluster_info(config: &Config, servers: &[IpAddr]) -> Result<Wanted, Error> {
    let server = servers.first().copied().unwrap_or(config.advertise_ip);
    let server = SocketAddr::new(server, config.port);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "",
            "cluster": {
                "server": format!("https://{server}"),
                "certificate-authority-data": STANDARD.encode(&config.client_ca),
            },
        }],
    });
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": cluster_info::NAME, "namespace": cluster_info::NAMESPACE},
        "data": {cluster_info::KUBECONFIG: kubeconfig.to_string()},
    });
    Ok(Wanted {
        kind: kind("", "v1", "configmaps")?,
        namespace: cluster_info::NAMESPACE.into(),
        name: cluster_info::NAME.into(),
        object,
        merge: merge_cluster_info,
    })
}

/// The kubeconfig is ours, what stands beside it is not.
fn merge_cluster_info(stored: &mut Value, wanted: &Value) -> Merge {
    let key = cluster_info::KUBECONFIG;
    if stored["data"].get(key) == wanted["data"].get(key) {
        return Merge::Fine;
    }
    match object::child_mut(stored, "data") {
        Some(data) => {
            data.insert(key.into(), wanted["data"][key].clone());
            Merge::Changed
        }
        None => Merge::Replace,
    }
}

/// Of which of the settings the stored ones say something else than this server was given: name, own, stored.
pub(super) fn disagreement<'c>(
    config: &'c Config,
    stored: &Value,
) -> Option<(&'c str, &'c str, String)> {
    config.node_settings.iter().find_map(|(key, own)| {
        let stored = object::str_at(stored, &["data", key.as_str()]);
        // What an older server does not know is no disagreement.
        let differs = !stored.is_empty() && stored != own;
        differs.then(|| (key.as_str(), own.as_str(), stored.to_owned()))
    })
}

/// What nodes read at their start; nothing where the server was told nothing.
pub(super) fn node_settings(config: &Config) -> Result<Option<Wanted>, Error> {
    if config.node_settings.is_empty() {
        return Ok(None);
    }
    let (namespace, name) = (
        cluster_info::SETTINGS_NAMESPACE,
        cluster_info::SETTINGS_NAME,
    );
    Ok(Some(Wanted {
        kind: kind("", "v1", "configmaps")?,
        namespace: namespace.into(),
        name: name.into(),
        object: json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": config.node_settings,
        }),
        merge: |stored, wanted| objects::set(stored, wanted, &["data"]),
    }))
}

/// Tokens are for accounts that exist.
pub(super) fn node_accounts() -> Result<Vec<Wanted>, Error> {
    let kind = kind("", "v1", "serviceaccounts")?;
    let wanted = node_accounts::ALL.map(|name| Wanted {
        kind,
        namespace: node_accounts::NAMESPACE.into(),
        name: name.into(),
        object: json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": node_accounts::NAMESPACE},
        }),
        merge: |_, _| Merge::Fine,
    });
    Ok(wanted.into())
}
