//! Kinds of `certificates.k8s.io/v1` that are newer than the types of the workspace's `k8s-openapi`: what its components read and
//! write of them. They read and write like its own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::{ByteString, ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

const GROUP_VERSION: &str = "certificates.k8s.io/v1";

/// Whom to trust: certificates of authorities, by name or by the signer whose they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTrustBundle {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ClusterTrustBundleSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterTrustBundleSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signer_name: String,
    /// PEM.
    pub trust_bundle: String,
}

impl ClusterTrustBundle {
    pub fn new(metadata: ObjectMeta, spec: ClusterTrustBundleSpec) -> Self {
        Self {
            api_version: GROUP_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            metadata,
            spec,
        }
    }
}

/// What a kubelet asks a signer for, in the name of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCertificateRequest {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: PodCertificateRequestSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PodCertificateRequestStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCertificateRequestSpec {
    pub signer_name: String,
    pub pod_name: String,
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    pub service_account_name: String,
    #[serde(rename = "serviceAccountUID")]
    pub service_account_uid: String,
    pub node_name: String,
    #[serde(rename = "nodeUID")]
    pub node_uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_expiration_seconds: Option<i32>,
    #[serde(rename = "stubPKCS10Request")]
    pub stub_pkcs10_request: ByteString,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_user_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCertificateRequestStatus {
    pub conditions: Vec<Condition>,
    /// PEM, the leaf first.
    pub certificate_chain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_refresh_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl PodCertificateRequest {
    pub fn new(metadata: ObjectMeta, spec: PodCertificateRequestSpec) -> Self {
        Self {
            api_version: GROUP_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            metadata,
            spec,
            status: None,
        }
    }
}

macro_rules! resource {
    ($type:ty, $kind:literal, $path:literal, $scope:ty) => {
        impl Resource for $type {
            const API_VERSION: &'static str = GROUP_VERSION;
            const GROUP: &'static str = "certificates.k8s.io";
            const KIND: &'static str = $kind;
            const VERSION: &'static str = "v1";
            const URL_PATH_SEGMENT: &'static str = $path;
            type Scope = $scope;
        }

        impl Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(
    ClusterTrustBundle,
    "ClusterTrustBundle",
    "clustertrustbundles",
    ClusterResourceScope
);
resource!(
    PodCertificateRequest,
    "PodCertificateRequest",
    "podcertificaterequests",
    NamespaceResourceScope
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_have_the_apis_names() {
        let spec = PodCertificateRequestSpec {
            signer_name: "a.b/c".to_owned(),
            pod_uid: "u".to_owned(),
            stub_pkcs10_request: ByteString(b"x".to_vec()),
            ..Default::default()
        };
        let request = PodCertificateRequest::new(ObjectMeta::default(), spec);
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            json!({
                "apiVersion": "certificates.k8s.io/v1",
                "kind": "PodCertificateRequest",
                "metadata": {},
                "spec": {
                    "signerName": "a.b/c", "podName": "", "podUID": "u", "serviceAccountName": "", "serviceAccountUID": "",
                    "nodeName": "", "nodeUID": "", "stubPKCS10Request": "eA==",
                },
            })
        );
        let read: PodCertificateRequest = serde_json::from_value(json!({
            "metadata": {"name": "r"},
            "spec": {"podUID": "u"},
            "status": {"certificateChain": "pem", "notAfter": "2030-01-01T00:00:00Z"},
        }))
        .unwrap();
        let status = read.status.unwrap();
        assert_eq!(
            (&*read.spec.pod_uid, &*status.certificate_chain),
            ("u", "pem")
        );
        assert_eq!(status.not_after, "2030-01-01T00:00:00Z".parse().ok());
    }
}
