//! PriorityLevelConfiguration.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, at, i64_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{GROUP, standard, validate_conditions};
use crate::{
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "PriorityLevelConfiguration",
    resource: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/prioritylevelconfigurations"),
    definition: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    strategy: &PriorityLevel,
    aliases: &[],
};

const MAX_QUEUES: i64 = 10_000_000;
/// Bits of the hash by which a flow's queues are chosen (upstream `MaxHashBits`).
const MAX_HASH_BITS: i64 = 60;
const KEPT_ZERO: &str = "flowcontrol.k8s.io/preserve-zero-concurrency-shares";

struct PriorityLevel;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Type",
        "string",
        "Whether the level's requests are limited.",
    ),
    column(
        "NominalConcurrencyShares",
        "string",
        "Its share of requests at once.",
    ),
    column("Queues", "string", "Queues of requests that wait."),
    column("HandSize", "string", "Queues that one flow may use."),
    column("QueueLengthLimit", "string", "Requests in one queue."),
    AGE,
];

impl Strategy for PriorityLevel {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        if let Some(exempt) = tree::existing(spec, "exempt") {
            tree::default_value(exempt, "nominalConcurrencyShares", 0);
            tree::default_value(exempt, "lendablePercent", 0);
        }
        let Some(limited) = tree::existing(spec, "limited") else {
            return;
        };
        tree::default_value(limited, "nominalConcurrencyShares", 30);
        tree::default_value(limited, "lendablePercent", 0);
        let response = tree::existing(limited, "limitResponse");
        if let Some(queuing) = response.and_then(|response| tree::existing(response, "queuing")) {
            tree::default_number(queuing, "handSize", 8);
            tree::default_number(queuing, "queues", 64);
            tree::default_number(queuing, "queueLengthLimit", 50);
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
        if object::annotation(object, KEPT_ZERO).is_some() {
            errors.push(Error::forbidden(
                &Path::new("metadata").child("annotations"),
                format!("annotation '{KEPT_ZERO}' is forbidden"),
            ));
        }
        validate_spec(object, &mut errors);
        validate_mandatory(object, &mut errors);
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

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let number = |path: &[&str]| match i64_at(object, path) {
            Some(number) => number.into(),
            None => Value::from("<none>"),
        };
        let queuing = |field| number(&["spec", "limited", "limitResponse", "queuing", field]);
        vec![
            table::name(object),
            str_at(object, &["spec", "type"]).into(),
            number(&["spec", "limited", "nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            table::age(object, now),
        ]
    }
}

/// The levels that every cluster has are as they are.
fn validate_mandatory(object: &Value, errors: &mut ErrorList) {
    let name = object::name(object);
    let Some(fixed) = standard::mandatory_level(name) else {
        return;
    };
    let spec = object.get("spec").cloned().unwrap_or_default();
    let mut compared = spec.clone();
    let message = if name == standard::EXEMPT {
        if let Some(compared) = compared.as_object_mut() {
            let exempt = at(&fixed, &["spec", "exempt"]).cloned();
            compared.insert("exempt".to_owned(), exempt.unwrap_or_default());
        }
        format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value")
    } else {
        format!("spec of '{name}' must equal the fixed value")
    };
    if !tree::same(fixed.get("spec"), Some(&compared)) {
        errors.push(Error::invalid(&Path::new("spec"), spec, message));
    }
}

fn validate_spec(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let type_ = str_at(spec, &["type"]);
    let (limited, exempt) = (struct_at(spec, &["limited"]), struct_at(spec, &["exempt"]));
    let type_path = path.child("type");
    if (object::name(object) == standard::EXEMPT) != (type_ == "Exempt") {
        let message = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&type_path, type_, message));
    }
    match type_ {
        "Exempt" => {
            if limited.is_some() {
                errors.push(Error::forbidden(&path.child("limited"), ""));
            }
            if let Some(exempt) = exempt {
                validate_shares(exempt, &path.child("exempt"), errors);
                validate_lent(exempt, &path.child("exempt"), errors);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                errors.push(Error::forbidden(&path.child("exempt"), ""));
            }
            match limited {
                Some(limited) => validate_limited(limited, &path.child("limited"), errors),
                None => errors.push(Error::required(&path.child("limited"), "")),
            }
        }
        other => {
            errors.push(match other {
                "" => Error::required(&type_path, ""),
                _ => Error::not_supported(&type_path, other, &["Exempt", "Limited"]),
            });
            // What is declared with the types is looked at all the same.
            if let Some(limited) = limited {
                let path = path.child("limited");
                errors.push(Error::forbidden(&path, ""));
                let response = limited.get("limitResponse").unwrap_or(&Value::Null);
                validate_response_parts(response, &path.child("limitResponse"), errors);
            }
            if exempt.is_some() {
                errors.push(Error::forbidden(&path.child("exempt"), ""));
            }
        }
    }
}

fn validate_shares(level: &Value, path: &Path, errors: &mut ErrorList) {
    const SHARES: &str = "nominalConcurrencyShares";
    if let Some(shares) = i64_at(level, &[SHARES]).filter(|shares| *shares < 0) {
        let message = "must be a non-negative integer";
        errors.push(Error::invalid(&path.child(SHARES), shares, message));
    }
}

fn validate_lent(level: &Value, path: &Path, errors: &mut ErrorList) {
    let percent = i64_at(level, &["lendablePercent"]);
    if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
        let message = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(
            &path.child("lendablePercent"),
            percent,
            message,
        ));
    }
}

fn validate_limited(limited: &Value, path: &Path, errors: &mut ErrorList) {
    validate_shares(limited, path, errors);
    let response = limited.get("limitResponse").unwrap_or(&Value::Null);
    validate_response(response, &path.child("limitResponse"), errors);
    validate_lent(limited, path, errors);
    let borrowed = i64_at(limited, &["borrowingLimitPercent"]);
    if let Some(percent) = borrowed.filter(|percent| *percent < 0) {
        let message = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(
            &path.child("borrowingLimitPercent"),
            percent,
            message,
        ));
    }
}

fn validate_response(response: &Value, path: &Path, errors: &mut ErrorList) {
    let queuing = struct_at(response, &["queuing"]);
    let queuing_path = path.child("queuing");
    match (str_at(response, &["type"]), queuing) {
        ("Queue", None) => errors.push(Error::required(&queuing_path, "")),
        ("Queue", Some(queuing)) => validate_queuing(queuing, &queuing_path, errors),
        _ => {}
    }
    validate_response_parts(response, path, errors);
    let known = ["Queue", "Reject"];
    match str_at(response, &["type"]) {
        "" | "Queue" | "Reject" => {}
        type_ => errors.push(Error::not_supported(&path.child("type"), type_, &known)),
    }
}

/// The rules of a response that are declared with its type: whether the type is one that is known is none of them.
fn validate_response_parts(response: &Value, path: &Path, errors: &mut ErrorList) {
    let type_ = str_at(response, &["type"]);
    if type_ != "Queue" && struct_at(response, &["queuing"]).is_some() {
        errors.push(Error::forbidden(&path.child("queuing"), ""));
    }
    if type_.is_empty() {
        errors.push(Error::required(&path.child("type"), ""));
    }
}

fn validate_queuing(queuing: &Value, path: &Path, errors: &mut ErrorList) {
    let number = |field| i64_at(queuing, &[field]).unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut invalid = |field: &'static str, message: String| {
        errors.push(Error::invalid(&path.child(field), number(field), message));
    };
    let positive = || "must be positive".to_owned();
    if number("queueLengthLimit") <= 0 {
        invalid("queueLengthLimit", positive());
    }
    if queues <= 0 {
        invalid("queues", positive());
    } else if queues > MAX_QUEUES {
        invalid("queues", format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        invalid("handSize", positive());
    } else if hand > queues {
        invalid(
            "handSize",
            format!("should not be greater than queues ({queues})"),
        );
    } else {
        let bits = entropy_bits(queues, hand);
        if bits > MAX_HASH_BITS {
            invalid(
                "handSize",
                format!(
                    "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than \
                     {MAX_HASH_BITS}"
                ),
            );
        }
    }
}

/// Bits that choosing a hand from a deck takes, as upstream reckons them.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    // More cards than these need more bits than there are, whatever the deck.
    let hand = i32::try_from(hand).unwrap_or(i32::MAX);
    (f64::from(hand) * (deck as f64).log2()).ceil() as i64
}
