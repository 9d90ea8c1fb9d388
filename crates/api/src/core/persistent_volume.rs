//! PersistentVolume.

mod affinity;
mod source;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, annotation, at, list_at, map_at, str_at, struct_at},
    time,
};
use serde_json::{Map, Value, json};

use super::{
    persistent::{
        class, short_modes, validate_access_modes, validate_amount, validate_positive,
        validate_volume_mode, volume_mode,
    },
    pod_spec::{canonicalize_resources, validate_node_selector},
    volume_sources,
};
use crate::{
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "PersistentVolume",
    resource: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/persistentvolumes"),
    definition: "io.k8s.api.core.v1.PersistentVolume",
    strategy: &PersistentVolume,
    aliases: &[],
};

/// Annotations that fields have taken the place of.
const DEPRECATED_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "volume.beta.kubernetes.io/storage-class",
        "deprecated since v1.8; use \"storageClassName\" attribute instead",
    ),
    (
        "volume.beta.kubernetes.io/mount-options",
        "deprecated since v1.31; use \"mountOptions\" attribute instead",
    ),
];
/// Volumes of plugins that are gone, by field as it is told: one is told with other letters than it has.
const DEPRECATED_SOURCES: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

struct PersistentVolume;

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const MOUNT_OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";

const COLUMNS: &[Column] = &[
    NAME,
    column("Capacity", "string", "How much the volume holds."),
    column("Access Modes", "string", "How the volume can be mounted."),
    column(
        "Reclaim Policy",
        "string",
        "What becomes of the volume once its claim is gone.",
    ),
    column("Status", "string", "Whether a claim has the volume."),
    column("Claim", "string", "The claim that has the volume."),
    column("StorageClass", "string", "The volume's class."),
    column(
        "VolumeAttributesClass",
        "string",
        "The class of the volume's attributes.",
    ),
    column("Reason", "string", "Why the volume has failed."),
    AGE,
    wide("VolumeMode", "string", "A file system or a block device."),
];

/// Where a spec stands: of a volume, or inline in an attachment, which has no capacity and no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context<'a> {
    /// That of a PersistentVolume of this name.
    Volume(&'a str),
    Inline,
}

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        if let Some(status) = object::child_mut(object, "status") {
            tree::default_str(status, "phase", "Pending");
        }
        if let Some(spec) = object::child_mut(object, "spec") {
            tree::default_str(spec, "persistentVolumeReclaimPolicy", "Retain");
            tree::default_value(spec, "volumeMode", "Filesystem");
            if let Some(capacity) = tree::existing(spec, "capacity") {
                canonicalize_resources(capacity);
            }
            volume_sources::default(spec);
        }
    }

    /// The one strategy that asks the clock: the time of a phase is the server's.
    fn prepare_create(&self, object: &mut Value) {
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": time::now_seconds()});
        tree::set(object, "status", status);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => tree::keep(new, old, "status"),
            Part::Status => {
                tree::keep(new, old, "spec");
                note_transition(new, old);
            }
            Part::Subresource(_) => {}
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let context = Context::Volume(object::name(object));
        validate_spec(spec, context, &Path::new("spec"), &mut errors);
        if annotation(object, MOUNT_OPTIONS_ANNOTATION).is_some() && !source::takes_options(spec) {
            errors.push(Error::forbidden(
                &Path::new("metadata")
                    .child("annotations")
                    .child(MOUNT_OPTIONS_ANNOTATION),
                "may not specify mount options for this volume type",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part != Part::Main {
            return ErrorList::new();
        }
        let mut errors = self.validate_create(new);
        let changes = source::changes(new, old);
        if !changes.is_empty() {
            errors.push(Error::forbidden(
                &Path::new("spec").child("persistentvolumesource"),
                format!(
                    "spec.persistentvolumesource is immutable after creation\n{}",
                    changes.join("\n")
                ),
            ));
        }
        let field = |object, name| at(object, &["spec", name]);
        // Upstream leaves "spec" out of these paths.
        let mode = "volumeMode";
        let (now, before) = (field(new, mode), field(old, mode));
        validate::immutable(&mut errors, &Path::new(mode), now, before);
        let (now, before) = (field(new, "nodeAffinity"), field(old, "nodeAffinity"));
        if let Some(before) = before.filter(|before| before.is_object())
            && !affinity::is_kept(now, before)
        {
            errors.push(Error::invalid(
                &Path::new("nodeAffinity"),
                now.cloned().unwrap_or_default(),
                "field is immutable, except for updating from beta label to GA",
            ));
        }
        let attributes = |object| str_at(object, &["spec", "volumeAttributesClassName"]);
        if !attributes(old).is_empty() && attributes(new).is_empty() {
            errors.push(Error::forbidden(
                &Path::new("spec").child("volumeAttributesClassName"),
                "update from non-nil value to nil is forbidden",
            ));
        }
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if part != Part::Main {
            return out.into();
        }
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        warnings::annotations(
            metadata,
            DEPRECATED_ANNOTATIONS,
            &Path::new("metadata"),
            &mut out,
        );
        let spec = Path::new("spec");
        if str_at(object, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
            out.at(
                &spec.child("persistentVolumeReclaimPolicy"),
                "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            );
        }
        let terms = ["spec", "nodeAffinity", "required", "nodeSelectorTerms"];
        let path = spec
            .child("nodeAffinity")
            .child("required")
            .child("nodeSelectorTerms");
        for (index, term) in list_at(object, &terms).iter().enumerate() {
            warnings::node_selector_term(term, false, &path.index(index), &mut out);
        }
        for (field, text) in DEPRECATED_SOURCES {
            let name = match *field {
                "storageOS" => "storageos",
                name => name,
            };
            if struct_at(object, &["spec", name]).is_some() {
                out.at(&spec.child(*field), text);
            }
        }
        out.into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let spec = |field| str_at(object, &["spec", field]);
        let claim = struct_at(object, &["spec", "claimRef"]).map(|claim| {
            let part = |field| str_at(claim, &[field]);
            format!("{}/{}", part("namespace"), part("name"))
        });
        let phase = match object::deletion_timestamp(object) {
            Some(_) => "Terminating",
            None => str_at(object, &["status", "phase"]),
        };
        vec![
            table::name(object),
            table::or(str_at(object, &["spec", "capacity", "storage"]), "0"),
            short_modes(object, "spec").into(),
            spec("persistentVolumeReclaimPolicy").into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            class(object).into(),
            table::or(spec("volumeAttributesClassName"), "<unset>"),
            str_at(object, &["status", "reason"]).into(),
            table::age(object, now),
            volume_mode(object),
        ]
    }
}

/// A phase that changes gets the time, where its writer has said none; one that stays keeps its own.
fn note_transition(new: &mut Value, old: &Value) {
    const TIME: &str = "lastPhaseTransitionTime";
    let of = |object, field| str_at(object, &["status", field]).to_owned();
    let said = of(new, TIME);
    if of(new, "phase") == of(old, "phase") {
        if said.is_empty()
            && let Some(time) = at(old, &["status", TIME]).cloned()
            && let Some(status) = object::child_mut(new, "status")
        {
            status.insert(TIME.to_owned(), time);
        }
        return;
    }
    if (said.is_empty() || said == of(old, TIME))
        && let Some(status) = object::child_mut(new, "status")
    {
        status.insert(TIME.to_owned(), time::now_seconds().into());
    }
}

/// Validates a spec, in upstream's order.
pub(crate) fn validate_spec(
    spec: &Value,
    context: Context<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if context == Context::Inline {
        validate_inline(spec, path, errors);
    }
    if list_at(spec, &["accessModes"]).is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    validate_access_modes(spec, path, errors);
    if context != Context::Inline {
        validate_capacity(spec, &path.child("capacity"), errors);
        let policy = str_at(spec, &["persistentVolumeReclaimPolicy"]);
        let policy_path = path.child("persistentVolumeReclaimPolicy");
        validate::one_of(errors, &policy_path, policy, RECLAIM_POLICIES, false);
        if let Some(affinity) = struct_at(spec, &["nodeAffinity"]) {
            let path = path.child("nodeAffinity").child("required");
            match struct_at(affinity, &["required"]) {
                Some(required) => validate_node_selector(required, &path, errors),
                None => {
                    errors.push(Error::required(
                        &path,
                        "must specify required node constraints",
                    ));
                }
            }
        }
    }
    let name = match context {
        Context::Volume(name) => name,
        Context::Inline => "",
    };
    source::validate(name, spec, path, errors);
    if context != Context::Inline {
        let rule = names::dns1123_subdomain;
        validate::optional(errors, spec, "storageClassName", path, rule);
        validate_volume_mode(spec, path, errors);
        validate_attributes_class(spec, path, errors);
    }
}

/// What an attachment's own spec may not have.
fn validate_inline(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const WHY: &str = "may not be specified in the context of inline volumes";
    let has = |field: &str| match spec.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) if field == "capacity" => !map.is_empty(),
        Some(_) => true,
    };
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        if has(field) {
            errors.push(Error::forbidden(&path.child(field), WHY));
        }
    }
    if !has("csi") {
        errors.push(Error::required(
            &path.child("csi"),
            "has to be specified in the context of inline volumes",
        ));
    }
    for (field, only) in [
        ("persistentVolumeReclaimPolicy", "Retain"),
        ("volumeMode", "Filesystem"),
    ] {
        let value = str_at(spec, &[field]);
        if !value.is_empty() && value != only {
            let why = match field {
                "volumeMode" => format!("may not specify volumeMode other than {only}"),
                _ => format!("may only be {only}"),
            };
            errors.push(Error::forbidden(
                &path.child(field),
                why + " in the context of inline volumes",
            ));
        }
    }
}

fn validate_capacity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let capacity = map_at(spec, &["capacity"]);
    if capacity.is_none_or(Map::is_empty) {
        errors.push(Error::required(path, ""));
    }
    let only_storage = capacity.is_some_and(|c| c.len() == 1 && c.contains_key("storage"));
    if !only_storage {
        let shown = spec.get("capacity").cloned().unwrap_or_default();
        errors.push(Error::not_supported(path, shown, &["storage"]));
    }
    for (name, amount) in capacity.into_iter().flatten() {
        let path = path.key(name.clone());
        let before = errors.len();
        validate_amount(amount, &path, errors);
        if before == errors.len() || amount.is_string() {
            validate_positive(amount, &path, errors);
        }
    }
}

fn validate_attributes_class(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(class) = spec
        .get("volumeAttributesClassName")
        .and_then(Value::as_str)
    else {
        return;
    };
    let class_path = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.push(Error::required(
            &class_path,
            "an empty string is disallowed",
        ));
    }
    if !class.is_empty() {
        validate::each(errors, &class_path, class, names::dns1123_subdomain(class));
    }
    if struct_at(spec, &["csi"]).is_none() {
        errors.push(Error::required(
            &path.child("csi"),
            "has to be specified when using volumeAttributesClassName",
        ));
    }
}

#[cfg(test)]
mod tests;
