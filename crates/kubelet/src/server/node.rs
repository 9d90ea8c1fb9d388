//! What the node server tells of the kubelet itself: its configuration, and what it runs.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Body, typed};
use crate::{config::Config, context::Shared, labels};

pub(super) const JSON: &str = "application/json";

/// The configuration as upstream's `KubeletConfiguration`: what files say and what has been told otherwise.
pub(super) fn configz(config: &Config) -> Response<Body> {
    answer(&json!({ "kubeletconfig": configuration(config) }))
}

fn configuration(config: &Config) -> Value {
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let told = json!({
        "address": config.listen.to_string(),
        "port": config.port,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "resolvConf": config.resolv_conf.display().to_string(),
        "cgroupRoot": config.cgroup_root,
        "containerRuntimeEndpoint": config.cri_endpoint,
        "allowedUnsafeSysctls": config.allowed_unsafe_sysctls,
        "staticPodPath": path(&config.manifest_path),
        // Without what may be a secret in it, and without its headers.
        "staticPodURL": config.manifest_url.as_ref().map(ToString::to_string),
    });
    let mut tree = config.configuration.tree();
    if let (Some(tree), Value::Object(told)) = (tree.as_object_mut(), told) {
        tree.extend(told);
        tree.retain(|_, value| !value.is_null());
    }
    tree
}

/// Pods that have a running container, as the runtime has them, of the API's knowledge or not.
pub(super) fn running(ctx: &Shared) -> Response<Body> {
    let mut pods = Vec::new();
    let mut uids = ctx.observed.uids();
    uids.sort();
    for uid in uids {
        let view = ctx.observed.view(&uid);
        let containers: Vec<Value> = view
            .running()
            .map(|container| {
                let image = container.image.as_ref().map(|image| &image.image);
                json!({ "name": labels::container_name(container), "image": image, "resources": {} })
            })
            .collect();
        let Some(first) = view.running().next() else {
            continue;
        };
        let label = |name: &str| first.labels.get(name);
        pods.push(json!({
            "metadata": { "name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": uid },
            "spec": { "containers": containers },
            "status": {},
        }));
    }
    answer(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods }))
}

fn answer(tree: &Value) -> Response<Body> {
    typed(StatusCode::OK, JSON, Bytes::from(tree.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_upstreams_and_has_no_secrets() {
        let url = "https://user:secret@host/pods?token=secret"
            .parse()
            .unwrap();
        let config = Config {
            manifest_path: Some("/etc/manifests".into()),
            manifest_url: Some(url),
            cluster_dns: vec![[10, 43, 0, 10].into()],
            ..Config::default()
        };
        let tree = configuration(&config);
        assert_eq!(tree["staticPodPath"], "/etc/manifests");
        assert_eq!(tree["clusterDNS"], json!(["10.43.0.10"]));
        assert_eq!(tree["fileCheckFrequency"], "20s");
        assert!(!tree.to_string().contains("secret"), "{tree}");
        let default = configuration(&Config::default());
        assert_eq!(default.get("staticPodPath"), None);
    }
}
