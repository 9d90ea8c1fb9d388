//! ClusterTrustBundle.

use std::collections::HashMap;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, str_at},
};
use knarr_x509::{Certificate, pem};
use serde_json::Value;

use super::validate_signer_name;
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: super::GROUP,
    version: "v1",
    kind: "ClusterTrustBundle",
    resource: "clustertrustbundles",
    singular: "clustertrustbundle",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/clustertrustbundles"),
    definition: "io.k8s.api.certificates.v1.ClusterTrustBundle",
    strategy: &TrustBundle,
    aliases: &[],
};

const BUNDLE_BYTES: usize = 1024 * 1024;

const FIELDS: &[Text] = &[text("spec.signerName")];

const COLUMNS: &[Column] = &[
    NAME,
    column("SignerName", "string", "Whose certificates it is for."),
];

struct TrustBundle;

fn signer_name(object: &Value) -> &str {
    str_at(object, &["spec", "signerName"])
}

fn trust_bundle(object: &Value) -> &str {
    str_at(object, &["spec", "trustBundle"])
}

impl Strategy for TrustBundle {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = validate_head(object);
        validate_bundle(trust_bundle(object), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = validate_head(new);
        // What was good enough once stays so.
        if trust_bundle(new) != trust_bundle(old) {
            validate_bundle(trust_bundle(new), &mut errors);
        }
        // Upstream's is no pointer: what is not there is empty.
        let of = |object| Value::from(signer_name(object));
        let path = Path::new("spec").child("signerName");
        validate::immutable(&mut errors, &path, Some(&of(new)), Some(&of(old)));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    /// The name follows from the signer's: see [`validate_name`].
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn selectable_fields(&self) -> &[Text] {
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![signer_name(object).to_owned()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let signer = match signer_name(object) {
            "" => "<none>",
            name => name,
        };
        vec![table::name(object), signer.into()]
    }
}

/// The name and the signer's name.
fn validate_head(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let signer = signer_name(object);
    let metadata = Path::new("metadata");
    for (field, value, prefix) in [
        ("generateName", object::generate_name(object), true),
        ("name", object::name(object), false),
    ] {
        if !value.is_empty() {
            let wrong = validate_name(signer, value, prefix);
            validate::each(&mut errors, &metadata.child(field), value, wrong);
        }
    }
    if !signer.is_empty() {
        validate_signer_name(signer, &Path::new("spec").child("signerName"), &mut errors);
    }
    errors
}

/// What is wrong with the name of a bundle for this signer, or for none. Upstream's `ValidateClusterTrustBundleName`.
pub(crate) fn validate_name(signer: &str, name: &str, prefix: bool) -> Vec<String> {
    let rest = if signer.is_empty() {
        if name.contains(':') {
            return vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ];
        }
        name
    } else {
        let wanted = format!("{}:", signer.replace('/', ":"));
        match name.strip_prefix(&wanted) {
            Some(rest) => rest,
            None => {
                return vec![format!(
                    "ClusterTrustBundle for signerName {signer} must be named with prefix {wanted}"
                )];
            }
        }
    };
    names::name_or_prefix(rest, prefix, names::dns1123_subdomain)
}

/// Certificates of authorities, each once.
fn validate_bundle(bundle: &str, errors: &mut ErrorList) {
    let path = Path::new("spec").child("trustBundle");
    if bundle.len() > BUNDLE_BYTES {
        errors.push(Error::too_long(&path, BUNDLE_BYTES));
        return;
    }
    let invalid = |why: String| Error::invalid(&path, "<value omitted>", why);
    let mut places: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    let before = errors.len();
    for (index, block) in pem::blocks(bundle.as_bytes()).enumerate() {
        let why = if block.label != pem::CERTIFICATE {
            format!("entry {index} has bad block type: {}", block.label)
        } else if block.has_headers {
            format!("entry {index} has PEM block headers")
        } else {
            match Certificate::from_der(&block.der) {
                Err(_) => format!("entry {index} does not parse as X.509"),
                Ok(certificate) if !certificate.is_ca => {
                    format!("entry {index} does not have the CA bit set")
                }
                Ok(_) => {
                    places.entry(block.der).or_default().push(index);
                    continue;
                }
            }
        };
        errors.push(invalid(why));
    }
    if errors.len() > before {
        return;
    }
    if places.is_empty() {
        errors.push(invalid(
            "at least one trust anchor must be provided".to_owned(),
        ));
    }
    let mut repeated: Vec<_> = places.into_values().filter(|at| at.len() > 1).collect();
    repeated.sort_unstable();
    for places in repeated {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let why = format!("duplicate trust anchor (indices [{}])", places.join(" "));
        errors.push(invalid(why));
    }
}
