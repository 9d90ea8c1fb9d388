//! The definitions of the kinds, as they are installed where nobody has.

use serde_json::Value;

/// Says that a definition is ours, and as which of our own versions of it.
pub const REVISION_ANNOTATION: &str = "gateway.knarr.dev/definition";
/// Raised whenever one of them changes.
pub const REVISION: &str = "1";

/// By name, with the version of them that is read.
pub const ALL: [(&str, &str, &str); 5] = [
    (
        "gatewayclasses.gateway.networking.k8s.io",
        "v1",
        include_str!("definitions/gatewayclasses.yaml"),
    ),
    (
        "gateways.gateway.networking.k8s.io",
        "v1",
        include_str!("definitions/gateways.yaml"),
    ),
    (
        "httproutes.gateway.networking.k8s.io",
        "v1",
        include_str!("definitions/httproutes.yaml"),
    ),
    (
        "grpcroutes.gateway.networking.k8s.io",
        "v1",
        include_str!("definitions/grpcroutes.yaml"),
    ),
    (
        "referencegrants.gateway.networking.k8s.io",
        "v1beta1",
        include_str!("definitions/referencegrants.yaml"),
    ),
];

/// One of them, marked as ours.
///
/// # Errors
/// None: what is built in can be read.
pub fn read(text: &str) -> Result<Value, serde_saphyr::Error> {
    let mut tree: Value = serde_saphyr::from_str(text)?;
    tree["metadata"]["annotations"][REVISION_ANNOTATION] = REVISION.into();
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    use super::*;

    /// The release that they are of.
    const RELEASE: &str = "v1.7.0";

    #[test]
    fn definitions_say_what_is_read() {
        for (name, version, text) in ALL {
            let tree = read(text).expect("YAML");
            let annotations = &tree["metadata"]["annotations"];
            assert_eq!(
                annotations["gateway.networking.k8s.io/bundle-version"],
                RELEASE
            );
            let read: CustomResourceDefinition =
                serde_json::from_value(tree).expect("a definition");
            assert_eq!(read.metadata.name.as_deref(), Some(name));
            assert_eq!(
                format!("{}.{}", read.spec.names.plural, read.spec.group),
                name
            );
            let served = read.spec.versions.iter();
            let served: Vec<&str> = served
                .filter(|one| one.served)
                .map(|one| one.name.as_str())
                .collect();
            assert!(served.contains(&version), "{name}: {served:?}");
            let stored = read.spec.versions.iter().filter(|one| one.storage);
            assert_eq!(stored.count(), 1, "{name}");
            for version in read.spec.versions {
                let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
                let schema = schema.expect("a schema");
                assert!(schema.description.is_some(), "{name}");
                assert!(
                    schema
                        .properties
                        .is_some_and(|all| all.contains_key("spec"))
                );
            }
        }
    }
}
