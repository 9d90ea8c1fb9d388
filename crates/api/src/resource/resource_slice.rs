//! ResourceSlice.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, bool_at, child_mut, i64_at, list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{GROUP, bounded, names, taints};
use crate::{
    core::pod_spec::validate_node_selector,
    kind::{BuiltIn, Column, Part, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

mod attributes;
mod capacity;
mod device;

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ResourceSlice",
    resource: "resourceslices",
    singular: "resourceslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/resourceslices"),
    definition: "io.k8s.api.resource.v1.ResourceSlice",
    strategy: &ResourceSlice,
    aliases: &[],
};

const MAX_DEVICES: usize = 128;
/// Of devices that have taints or share counters: they are larger.
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_LABEL_BYTES: usize = 63;

const FIELDS: &[Text] = &[
    text("spec.nodeName"),
    text("spec.driver"),
    text("spec.pool.name"),
];

const COLUMNS: &[Column] = &[
    NAME,
    column("Node", "string", "The node that the devices are on."),
    column("Driver", "string", "The driver that offers the devices."),
    column("Pool", "string", "The pool that the devices are of."),
    AGE,
];

struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn default(&self, object: &mut Value) {
        let Some(spec) = child_mut(object, "spec") else {
            return;
        };
        for device in tree::items(spec, "devices") {
            tree::items(device, "taints").for_each(taints::default);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        validate_slice(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        validate_slice(new, Some(old))
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let driver = str_at(object, &["spec", "driver"]);
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let quoted = knarr_meta::field::quote(driver);
        vec![format!(
            "spec.driver: driver names should be lowercase; {quoted} contains uppercase characters"
        )]
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts_dropped(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &[Text] {
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let paths: [&[&str]; 3] = [&["nodeName"], &["driver"], &["pool", "name"]];
        let spec = object.get("spec").unwrap_or(&Value::Null);
        paths.map(|path| str_at(spec, path).to_owned()).into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let mut cells = vec![table::name(object)];
        cells.extend(self.field_values(object).into_iter().map(Value::from));
        cells.push(table::age(object, now));
        cells
    }
}

fn validate_slice(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let of = |object: &'_ Value| -> Value { object.get("spec").cloned().unwrap_or_default() };
    let (spec, old) = (of(object), old.map(of));
    names::driver(
        str_at(&spec, &["driver"]),
        &path.child("driver"),
        &mut errors,
    );
    validate_pool(&spec, &path.child("pool"), &mut errors);
    if let Some(old) = &old {
        let fields: [&[&'static str]; 3] = [&["pool", "name"], &["driver"], &["nodeName"]];
        for field in fields {
            let path = field
                .iter()
                .fold(path.clone(), |path, name| path.child(*name));
            validate::immutable(&mut errors, &path, at(&spec, field), at(old, field));
        }
    }
    validate_nodes(&spec, &path, &mut errors);
    let is_set = |field| spec.get(field).is_some_and(Value::is_array);
    if is_set("sharedCounters") && is_set("devices") {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(Error::invalid(&path, "", why));
    }
    let devices = list_at(&spec, &["devices"]);
    let advanced = devices.iter().any(|device| {
        ["taints", "consumesCounters"]
            .iter()
            .any(|field| !list_at(device, &[field]).is_empty())
    });
    let max = if advanced {
        MAX_ADVANCED_DEVICES
    } else {
        MAX_DEVICES
    };
    let name = |device: &Value| str_at(device, &["name"]).to_owned();
    let before = old
        .as_ref()
        .map_or(&[][..], |old| list_at(old, &["devices"]));
    let by_itself = bool_at(&spec, &["perDeviceNodeSelection"]);
    bounded::set_of_keys(
        devices,
        max,
        &path.child("devices"),
        &mut errors,
        name,
        |device, path, errors| {
            let old = before.iter().find(|old| name(old) == name(device));
            device::validate(device, old, by_itself, path, errors);
        },
    );
    bounded::set(
        list_at(&spec, &["sharedCounters"]),
        MAX_COUNTER_SETS,
        &path.child("sharedCounters"),
        &mut errors,
        name,
        |set, path, errors| {
            names::required_label(str_at(set, &["name"]), &path.child("name"), errors);
            validate_counters(set, path, errors);
        },
    );
    errors
}

fn validate_pool(spec: &Value, path: &Path, errors: &mut ErrorList) {
    names::pool(str_at(spec, &["pool", "name"]), &path.child("name"), errors);
    let count = i64_at(spec, &["pool", "resourceSliceCount"]).unwrap_or_default();
    if count <= 0 {
        let path = path.child("resourceSliceCount");
        errors.push(Error::invalid(&path, count, "must be greater than zero"));
    }
    let generation = i64_at(spec, &["pool", "generation"]).unwrap_or_default();
    if generation < 0 {
        let path = path.child("generation");
        let why = "must be greater than or equal to zero";
        errors.push(Error::invalid(&path, generation, why));
    }
}

/// The counters of a set, or those that a device takes of it.
fn validate_counters(owner: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("counters");
    let counters = map_at(owner, &["counters"]);
    if counters.is_none_or(Map::is_empty) {
        errors.push(Error::required(&path, ""));
    }
    bounded::map(
        counters,
        Some(MAX_COUNTERS),
        MAX_LABEL_BYTES,
        &path,
        errors,
        names::label,
        |_, _, _| {},
    );
}

/// Where devices are: all of them alike, or each as it says.
fn validate_nodes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const WHY: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    match spec.get("nodeName").and_then(Value::as_str) {
        None => {}
        Some("") => {
            let why = "must be either unset or set to a non-empty string";
            errors.push(Error::invalid(&path.child("nodeName"), "", why));
        }
        Some(name) => {
            set.push("`nodeName`");
            names::node(name, &path.child("nodeName"), errors);
        }
    }
    if let Some(selector) = struct_at(spec, &["nodeSelector"]) {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        validate_node_selector(selector, &path, errors);
        let terms = list_at(selector, &["nodeSelectorTerms"]);
        if terms.len() != 1 {
            let path = path.child("nodeSelectorTerms");
            let why = "must have exactly one node selector term";
            let shown = selector.get("nodeSelectorTerms").cloned();
            errors.push(Error::invalid(&path, shown.unwrap_or_default(), why));
        }
    }
    for (field, shown) in [
        ("allNodes", "`allNodes`"),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        match spec.get(field).and_then(Value::as_bool) {
            None => {}
            Some(true) => set.push(shown),
            Some(false) => {
                let why = "must be either unset or set to true";
                errors.push(Error::invalid(&path.child(field), false, why));
            }
        }
    }
    match set.len() {
        0 => errors.push(Error::required(path, WHY)),
        1 => {}
        _ => errors.push(Error::invalid(
            path,
            format!("{{{}}}", set.join(", ")),
            format!("{WHY}, but multiple fields are set"),
        )),
    }
}
