//! Parameters that the v2 document writes once and refers to, as upstream's does: most operations have the same.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Value, json};

/// What old clients look for in the operations themselves: kubectl asks by them whether a server knows dry runs and validates
/// fields.
const INLINE: [&str; 3] = ["name", "dryRun", "fieldValidation"];
/// Bodies of other definitions are of one kind only.
const GENERIC_BODY: &str = "#/definitions/io.k8s.apimachinery";
/// Of the hash in a name.
const HASH_BYTES: usize = 6;

/// The parameters that were referred to, by their names in the document.
#[derive(Default)]
pub(super) struct Shared(BTreeMap<String, Value>);

impl Shared {
    /// What stands in an operation for a parameter: itself, or a reference.
    pub(super) fn place(&mut self, parameter: Value) -> Value {
        let name = parameter["name"].as_str().unwrap_or_default();
        let is_body = parameter["in"] == "body";
        let reference = parameter["schema"]["$ref"].as_str().unwrap_or_default();
        if INLINE.contains(&name) || (is_body && !reference.starts_with(GENERIC_BODY)) {
            return parameter;
        }
        let key = format!("{name}-{}", hash(&parameter.to_string()));
        let reference = json!({"$ref": format!("#/parameters/{key}")});
        self.0.entry(key).or_insert(parameter);
        reference
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// FNV-1, 64 bits, of which the first six bytes are kept.
fn hash(text: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
    }
    base64::engine::general_purpose::URL_SAFE.encode(&hash.to_be_bytes()[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_look_for_stays_where_it_is() {
        let query = |name: &str| json!({"name": name, "in": "query", "type": "string"});
        let body = |of: &str| json!({"name": "body", "in": "body", "schema": {"$ref": format!("#/definitions/{of}")}});
        let cases = [
            (query("limit"), true),
            (query("dryRun"), false),
            (query("fieldValidation"), false),
            (
                json!({"name": "name", "in": "path", "type": "string"}),
                false,
            ),
            (body("io.k8s.apimachinery.pkg.apis.meta.v1.Patch"), true),
            (body("io.k8s.api.core.v1.Pod"), false),
        ];
        let mut shared = Shared::default();
        for (parameter, is_shared) in cases {
            let placed = shared.place(parameter.clone());
            assert_eq!(placed.get("$ref").is_some(), is_shared, "{parameter}");
            assert_eq!(placed == parameter, !is_shared, "{parameter}");
        }
        assert_eq!(shared.iter().count(), 2);
        assert_eq!(shared.place(query("limit")), shared.place(query("limit")));
    }

    #[test]
    fn names_end_with_upstreams_hash() {
        // Go's fnv.New64 of "a", which starts with these bytes.
        assert_eq!(
            hash("a"),
            base64::engine::general_purpose::URL_SAFE.encode([0xaf, 0x63, 0xbd, 0x4c, 0x86, 0x01])
        );
    }
}
