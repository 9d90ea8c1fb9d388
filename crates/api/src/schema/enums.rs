//! Fields that say "" where that is none of their values. Whoever leaves such a field out means its default; whoever says "" is told,
//! where the field's Go type is a pointer, and the two can be told apart.

use knarr_meta::field::{Error, ErrorList};
use serde_json::Value;

use super::{
    Schema, Shape, Type,
    path::{Path, Step},
};

/// Adds one error for each such field, as upstream's: `Unsupported value: "": supported values: "Equivalent", "Exact"`; none where
/// something was said of the field already, or where the stored object has it so: it may have been made under other rules.
///
/// `definition`: the kind's, as `io.k8s.api.core.v1.Pod`. Kinds that the schema table does not have make none.
pub fn add_empty_values(
    definition: &str,
    new: &Value,
    old: Option<&Value>,
    errors: &mut ErrorList,
) {
    let found = empty_values(definition, new);
    if found.is_empty() {
        return;
    }
    let stored = old.map(|old| empty_values(definition, old));
    let is_changed = old.is_some();
    let said: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
    errors.extend(found.into_iter().filter(|error| {
        let is_stored = stored.as_ref().is_some_and(|stored| stored.contains(error));
        let is_said = said.contains(&error.field) || said.contains(&of_whole_list(&error.field));
        let is_unchecked = is_changed
            && (NEW_ONLY.iter())
                .any(|(of, list)| *of == definition && error.field.starts_with(list));
        !is_stored && !is_said && !is_unchecked
    }));
}

/// What upstream looks into in new objects alone, as it cannot be changed.
const NEW_ONLY: [(&str, &str); 1] = [(
    "io.k8s.api.apps.v1.StatefulSet",
    "spec.volumeClaimTemplates[",
)];

/// `a[0].b[1].c` as `a[0].b.c`: how upstream tells what is wrong with the items of some lists.
fn of_whole_list(field: &str) -> String {
    let shortened = || {
        let (owner, name) = field.rsplit_once('.')?;
        let (list, _) = owner.strip_suffix(']')?.rsplit_once('[')?;
        Some(format!("{list}.{name}"))
    };
    shortened().unwrap_or_default()
}

fn empty_values(definition: &str, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(schema) = super::definition(definition) {
        walk(&schema.ty, object, &Path::ROOT, &mut errors);
    }
    errors
}

fn walk(ty: &Type, value: &Value, path: &Path<'_>, errors: &mut ErrorList) {
    match (ty, value) {
        (Type::List(element), Value::Array(list)) if holds_structs(&element.ty) => {
            for (index, value) in list.iter().enumerate() {
                walk(&element.ty, value, &path.child(Step::Index(index)), errors);
            }
        }
        (Type::Map(element), Value::Object(map)) if holds_structs(&element.ty) => {
            for (key, value) in map {
                walk(&element.ty, value, &path.child(Step::Key(key)), errors);
            }
        }
        (Type::Ref(reference), Value::Object(map)) => {
            let definition = reference.get();
            let of = definition.short_name();
            for (name, value) in map {
                let Some(field) = definition.field(name) else {
                    continue;
                };
                let path = path.child(Step::Field {
                    name,
                    of,
                    within: "",
                });
                if is_wrong(field.is_pointer(), &field.schema, value) {
                    let path = knarr_meta::field::Path::new(path.to_string());
                    errors.push(Error::not_supported(&path, "", field.schema.values()));
                } else {
                    walk(&field.schema.ty, value, &path, errors);
                }
            }
        }
        _ => {}
    }
}

fn is_wrong(pointer: bool, schema: &Schema, value: &Value) -> bool {
    let values = schema.values();
    pointer && !values.is_empty() && value.as_str() == Some("") && !values.contains(&"")
}

fn holds_structs(ty: &Type) -> bool {
    match ty {
        Type::List(element) | Type::Map(element) => holds_structs(&element.ty),
        Type::Ref(reference) => matches!(reference.get().shape, Shape::Struct(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_no_value_where_it_can_be_told_from_absence() {
        let service = json!({"spec": {
            "internalTrafficPolicy": "", "ipFamilyPolicy": "", "type": "", "sessionAffinity": "",
            "ports": [{"protocol": "", "appProtocol": ""}],
        }});
        let errors = empty_values("io.k8s.api.core.v1.Service", &service);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec.internalTrafficPolicy: Unsupported value: \"\": supported values: \"Cluster\", \"Local\"",
                "spec.ipFamilyPolicy: Unsupported value: \"\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
            ]
        );
        let volume =
            json!({"spec": {"volumes": [{"name": "a", "hostPath": {"path": "/", "type": ""}}]}});
        assert!(empty_values("io.k8s.api.core.v1.Pod", &volume).is_empty());
    }
}
