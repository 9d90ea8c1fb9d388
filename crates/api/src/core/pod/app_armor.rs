//! AppArmor profiles as annotations, from before there was a field: a new pod's become the fields that its node reads, as upstream's
//! `applyAppArmorVersionSkew` does it.

use knarr_meta::{
    field::{Error, ErrorList, Path, quote},
    object::{list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value, json};

use crate::core::pod_spec;

/// Before the name of a container.
pub const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const FIELD: &str = "appArmorProfile";

fn profile(of: &Value) -> Option<&Value> {
    struct_at(of, &["securityContext", FIELD])
}

fn is_of_windows(pod: &Value) -> bool {
    str_at(pod, &["spec", "os", "name"]) == "windows"
}

fn annotations(pod: &Value) -> Option<&Map<String, Value>> {
    let annotations = map_at(pod, &["metadata", "annotations"])?;
    let has_profile = annotations.keys().any(|key| key.starts_with(ANNOTATION));
    (has_profile && !is_of_windows(pod)).then_some(annotations)
}

/// The containers that have an annotation and no field, each with its key and the field that says the same. None for an annotation
/// that says nothing.
fn unsaid(pod: &Value) -> Vec<(&'static str, usize, String, Option<Value>)> {
    let Some(annotations) = annotations(pod) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for list in LISTS {
        for (index, container) in list_at(pod, &["spec", list]).iter().enumerate() {
            let key = format!("{ANNOTATION}{}", str_at(container, &["name"]));
            let Some(annotation) = annotations.get(&key).and_then(Value::as_str) else {
                continue;
            };
            if profile(container).is_none() {
                let field = pod_spec::apparmor_profile(annotation).filter(is_valid);
                found.push((list, index, key, field));
            }
        }
    }
    found
}

fn is_valid(field: &Value) -> bool {
    let mut errors = ErrorList::new();
    let context = json!({FIELD: field});
    pod_spec::validate_app_armor(&context, &Path::root(), &mut errors);
    errors.is_empty()
}

/// What is said of annotations that become fields, or cannot.
pub fn warnings(pod: &Value) -> Vec<String> {
    let of_pod = profile(pod.get("spec").unwrap_or(&Value::Null));
    let told = unsaid(pod).into_iter().filter_map(|(_, _, key, field)| {
        let path = Path::new("metadata").child("annotations").key(key);
        let text = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        let says_more = field.is_none() || field.as_ref() != of_pod;
        says_more.then(|| format!("{path}: {text}"))
    });
    told.collect()
}

/// Gives containers the fields that their annotations stand for.
pub fn sync(pod: &mut Value) {
    let of_pod = profile(pod.get("spec").unwrap_or(&Value::Null)).cloned();
    for (list, index, _, field) in unsaid(pod) {
        if field.is_none() || field == of_pod {
            continue;
        }
        let container = &mut pod["spec"][list][index];
        match &mut container["securityContext"] {
            Value::Object(context) => {
                context.insert(FIELD.to_owned(), field.unwrap_or_default());
            }
            none => *none = json!({FIELD: field}),
        }
    }
}

/// An annotation of a container.
pub fn validate(pod: &Value, container: &str, value: &str, path: &Path, errors: &mut ErrorList) {
    let mut containers = LISTS.iter().flat_map(|list| list_at(pod, &["spec", list]));
    if !containers.any(|one| str_at(one, &["name"]) == container) {
        errors.push(Error::invalid(path, container, "container not found"));
    }
    let is_known = matches!(value, "" | "runtime/default" | "unconfined");
    if !is_known && !value.starts_with("localhost/") {
        let why = format!("invalid AppArmor profile name: {}", quote(value));
        errors.push(Error::invalid(path, value, why));
    }
}

/// That annotations and fields of a new pod say the same.
pub fn validate_match(pod: &Value, errors: &mut ErrorList) {
    let Some(annotations) = annotations(pod) else {
        return;
    };
    let of_pod = profile(pod.get("spec").unwrap_or(&Value::Null));
    for list in LISTS {
        for (index, container) in list_at(pod, &["spec", list]).iter().enumerate() {
            let key = format!("{ANNOTATION}{}", str_at(container, &["name"]));
            let annotation = annotations.get(&key).and_then(Value::as_str);
            let (Some(annotation), Some(field)) = (annotation, profile(container).or(of_pod))
            else {
                continue;
            };
            let local = str_at(field, &["localhostProfile"]);
            let wrong = match (
                str_at(field, &["type"]),
                annotation.strip_prefix("localhost/"),
            ) {
                ("Unconfined", _) if annotation != "unconfined" => "type",
                ("RuntimeDefault", _) if annotation != "runtime/default" => "type",
                ("Localhost", None) => "type",
                ("Localhost", Some(name)) if name != local || local.is_empty() => {
                    "localhostProfile"
                }
                _ => continue,
            };
            let what = if wrong == "type" { "type" } else { "profile" };
            let path = Path::new("spec").child(list).index(index);
            errors.push(Error::forbidden(
                &path.child("securityContext").child(FIELD).child(wrong),
                format!("apparmor {what} in annotation and field must match"),
            ));
        }
    }
}

/// They stay what they are.
pub fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let of = |pod| map_at(pod, &["metadata", "annotations"]);
    let path = Path::new("metadata").child("annotations");
    let (now, before) = (of(new), of(old));
    let is_profile = |key: &&String| key.starts_with(ANNOTATION);
    for (key, value) in before.into_iter().flatten() {
        if is_profile(&key) && now.and_then(|now| now.get(key)) != Some(value) {
            let why = "may not remove or update AppArmor annotations";
            errors.push(Error::forbidden(&path.key(key.as_str()), why));
        }
    }
    for key in now.into_iter().flat_map(Map::keys).filter(is_profile) {
        if before.is_none_or(|before| !before.contains_key(key)) {
            let why = "may not add AppArmor annotations";
            errors.push(Error::forbidden(&path.key(key.as_str()), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::pod::annotations;

    fn pod(annotations: Value, context: Value) -> Value {
        json!({
            "metadata": {"name": "p", "annotations": annotations},
            "spec": {"containers": [{"name": "c", "securityContext": context}]},
        })
    }

    fn key(container: &str) -> String {
        format!("{ANNOTATION}{container}")
    }

    #[test]
    fn annotations_become_fields_and_are_warned_of() {
        let warning = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead";
        let unconfined = json!({"type": "Unconfined"});
        for (annotation, context, field, warned) in [
            ("unconfined", Value::Null, unconfined.clone(), true),
            (
                "localhost/x",
                json!({"privileged": true}),
                json!({"type": "Localhost", "localhostProfile": "x"}),
                true,
            ),
            ("nonsense", Value::Null, Value::Null, true),
            (
                "unconfined",
                json!({FIELD: unconfined}),
                unconfined.clone(),
                false,
            ),
        ] {
            let mut pod = pod(json!({key("c"): annotation}), context);
            let told = warnings(&pod);
            let wanted: &[&str] = if warned { &[warning] } else { &[] };
            assert_eq!(told, wanted, "{annotation}");
            sync(&mut pod);
            let context = &pod["spec"]["containers"][0]["securityContext"];
            assert_eq!(context[FIELD], field, "{annotation}");
        }
    }

    #[test]
    fn profiles_of_annotations_are_valid() {
        let told = |pod: &Value| {
            let mut errors = ErrorList::new();
            annotations::validate(pod, &mut errors);
            validate_match(pod, &mut errors);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            told.join("\n")
        };
        let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
        for (annotations, context, wanted) in [
            (json!({seccomp: "runtime/default", key("c"): ""}), Value::Null, String::new()),
            (
                json!({seccomp: "x"}),
                Value::Null,
                format!("metadata.annotations.{seccomp}: Invalid value: \"x\": must be a valid seccomp profile"),
            ),
            (
                json!({seccomp: "localhost/../x"}),
                Value::Null,
                format!("metadata.annotations.{seccomp}: Invalid value: \"../x\": must not contain '..'"),
            ),
            (
                json!({key("d"): "x"}),
                Value::Null,
                format!(
                    "metadata.annotations[{0}]: Invalid value: \"d\": container not found\n\
                     metadata.annotations[{0}]: Invalid value: \"x\": invalid AppArmor profile name: \"x\"",
                    key("d")
                ),
            ),
            (
                json!({key("c"): "unconfined"}),
                json!({FIELD: {"type": "RuntimeDefault"}}),
                "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match".to_owned(),
            ),
        ] {
            assert_eq!(told(&pod(annotations, context)), wanted);
        }
        let (plain, marked) = (
            pod(json!({}), Value::Null),
            pod(json!({key("c"): ""}), Value::Null),
        );
        let changed = |new: &Value, old: &Value| {
            let mut errors = ErrorList::new();
            validate_update(new, old, &mut errors);
            errors.len()
        };
        assert_eq!(
            (
                changed(&marked, &plain),
                changed(&plain, &marked),
                changed(&marked, &marked)
            ),
            (1, 1, 0)
        );
    }
}
