//! The objects by which machines become nodes: where the cluster is and who vouches for it, what nodes must agree on, and the accounts
//! under which their parts act.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_auth::{cluster_info, node_accounts};
use knarr_meta::object;
use serde_json::{Value, json};

use super::{Config, Error, Merge, Wanted, kind, objects};

/// As kubeadm publishes it: a kubeconfig without a user. Signatures beside it are the bootstrap signer's.
pub(super) fn cluster_info(config: &Config) -> Result<Wanted, Error> {
    let server = std::net::SocketAddr::new(config.advertise_ip, config.port);
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
