//! IPAddress.

use std::net::IpAddr;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, str_at, struct_at},
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IPAddress",
    resource: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/ipaddresses"),
    definition: "io.k8s.api.networking.v1.IPAddress",
    strategy: &Address,
    aliases: &[],
};

struct Address;

const COLUMNS: &[Column] = &[
    NAME,
    column("ParentRef", "string", "What has the address."),
    // Upstream declares no column for the age, which its rows have.
];

impl Strategy for Address {
    /// Nothing can be added to an address.
    fn generate_name(&self, base: &str) -> String {
        base.to_owned()
    }

    fn validate_name(&self, name: &str, _generate_prefix: bool) -> Vec<String> {
        let wrong = names::ip(name);
        if !wrong.is_empty() {
            return wrong;
        }
        match name.parse::<IpAddr>().map(|ip| ip.to_string()) {
            Ok(canonical) if canonical != name => {
                vec![format!("must be in canonical form ({canonical:?})")]
            }
            _ => Vec::new(),
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_parent(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        let of = |object| at(object, &["spec", "parentRef"]);
        let path = Path::new("spec").child("parentRef");
        validate::declared_immutable(&mut errors, &path, of(new), of(old));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let parent = struct_at(object, &["spec", "parentRef"]).map(|parent| {
            let text = |field| str_at(parent, &[field]);
            let resource = match text("group") {
                "" => text("resource").to_lowercase(),
                group => format!("{}.{group}", text("resource")).to_lowercase(),
            };
            match text("namespace") {
                "" => format!("{resource}/{}", text("name")),
                namespace => format!("{resource}/{namespace}/{}", text("name")),
            }
        });
        vec![
            table::name(object),
            parent.unwrap_or_else(|| "<none>".to_owned()).into(),
            table::age(object, now),
        ]
    }
}

fn validate_parent(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("parentRef");
    let Some(parent) = struct_at(object, &["spec", "parentRef"]) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    validate::optional(errors, parent, "group", &path, names::dns1123_subdomain);
    let segment = |text: &str| names::path_segment(text, false);
    for field in ["resource", "name"] {
        validate::required(errors, parent, field, &path, segment);
    }
    validate::optional(errors, parent, "namespace", &path, segment);
}

#[cfg(test)]
mod tests;
