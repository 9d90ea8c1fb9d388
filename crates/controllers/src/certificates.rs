//! What the controllers of certificate requests share: what a request says, and for whom.

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition as Condition;
use knarr_x509::Request;

/// The service account that approves, signs and cleans.
pub(crate) const ACCOUNT: &str = "certificate-controller";

pub(crate) const APPROVED: &str = "Approved";
pub(crate) const DENIED: &str = "Denied";
pub(crate) const FAILED: &str = "Failed";

/// Certificates of kubelets as clients.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// Certificates of kubelets' servers.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

pub(crate) const NODES: &str = "system:nodes";
pub(crate) const NODE_PREFIX: &str = "system:node:";

/// The conditions of this type.
pub(crate) fn conditions<'c>(
    csr: &'c CertificateSigningRequest,
    type_: &str,
) -> impl Iterator<Item = &'c Condition> {
    csr.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .filter(move |condition| condition.type_ == type_)
}

pub(crate) fn has(csr: &CertificateSigningRequest, type_: &str) -> bool {
    conditions(csr, type_).next().is_some()
}

/// Whether a certificate was issued.
pub(crate) fn issued(csr: &CertificateSigningRequest) -> bool {
    !certificate(csr).is_empty()
}

/// PEM; empty where there is none.
pub(crate) fn certificate(csr: &CertificateSigningRequest) -> &[u8] {
    let certificate = csr.status.as_ref().and_then(|s| s.certificate.as_ref());
    certificate.map_or(&[], |certificate| &certificate.0)
}

fn usages(csr: &CertificateSigningRequest) -> BTreeSet<&str> {
    let usages = csr.spec.usages.iter().flatten();
    usages.map(String::as_str).collect()
}

/// Whether the usages are these; RSA keys need one more that others may have.
fn check_usages(csr: &CertificateSigningRequest, purpose: &str) -> Result<(), String> {
    let all = BTreeSet::from(["digital signature", "key encipherment", purpose]);
    let mut without = all.clone();
    without.remove("key encipherment");
    let usages = usages(csr);
    if usages == all || usages == without {
        return Ok(());
    }
    let all: Vec<&str> = all.into_iter().collect();
    Err(format!("usages did not match [{}]", all.join(" ")))
}

/// Why a request is none for a kubelet's client certificate. Upstream's `ValidateKubeletClientCSR`.
pub(crate) fn check_kubelet_client(
    csr: &CertificateSigningRequest,
    request: &Request,
) -> Result<(), String> {
    check_organization(request)?;
    for (names, kind) in [
        (!request.dns_names.is_empty(), "DNS"),
        (!request.email_addresses.is_empty(), "Email"),
        (!request.ip_addresses.is_empty(), "IP"),
        (!request.uris.is_empty(), "URI"),
    ] {
        if names {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    check_common_name(request)?;
    check_usages(csr, "client auth")
}

/// Why a request is none for a kubelet's server. Upstream's `ValidateKubeletServingCSR`.
pub(crate) fn check_kubelet_serving(
    csr: &CertificateSigningRequest,
    request: &Request,
) -> Result<(), String> {
    check_organization(request)?;
    if request.dns_names.is_empty() && request.ip_addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if !request.email_addresses.is_empty() {
        return Err("Email subjectAltNames are not allowed".to_owned());
    }
    if !request.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    check_usages(csr, "server auth")?;
    check_common_name(request)
}

/// Why the usages are none of a client. Upstream's `validAPIServerClientUsages`.
pub(crate) fn check_client(csr: &CertificateSigningRequest) -> Result<(), String> {
    let mut client = false;
    for usage in csr.spec.usages.iter().flatten() {
        match usage.as_str() {
            "digital signature" | "key encipherment" => {}
            "client auth" => client = true,
            other => return Err(format!("invalid usage for client certificate: {other}")),
        }
    }
    if client {
        Ok(())
    } else {
        Err("missing required usage for client certificate: client auth".to_owned())
    }
}

fn check_organization(request: &Request) -> Result<(), String> {
    if request.organizations == [NODES] {
        return Ok(());
    }
    Err(format!("subject organization is not {NODES}"))
}

fn check_common_name(request: &Request) -> Result<(), String> {
    if request.common_name.starts_with(NODE_PREFIX) {
        return Ok(());
    }
    Err(format!(
        "subject common name does not begin with {NODE_PREFIX}"
    ))
}

#[cfg(test)]
pub(crate) mod tests;
