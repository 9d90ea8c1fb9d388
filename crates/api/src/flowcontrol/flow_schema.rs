//! FlowSchema.

mod rules;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, i64_at, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{GROUP, standard, validate_conditions};
use crate::{
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, Listing, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "FlowSchema",
    resource: "flowschemas",
    singular: "flowschema",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/flowschemas"),
    definition: "io.k8s.api.flowcontrol.v1.FlowSchema",
    strategy: &FlowSchema,
    aliases: &[],
};

const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;

struct FlowSchema;

const COLUMNS: &[Column] = &[
    NAME,
    column("PriorityLevel", "string", "The level of matching requests."),
    column(
        "MatchingPrecedence",
        "string",
        "Of several schemas the lowest matches.",
    ),
    column("DistinguisherMethod", "string", "How flows are told apart."),
    AGE,
    column("MissingPL", "string", "Whether there is no such level."),
];

impl Strategy for FlowSchema {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec") {
            tree::default_number(spec, "matchingPrecedence", DEFAULT_PRECEDENCE);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        super::prepare_update(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(object, &mut errors);
        let name = object::name(object);
        let fixed = standard::mandatory_schema(name);
        let spec = object.get("spec");
        if fixed.is_some_and(|fixed| !tree::same(fixed.get("spec"), spec)) {
            let message = format!("spec of '{name}' must equal the fixed value");
            let spec = spec.cloned().unwrap_or_default();
            errors.push(Error::invalid(&Path::new("spec"), spec, message));
        }
        validate_conditions(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part) -> ErrorList {
        if part != Part::Status {
            return self.validate_create(new);
        }
        let mut errors = ErrorList::new();
        validate_conditions(new, &mut errors);
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn listing(&self) -> Option<fn(&[Value]) -> Listing> {
        Some(listing)
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let text = |path: &[&str]| str_at(object, path).to_owned();
        let conditions = list_at(object, &["status", "conditions"]);
        let dangling = conditions
            .iter()
            .find(|c| str_at(c, &["type"]) == "Dangling");
        let precedence = i64_at(object, &["spec", "matchingPrecedence"]);
        vec![
            table::name(object),
            text(&["spec", "priorityLevelConfiguration", "name"]).into(),
            precedence.unwrap_or_default().into(),
            table::or(&text(&["spec", "distinguisherMethod", "type"]), "<none>"),
            table::age(object, now),
            dangling.map_or("?", |c| str_at(c, &["status"])).into(),
        ]
    }
}

/// In the order in which requests are matched against them.
fn listing(schemas: &[Value]) -> Listing {
    let mut order: Vec<usize> = (0..schemas.len()).collect();
    order.sort_by_key(|index| {
        schemas.get(*index).map(|schema| {
            let precedence = i64_at(schema, &["spec", "matchingPrecedence"]);
            (precedence.unwrap_or_default(), object::name(schema))
        })
    });
    Listing {
        order,
        default: None,
    }
}

fn validate_spec(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let precedence = i64_at(spec, &["matchingPrecedence"]).unwrap_or_default();
    let mut refuse = |wrong: bool, message: &str| {
        if wrong {
            let path = path.child("matchingPrecedence");
            errors.push(Error::invalid(&path, precedence, message));
        }
    };
    refuse(precedence <= 0, "must be a positive value");
    refuse(
        precedence > MAX_PRECEDENCE,
        &format!("must not be greater than {MAX_PRECEDENCE}"),
    );
    refuse(
        precedence == 1 && object::name(object) != standard::EXEMPT,
        "only the schema named 'exempt' may have matchingPrecedence 1",
    );
    if let Some(method) = struct_at(spec, &["distinguisherMethod"]) {
        let known = ["ByNamespace", "ByUser"];
        if !known.contains(&str_at(method, &["type"])) {
            let path = path.child("distinguisherMethod").child("type");
            errors.push(Error::not_supported(&path, method.clone(), &known));
        }
    }
    let level = path.child("priorityLevelConfiguration").child("name");
    match str_at(spec, &["priorityLevelConfiguration", "name"]) {
        "" => errors.push(Error::required(&level, "must reference a priority level")),
        name => validate::each(errors, &level, name, names::dns1123_subdomain(name)),
    }
    for (index, rule) in list_at(spec, &["rules"]).iter().enumerate() {
        rules::validate(rule, &path.child("rules").index(index), errors);
    }
}
