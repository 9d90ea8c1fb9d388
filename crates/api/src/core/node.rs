//! Node.

use std::{cmp::Ordering, collections::BTreeSet};

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{self, at, bool_at, list_at, map_at, str_at},
};
use serde_json::{Map, Value};

use super::pod_spec::{canonicalize_resources, is_whole_resource, validate_taints};
use crate::{
    kind::{
        BuiltIn, Column, NOTHING, PROXY, Part, STATUS, Scope, Strategy, Subresource, Text, Verb,
        text,
    },
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree,
    validate::{self, NOT_NEGATIVE},
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Node",
    resource: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[
        Subresource {
            name: "proxy",
            kind: Some(("", "v1", "NodeProxyOptions")),
            verbs: PROXY,
            changes: NOTHING,
        },
        STATUS,
    ],
    storage: Some("/registry/minions"),
    definition: "io.k8s.api.core.v1.Node",
    strategy: &Node,
    aliases: &[],
};

struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Status",
        "string",
        "Whether the node is ready and schedulable.",
    ),
    column("Roles", "string", "Roles from the node's labels."),
    AGE,
    column("Version", "string", "Version of the node's kubelet."),
    wide(
        "Internal-IP",
        "string",
        "The node's address in its network.",
    ),
    wide("External-IP", "string", "The node's address outside."),
    wide("OS-Image", "string", "The operating system."),
    wide("Kernel-Version", "string", "The kernel."),
    wide("Container-Runtime", "string", "The container runtime."),
];

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec") {
            keep_ranges_in_step(spec);
        }
        let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else {
            return;
        };
        if status.get("allocatable").is_none_or(Value::is_null)
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.insert("allocatable".to_owned(), capacity);
        }
        for list in ["capacity", "allocatable"] {
            if let Some(list) = tree::existing(status, list) {
                canonicalize_resources(list);
            }
        }
    }

    /// The kubelet's configuration is no longer in the API: it stays where it is stored.
    fn prepare_create(&self, object: &mut Value) {
        for (part, field) in [("spec", "configSource"), ("status", "config")] {
            if let Some(part) = object::child_mut(object, part) {
                part.remove(field);
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => {
                tree::keep(new, old, "status");
                if at(old, &["spec", "configSource"]).is_none_or(Value::is_null)
                    && let Some(spec) = object::child_mut(new, "spec")
                {
                    spec.remove("configSource");
                }
            }
            Part::Status => {
                tree::keep(new, old, "spec");
                if at(old, &["status", "config"]).is_none_or(Value::is_null)
                    && let Some(status) = object::child_mut(new, "status")
                {
                    status.remove("config");
                }
            }
            Part::Subresource(_) => {}
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let taints = list_at(object, &["spec", "taints"]);
        // Upstream reports taints under metadata.
        validate_taints(taints, &Path::new("metadata").child("taints"), &mut errors);
        validate_resources(object, &mut errors);
        validate_declared_features(object, &mut errors);
        validate_pod_cidrs(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = if part == Part::Main {
            self.validate_create(new)
        } else {
            let mut errors = ErrorList::new();
            validate_resources(new, &mut errors);
            validate_declared_features(new, &mut errors);
            errors
        };
        let mut seen = BTreeSet::new();
        for (index, address) in list_at(new, &["status", "addresses"]).iter().enumerate() {
            let key = (str_at(address, &["type"]), str_at(address, &["address"]));
            if !seen.insert(key) {
                let path = Path::new("status").child("addresses").index(index);
                errors.push(Error::duplicate(&path, address.clone()));
            }
        }
        let spec = Path::new("spec");
        let before = list_at(old, &["spec", "podCIDRs"]);
        if !before.is_empty() && before != list_at(new, &["spec", "podCIDRs"]) {
            errors.push(Error::forbidden(
                &spec.child("podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        let provider = str_at(old, &["spec", "providerID"]);
        let wanted = str_at(new, &["spec", "providerID"]);
        if !provider.is_empty() && provider != wanted {
            let how = if wanted.is_empty() {
                "cleared"
            } else {
                "modified"
            };
            let why = format!("field cannot be {how} once set");
            errors.push(Error::invalid(&spec.child("providerID"), Value::Null, why));
        }
        let external = |object| str_at(object, &["spec", "externalID"]);
        if external(new) != external(old) {
            errors.push(Error::forbidden(
                &spec.child("externalID"),
                "may not be updated",
            ));
        }
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if part != Part::Main {
            return out.into();
        }
        if !str_at(object, &["spec", "externalID"]).is_empty() {
            out.add("spec.externalID: this field is deprecated, and is unused by Kubernetes");
        }
        if at(object, &["spec", "configSource"]).is_some() {
            out.add("spec.configSource: the feature is removed");
        }
        let path = Path::new("spec").child("podCIDRs");
        for (index, range) in list_at(object, &["spec", "podCIDRs"]).iter().enumerate() {
            warnings::cidr(
                &path.index(index),
                range.as_str().unwrap_or_default(),
                &mut out,
            );
        }
        out.into()
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("spec.unschedulable")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![bool_at(object, &["spec", "unschedulable"]).to_string()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let info = |field| str_at(object, &["status", "nodeInfo", field]);
        let mut kernel = match info("kernelVersion") {
            "" => "<unknown>".to_owned(),
            version => version.to_owned(),
        };
        if !info("architecture").is_empty() {
            kernel += &format!(" ({})", info("architecture"));
        }
        vec![
            table::name(object),
            status(object).into(),
            table::or(&roles(object), "<none>"),
            table::age(object, now),
            info("kubeletVersion").into(),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            table::or(info("osImage"), "<unknown>"),
            kernel.into(),
            table::or(info("containerRuntimeVersion"), "<unknown>"),
        ]
    }
}

fn status(node: &Value) -> String {
    let ready = list_at(node, &["status", "conditions"])
        .iter()
        .rev()
        .find(|condition| str_at(condition, &["type"]) == "Ready");
    let mut status = match ready {
        Some(condition) if str_at(condition, &["status"]) == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if bool_at(node, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = object::labels(node)
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => Some(value),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    roles.join(",")
}

fn address(node: &Value, kind: &str) -> Value {
    list_at(node, &["status", "addresses"])
        .iter()
        .find(|address| str_at(address, &["type"]) == kind)
        .map_or("<none>", |address| str_at(address, &["address"]))
        .into()
}

fn validate_resources(node: &Value, errors: &mut ErrorList) {
    for list in ["capacity", "allocatable"] {
        for (name, value) in map_at(node, &["status", list]).into_iter().flatten() {
            let path = Path::new("status").child(list).child(name.clone());
            let text = value.as_str().unwrap_or_default();
            match Quantity::parse(text) {
                Ok(quantity) => {
                    if quantity.is_negative() {
                        errors.push(Error::invalid(&path, text, NOT_NEGATIVE));
                    }
                    if is_whole_resource(name) && !quantity.is_integer() {
                        errors.push(Error::invalid(&path, text, "must be an integer"));
                    }
                }
                Err(error) => errors.push(Error::invalid(&path, value.clone(), error.to_string())),
            }
        }
    }
}

/// What the kubelet says it can do: names in order, each once.
fn validate_declared_features(node: &Value, errors: &mut ErrorList) {
    const LONGEST: usize = 253;
    let path = Path::new("status").child("declaredFeatures");
    let mut before: Option<&str> = None;
    for (index, feature) in list_at(node, &["status", "declaredFeatures"])
        .iter()
        .enumerate()
    {
        let (path, name) = (path.index(index), feature.as_str().unwrap_or_default());
        match before.map(|before| before.cmp(name)) {
            Some(Ordering::Equal) => errors.push(Error::duplicate(&path, name)),
            Some(Ordering::Greater) => {
                errors.push(Error::invalid(
                    &path,
                    name,
                    "list must be sorted alphabetically",
                ));
            }
            Some(Ordering::Less) | None => {}
        }
        before = Some(name);
        let why = match () {
            () if name.len() > LONGEST => format!("must be no more than {LONGEST} characters"),
            () if !is_feature(name) => "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes".to_owned(),
            () => continue,
        };
        let why = format!("invalid feature name {name:?}: {why}");
        errors.push(Error::invalid(&path, name, why));
    }
}

/// Segments of letters and digits, the first of which starts with a capital, and the others with a letter.
fn is_feature(name: &str) -> bool {
    let mut segments = name.split('/');
    let first = segments.next().unwrap_or_default();
    let starts =
        |segment: &str, is: fn(&char) -> bool| segment.chars().next().is_some_and(|c| is(&c));
    name.bytes().all(|b| b == b'/' || b.is_ascii_alphanumeric())
        && starts(first, char::is_ascii_uppercase)
        && segments.all(|segment| starts(segment, char::is_ascii_alphabetic))
}

/// The range of old clients and the ranges of newer ones say the same; where they do not, the one of old clients counts.
fn keep_ranges_in_step(spec: &mut Map<String, Value>) {
    let ranges = spec.get("podCIDRs").and_then(Value::as_array);
    let first = ranges.and_then(|ranges| ranges.first()).cloned();
    let one = tree::text(spec, "podCIDR").to_owned();
    if one.is_empty() {
        if let Some(first) = first {
            spec.insert("podCIDR".to_owned(), first);
        }
    } else if first.as_ref().and_then(Value::as_str) != Some(&one) {
        spec.insert("podCIDRs".to_owned(), vec![Value::from(one)].into());
    }
}

fn validate_pod_cidrs(node: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("podCIDRs");
    let cidrs = list_at(node, &["spec", "podCIDRs"]);
    let texts = cidrs.iter().map(|cidr| cidr.as_str().unwrap_or_default());
    for (index, text) in texts.clone().enumerate() {
        validate::each(errors, &path.index(index), text, names::cidr(text));
    }
    if cidrs.len() < 2 {
        return;
    }
    let mut families = Vec::new();
    for (index, text) in texts.enumerate() {
        let Some(first) = names::lenient_cidr(text) else {
            errors.push(Error::internal(
                &path,
                format!(
                    "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR address: {text})"
                ),
            ));
            break;
        };
        families.push(first.is_ipv6());
    }
    let one_each = cidrs.len() == 2 && matches!(families[..], [first, second] if first != second);
    if !one_each {
        errors.push(Error::invalid(
            &path,
            cidrs.to_vec(),
            "may specify no more than one CIDR for each IP family",
        ));
    }
}
