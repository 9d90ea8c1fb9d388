//! Who is served when there are many requests, as upstream's clusters say: FlowSchemas and PriorityLevelConfigurations.
//!
//! As upstream's `registry/flowcontrol/ensurer`: what is mandatory is put right whatever it says; what is suggested is brought up to
//! date unless somebody has changed it, which its annotation tells from then on. One that is annotated and no longer suggested goes.

use knarr_api::{Kind, flowcontrol::standard};
use knarr_meta::object;
use serde_json::{Value, json};

use super::{Bootstrap, Error, Merge, Wanted, kind};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(super) const LEVELS: &str = "prioritylevelconfigurations";
pub(super) const SCHEMAS: &str = "flowschemas";

/// All objects.
pub(super) fn wanted() -> Result<Vec<Wanted>, Error> {
    let kinds = [(LEVELS, standard::levels()), (SCHEMAS, standard::schemas())];
    let mut wanted = Vec::new();
    for (resource, objects) in kinds {
        let kind = kind(GROUP, "v1", resource)?;
        wanted.extend(objects.into_iter().map(|object| {
            let name = object::name(&object).to_owned();
            Wanted {
                kind,
                namespace: String::new(),
                merge: match is_mandatory(&name) {
                    true => merge_mandatory,
                    false => merge_suggested,
                },
                name,
                object,
            }
        }));
    }
    Ok(wanted)
}

fn is_mandatory(name: &str) -> bool {
    standard::mandatory_schema(name).is_some()
}

fn merge_mandatory(stored: &mut Value, wanted: &Value) -> Merge {
    revise(stored, wanted, true)
}

fn merge_suggested(stored: &mut Value, wanted: &Value) -> Merge {
    // One that nobody has changed since it was made.
    let untouched = object::at(stored, &["metadata", "generation"]) == Some(&json!(1));
    let updates = annotated(stored).unwrap_or(untouched);
    revise(stored, wanted, updates)
}

/// What the annotation says; `None` where it says nothing that is understood.
fn annotated(stored: &Value) -> Option<bool> {
    // As Go's `ParseBool`.
    match object::annotation(stored, standard::AUTO_UPDATE)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn revise(stored: &mut Value, wanted: &Value, updates: bool) -> Merge {
    let mut merge = Merge::Fine;
    if updates && stored.get("spec") != wanted.get("spec") {
        stored["spec"] = wanted["spec"].clone();
        merge = Merge::Changed;
    }
    if annotated(stored) != Some(updates)
        && let Some(annotations) = (stored.get_mut("metadata"))
            .and_then(|metadata| object::child_mut(metadata, "annotations"))
    {
        let value = Value::from(updates.to_string());
        annotations.insert(standard::AUTO_UPDATE.to_owned(), value);
        merge = Merge::Changed;
    }
    merge
}

impl Bootstrap {
    /// Deletes what was suggested once.
    pub(super) async fn remove_unsuggested(&self) -> Result<(), Error> {
        let wanted = wanted()?;
        for resource in [LEVELS, SCHEMAS] {
            let kind: &Kind = kind(GROUP, "v1", resource)?;
            for stored in self.objects.list(GROUP, resource, "") {
                let stored: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
                let name = object::name(&stored);
                let mut of_kind = wanted.iter().filter(|wanted| wanted.kind.kind == kind.kind);
                if annotated(&stored) != Some(true) || of_kind.any(|wanted| wanted.name == name) {
                    continue;
                }
                match self.writer.delete(kind, "", name).await {
                    Err(status) if !status.is_not_found() => {
                        return Err(Error::Write {
                            what: format!("{} {name}", kind.kind),
                            status: Box::new(status),
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(annotation: &str, generation: u64, spec: u64) -> Value {
        let mut object =
            json!({"metadata": {"name": "a", "generation": generation}, "spec": {"a": spec}});
        if !annotation.is_empty() {
            object["metadata"]["annotations"] = json!({standard::AUTO_UPDATE: annotation});
        }
        object
    }

    #[test]
    fn what_nobody_has_changed_is_kept_up_to_date() {
        let wanted = stored("true", 1, 1);
        let check = |mut object: Value, merge: fn(&mut Value, &Value) -> Merge| {
            let merged = merge(&mut object, &wanted);
            let annotation = object["metadata"]["annotations"][standard::AUTO_UPDATE].clone();
            (merged, object["spec"]["a"].as_u64(), annotation)
        };
        let yes = || json!("true");
        for (object, merged, spec, annotation) in [
            (stored("true", 3, 1), Merge::Fine, 1, yes()),
            (stored("true", 3, 2), Merge::Changed, 1, yes()),
            (stored("T", 3, 1), Merge::Fine, 1, json!("T")),
            (stored("false", 1, 2), Merge::Fine, 2, json!("false")),
            (stored("", 1, 2), Merge::Changed, 1, yes()),
            (stored("", 2, 2), Merge::Changed, 2, json!("false")),
            (stored("perhaps", 2, 1), Merge::Changed, 1, json!("false")),
        ] {
            let got = check(object.clone(), merge_suggested);
            assert_eq!(got, (merged, Some(spec), annotation), "{object}");
        }
        let got = check(stored("false", 9, 2), merge_mandatory);
        assert_eq!(got, (Merge::Changed, Some(1), yes()));
    }
}
