//! Event, stored as core/v1 and served as events.k8s.io/v1 too.

mod strict;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, i64_at, str_at, struct_at},
};
use serde_json::Value;

use crate::{
    kind::{Alias, BuiltIn, Column, Part, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, column, wide},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Event",
    resource: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/events"),
    definition: "io.k8s.api.core.v1.Event",
    strategy: &Event,
    aliases: &[Alias {
        group: "events.k8s.io",
        version: "v1",
        definition: "io.k8s.api.events.v1.Event",
        decode: to_events,
        encode: to_core,
        field_labels: &[
            ("reason", "reason"),
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            (
                "regarding.resourceVersion",
                "involvedObject.resourceVersion",
            ),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
            ("reportingController", "reportingComponent"),
            ("type", "type"),
        ],
        validate: strict::validate,
    }],
};

struct Event;

/// Longest name of a reporting instance, an action and a reason.
const SHORT_LIMIT: usize = 128;
/// Longest message of an event that has an eventTime.
const NOTE_LIMIT: usize = 1024;

/// Field names of core/v1 and of events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(
    object: &mut Value,
    api_version: &str,
    pairs: impl Iterator<Item = (&'static str, &'static str)>,
) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    map.insert("apiVersion".to_owned(), api_version.into());
    for (from, to) in pairs {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

fn to_events(mut object: Value) -> Value {
    rename(&mut object, "events.k8s.io/v1", RENAMED.iter().copied());
    object
}

fn to_core(mut object: Value) -> Value {
    rename(
        &mut object,
        "v1",
        RENAMED.iter().map(|(core, events)| (*events, *core)),
    );
    object
}

const COLUMNS: &[Column] = &[
    column("Last Seen", "string", "Time since it happened last."),
    column("Type", "string", "Normal or Warning."),
    column("Reason", "string", "What happened, in one word."),
    column("Object", "string", "What it happened to."),
    wide(
        "Subobject",
        "string",
        "The part of the object it happened to.",
    ),
    wide("Source", "string", "Who reported it."),
    column("Message", "string", "What happened, for people."),
    wide("First Seen", "string", "Time since it happened first."),
    wide("Count", "string", "How often it happened."),
    Column {
        name: text("Name"),
        kind: text("string"),
        format: text("name"),
        description: text("Name of the object, unique within its namespace."),
        priority: 1,
    },
];

impl Strategy for Event {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_event(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    /// Upstream does not validate names of core/v1 events.
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[
            text("involvedObject.kind"),
            text("involvedObject.namespace"),
            text("involvedObject.name"),
            text("involvedObject.uid"),
            text("involvedObject.apiVersion"),
            text("involvedObject.resourceVersion"),
            text("involvedObject.fieldPath"),
            text("reason"),
            text("reportingComponent"),
            text("source"),
            text("type"),
        ];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let involved = |field| str_at(object, &["involvedObject", field]).to_owned();
        let reporting = str_at(object, &["reportingComponent"]);
        let component = str_at(object, &["source", "component"]);
        vec![
            involved("kind"),
            involved("namespace"),
            involved("name"),
            involved("uid"),
            involved("apiVersion"),
            involved("resourceVersion"),
            involved("fieldPath"),
            str_at(object, &["reason"]).to_owned(),
            reporting.to_owned(),
            if component.is_empty() {
                reporting
            } else {
                component
            }
            .to_owned(),
            str_at(object, &["type"]).to_owned(),
        ]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let first_time = str_at(object, &["firstTimestamp"]);
        let first = now.since(if first_time.is_empty() {
            str_at(object, &["eventTime"])
        } else {
            first_time
        });
        let mut count = i64_at(object, &["count"]).unwrap_or_default();
        let last = if struct_at(object, &["series"]).is_some() {
            count = i64_at(object, &["series", "count"]).unwrap_or_default();
            now.since(str_at(object, &["series", "lastObservedTime"]))
        } else {
            if count == 0 {
                count = 1;
            }
            match str_at(object, &["lastTimestamp"]) {
                "" => first.clone(),
                last => now.since(last),
            }
        };
        let kind = str_at(object, &["involvedObject", "kind"]).to_lowercase();
        let target = match str_at(object, &["involvedObject", "name"]) {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        vec![
            last.into(),
            str_at(object, &["type"]).into(),
            str_at(object, &["reason"]).into(),
            target.into(),
            str_at(object, &["involvedObject", "fieldPath"]).into(),
            source(object).into(),
            str_at(object, &["message"]).trim().into(),
            first.into(),
            count.into(),
            table::name(object),
        ]
    }
}

/// `component, host`.
fn source(object: &Value) -> String {
    let first = |a: &[&str], b: &[&str]| match str_at(object, a) {
        "" => str_at(object, b).to_owned(),
        text => text.to_owned(),
    };
    let component = first(&["source", "component"], &["reportingComponent"]);
    let host = first(&["source", "host"], &["reportingInstance"]);
    if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    }
}

fn validate_event(object: &Value, errors: &mut ErrorList) {
    let namespace = object::namespace(object);
    let involved = str_at(object, &["involvedObject", "namespace"]);
    let has_time = !str_at(object, &["eventTime"]).is_empty();
    let agrees = if involved.is_empty() {
        matches!(namespace, "" | "default") || (has_time && namespace == "kube-system")
    } else {
        has_time || involved == namespace
    };
    if !agrees {
        errors.push(Error::invalid(
            &Path::new("involvedObject").child("namespace"),
            involved,
            "does not match event.namespace",
        ));
    }
    if has_time {
        validate_timed(object, errors);
    }
    validate::each(
        errors,
        &Path::new("namespace"),
        namespace,
        names::dns1123_subdomain(namespace),
    );
}

fn validate_timed(object: &Value, errors: &mut ErrorList) {
    let controller = str_at(object, &["reportingComponent"]);
    let path = Path::new("reportingComponent");
    if controller.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    validate::each(errors, &path, controller, names::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let value = str_at(object, &[field]);
        if value.is_empty() {
            errors.push(Error::required(&Path::new(field), ""));
        }
        limit(errors, field, value, SHORT_LIMIT);
    }
    limit(errors, "message", str_at(object, &["message"]), NOTE_LIMIT);
}

fn limit(errors: &mut ErrorList, field: &'static str, value: &str, limit: usize) {
    if value.len() > limit {
        errors.push(Error::invalid(
            &Path::new(field),
            "",
            format!("can have at most {limit} characters"),
        ));
    }
}
