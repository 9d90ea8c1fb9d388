//! Whether rules compile, compare only what has a former state, and cost no more than they may.

use knarr_cel::Type as CelType;
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::list_at,
};
use serde_json::Value;

use super::{
    costs::{Most, Total},
    map_at, schema_at,
};
use crate::{
    Additional, ListType, Schema,
    rules::{Wrong, compile, sizes, type_of},
};

/// A structural schema. Rules of a part in which something else is `wrong` are not looked at, as upstream: what they would be
/// told goes with that.
pub(super) fn check(
    schema: &Schema,
    props: &Value,
    path: &Path,
    wrong: &[Error],
    errors: &mut ErrorList,
) {
    let mut places: Vec<&str> = wrong.iter().map(|error| &*error.field).collect();
    places.sort_unstable();
    let mut walk = Walk {
        total: Total::default(),
        wrong: places,
        errors,
    };
    let here = Here {
        root: true,
        uncorrelated: None,
        most: Most::of_root(),
    };
    walk.visit(schema, props, here, path);
    let Walk { total, errors, .. } = walk;
    total.check(path, errors);
}

/// Where in a schema a part of it is.
#[derive(Clone, Copy)]
struct Here<'p> {
    root: bool,
    /// The part around that has no former state.
    uncorrelated: Option<&'p Path>,
    /// How many values an object may hold here.
    most: Most,
}

struct Walk<'e> {
    total: Total,
    /// Where something else is wrong, sorted.
    wrong: Vec<&'e str>,
    errors: &'e mut ErrorList,
}

impl Walk<'_> {
    /// Whether something else is wrong here or in what is inside.
    fn is_wrong(&self, path: &Path) -> bool {
        let here = path.to_string();
        let next = self.wrong.partition_point(|place| **place < *here);
        let below = self
            .wrong
            .get(next)
            .and_then(|place| place.strip_prefix(&*here));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    fn visit(&mut self, schema: &Schema, props: &Value, here: Here<'_>, path: &Path) {
        if !schema.has_rules() {
            return;
        }
        if !schema.rules.is_empty()
            && !self.is_wrong(path)
            && let Some(ty) = type_of(schema, here.root || schema.embedded)
        {
            self.rules(schema, props, &ty, here, path);
        }
        let inside = Here {
            root: false,
            most: here.most.times(sizes::factor(schema)),
            ..here
        };
        if let (Additional::Of(inner), Some(props)) =
            (&schema.additional, schema_at(props, "additionalProperties"))
        {
            self.visit(inner, props, inside, &path.child("additionalProperties"));
        }
        for (name, props) in map_at(props, "properties") {
            let Some(inner) = schema.property(name) else {
                continue;
            };
            let from_here = schema.atomic_map.then_some(path);
            let inside = Here {
                uncorrelated: here.uncorrelated.or(from_here),
                ..inside
            };
            let path = path.child("properties").key(name.clone());
            self.visit(inner, props, inside, &path);
        }
        if let (Some(inner), Some(props)) = (&schema.items, schema_at(props, "items")) {
            let from_here = (schema.list_type != ListType::Map).then_some(path);
            let inside = Here {
                uncorrelated: here.uncorrelated.or(from_here),
                ..inside
            };
            self.visit(inner, props, inside, &path.child("items"));
        }
    }

    fn rules(&mut self, schema: &Schema, props: &Value, ty: &CelType, here: Here<'_>, path: &Path) {
        let sized = sizes::of(schema, here.root || schema.embedded);
        let (sizes, bytes) = match &sized {
            Some((sizes, bytes)) => (Some(sizes), *bytes),
            None => (None, 0),
        };
        let declared = list_at(props, &["x-kubernetes-validations"]);
        for (index, (rule, declared)) in schema.rules.iter().zip(declared).enumerate() {
            let path = path.child("x-kubernetes-validations").index(index);
            let errors = &mut *self.errors;
            if knarr_cel::is_late() {
                errors.push(Error::internal(&path, knarr_cel::NO_TIME));
                return;
            }
            let compiled = match compile(rule, ty, schema, sizes) {
                Err(Wrong {
                    field: "fieldPath",
                    why,
                }) => {
                    errors.push(Error::invalid(
                        &path.child("fieldPath"),
                        &*rule.field_path,
                        why,
                    ));
                    continue;
                }
                Err(Wrong { field, why }) => {
                    errors.push(Error::invalid(&path.child(field), declared.clone(), why));
                    // A rule that cannot be read uses nothing.
                    if field == "rule" {
                        check_optional(declared, &path, errors);
                    }
                    continue;
                }
                Ok(compiled) => compiled,
            };
            let cost = compiled.program.max_cost().unwrap_or(0);
            let cost = here.most.cost(cost, bytes);
            self.total
                .add(&path.child("rule"), cost, "estimated rule cost", errors);
            if let Some(message) = &compiled.message {
                let cost = message.max_cost().unwrap_or(0);
                let path = path.child("messageExpression");
                self.total
                    .add(&path, cost, "estimated messageExpression cost", errors);
            }
            if compiled.uses_old {
                if let Some(part) = here.uncorrelated {
                    let why = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {part}"
                    );
                    errors.push(Error::invalid(&path.child("rule"), &*rule.rule, why));
                }
            } else {
                check_optional(declared, &path, errors);
            }
        }
    }
}

/// Of a rule that does not use the old value.
fn check_optional(declared: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(optional) = declared.get("optionalOldSelf") {
        let why = "may not be set if oldSelf is not used in rule";
        let path = path.child("optionalOldSelf");
        errors.push(Error::invalid(&path, optional.clone(), why));
    }
}
