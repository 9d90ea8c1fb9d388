//! Trust anchors for pods: what ClusterTrustBundles hold, each certificate once.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use knarr_client::certificates::ClusterTrustBundle;
use knarr_meta::labels::Selector;
use knarr_x509::pem;

use crate::objects::Objects;

/// Orders anchors: alike while this process runs, and differently in the next one, so that nobody relies on it.
static ORDER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// PEM of what the projection selects, as of now.
pub(super) async fn anchors(
    objects: &Objects,
    source: &ClusterTrustBundleProjection,
) -> Result<Vec<u8>, String> {
    let bundles = objects.trust_bundles().await.map_err(|e| e.to_string())?;
    let selected = select(&bundles, source)?;
    Ok(join(selected.into_iter().map(|b| &*b.spec.trust_bundle)).into_bytes())
}

fn select<'b>(
    bundles: &'b [Arc<ClusterTrustBundle>],
    source: &ClusterTrustBundleProjection,
) -> Result<Vec<&'b ClusterTrustBundle>, String> {
    let all = bundles.iter().map(|bundle| &**bundle);
    let (selected, missing): (Vec<_>, String) = if let Some(name) = &source.name {
        (
            all.filter(|bundle| bundle.metadata.name.as_ref() == Some(name))
                .collect(),
            format!(
                "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"{name}\" not found"
            ),
        )
    } else if let Some(signer) = &source.signer_name {
        // None selects nothing, an empty one everything.
        let selector = Selector::from_optional(source.label_selector.as_ref())
            .map_err(|error| format!("while parsing label selector: {error}"))?;
        (
            all.filter(|bundle| bundle.spec.signer_name == *signer)
                .filter(|bundle| selector.matches_option(bundle.metadata.labels.as_ref()))
                .collect(),
            "combination of signerName and labelSelector matched zero ClusterTrustBundles"
                .to_owned(),
        )
    } else {
        return Err(
            "ClusterTrustBundle projection requires either name or signerName to be set".to_owned(),
        );
    };
    if selected.is_empty() && source.optional != Some(true) {
        return Err(missing);
    }
    Ok(selected)
}

/// The certificates of these bundles, each once.
fn join<'b>(bundles: impl Iterator<Item = &'b str>) -> String {
    let anchors: BTreeSet<Vec<u8>> = bundles
        .flat_map(|bundle| pem::blocks(bundle.as_bytes()))
        .map(|block| block.der)
        .collect();
    let mut anchors: Vec<_> = anchors.into_iter().collect();
    anchors.sort_by_cached_key(|der| ORDER.hash_one(der));
    anchors
        .iter()
        .map(|der| pem::encode(pem::CERTIFICATE, der))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bundle(name: &str, signer: &str, label: &str, anchors: &[&str]) -> Arc<ClusterTrustBundle> {
        let anchors: String = anchors
            .iter()
            .map(|der| pem::encode(pem::CERTIFICATE, der.as_bytes()))
            .collect();
        let bundle = json!({
            "metadata": {"name": name, "labels": {"l": label}},
            "spec": {"signerName": signer, "trustBundle": format!("noise\n{anchors}")},
        });
        Arc::new(serde_json::from_value(bundle).unwrap())
    }

    #[test]
    fn anchors_are_selected_and_shown_once() {
        let bundles = [
            bundle("one", "", "a", &["x"]),
            bundle("a:b:1", "a/b", "a", &["x", "y"]),
            bundle("a:b:2", "a/b", "b", &["y", "z"]),
            bundle("c:d:1", "c/d", "a", &["w"]),
        ];
        let shown = |source: Value| -> Result<String, String> {
            let source = serde_json::from_value(source).unwrap();
            let text = join(
                select(&bundles, &source)?
                    .iter()
                    .map(|b| &*b.spec.trust_bundle),
            );
            let blocks = pem::blocks(text.as_bytes());
            let mut ders: Vec<_> = blocks
                .map(|block| String::from_utf8(block.der).unwrap())
                .collect();
            ders.sort_unstable();
            Ok(ders.concat())
        };
        let none = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
        for (source, expected) in [
            (json!({"name": "one"}), Ok("x")),
            (json!({"name": "two", "optional": true}), Ok("")),
            (
                json!({"name": "two"}),
                Err(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"two\" not found",
                ),
            ),
            (json!({"signerName": "a/b", "labelSelector": {}}), Ok("xyz")),
            (
                json!({"signerName": "a/b", "labelSelector": {"matchLabels": {"l": "b"}}}),
                Ok("yz"),
            ),
            (json!({"signerName": "a/b"}), Err(none)),
            (json!({"signerName": "a/b", "optional": true}), Ok("")),
            (json!({"signerName": "e/f", "labelSelector": {}}), Err(none)),
        ] {
            let mut source = source;
            source["path"] = "p".into();
            let shown = shown(source.clone());
            assert_eq!(shown.as_deref().map_err(|e| &**e), expected, "{source}");
        }
        let text = || join(bundles.iter().map(|b| &*b.spec.trust_bundle));
        assert_eq!(text(), text(), "the order stays");
    }
}
