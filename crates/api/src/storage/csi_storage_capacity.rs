//! CSIStorageCapacity: how much can be provisioned somewhere.

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{map_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Part, Scope, Strategy, Verb},
    validate::{self, NOT_NEGATIVE},
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "CSIStorageCapacity",
    resource: "csistoragecapacities",
    singular: "csistoragecapacity",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/csistoragecapacities"),
    definition: "io.k8s.api.storage.v1.CSIStorageCapacity",
    strategy: &CsiStorageCapacity,
    aliases: &[],
};

struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(selector) = struct_at(object, &["nodeTopology"]) {
            validate_label_selector(selector, &Path::new("nodeTopology"), &mut errors);
        }
        let class = str_at(object, &["storageClassName"]);
        let messages = names::dns1123_subdomain(class);
        validate::each(&mut errors, &Path::new("storageClassName"), class, messages);
        // Upstream does not look at the maximum.
        let text = str_at(object, &["capacity"]);
        if Quantity::parse(text).is_ok_and(|amount| amount.is_negative()) {
            let path = Path::new("capacity");
            errors.push(Error::invalid(&path, text, NOT_NEGATIVE));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        for field in ["nodeTopology", "storageClassName"] {
            let (now, before) = (new.get(field), old.get(field));
            validate::immutable(&mut errors, &Path::new(field), now, before);
        }
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if let Some(topology) = struct_at(object, &["nodeTopology"]) {
            let path = Path::new("nodeTopology");
            warnings::node_selector_term(topology, false, &path, &mut out);
            for key in map_at(topology, &["matchLabels"])
                .into_iter()
                .flat_map(|map| map.keys())
            {
                if let Some(text) = warnings::node_label(key) {
                    out.at(&path.child("matchLabels").child(key.clone()), text);
                }
            }
        }
        out.into()
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}
