//! Secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, str_at},
};
use serde_json::{Map, Value};

use super::MAX_DATA_SIZE_BYTES;
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Secret",
    resource: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/secrets"),
    definition: "io.k8s.api.core.v1.Secret",
    strategy: &Secret,
    aliases: &[],
};

struct Secret;

const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "What the data is for."),
    column("Data", "string", "Number of entries."),
    AGE,
];

impl Strategy for Secret {
    /// `stringData` is write-only: it goes into `data`.
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else {
            return;
        };
        tree::default_str(map, "type", "Opaque");
        if let Some(Value::Object(texts)) = map.remove("stringData")
            && !texts.is_empty()
            && let Some(data) = tree::child(map, "data")
        {
            for (key, value) in texts {
                let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
                data.insert(key, encoded.into());
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let data = Path::new("data");
        let length = validate::base64_length;
        let total = validate::data(&mut errors, object.get("data"), &data, length);
        if total > MAX_DATA_SIZE_BYTES {
            errors.push(Error::too_long(&data, MAX_DATA_SIZE_BYTES));
        }
        validate_type(object, &data, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate::immutable(
            &mut errors,
            &Path::new("type"),
            new.get("type"),
            old.get("type"),
        );
        validate::finalizers(&mut errors, new);
        validate::frozen(&mut errors, new, old, &["data"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("type")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![str_at(object, &["type"]).to_owned()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let count = object::map_at(object, &["data"]).map_or(0, Map::len);
        vec![
            table::name(object),
            str_at(object, &["type"]).into(),
            count.into(),
            table::age(object, now),
        ]
    }
}

/// Keys that each well-known type must have.
fn validate_type(object: &Value, data: &Path, errors: &mut ErrorList) {
    let has = |key: &str| {
        object
            .get("data")
            .is_some_and(|data| data.get(key).is_some())
    };
    let mut require = |key: &str| {
        if !has(key) {
            errors.push(Error::required(&data.key(key), ""));
        }
    };
    match str_at(object, &["type"]) {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if object::annotation(object, ACCOUNT).is_none_or(str::is_empty) {
                let path = Path::new("metadata").child("annotations").key(ACCOUNT);
                errors.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => validate_json(object, data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => {
            validate_json(object, data, ".dockerconfigjson", errors);
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if str_at(object, &["data", "ssh-privatekey"]).is_empty() => {
            errors.push(Error::required(&data.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

/// The entry must hold a JSON object. The message does not show what is there.
fn validate_json(object: &Value, data: &Path, key: &str, errors: &mut ErrorList) {
    let Some(encoded) = object::at(object, &["data", key]).and_then(Value::as_str) else {
        errors.push(Error::required(&data.key(key), ""));
        return;
    };
    let parsed = STANDARD
        .decode(encoded)
        .map_err(|error| error.to_string())
        .and_then(|bytes| {
            serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|error| error.to_string())
        });
    if let Err(error) = parsed {
        errors.push(Error::invalid(
            &data.key(key),
            "<secret contents redacted>",
            error,
        ));
    }
}
