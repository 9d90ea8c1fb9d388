//! Requests by a seed: an example's object with something wrong in it, made, put, patched, applied. All are dry runs, so that each
//! finds what the ones before found.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{
    client::{JSON, Request},
    directives,
    mutate::{Mutation, mutate},
    objects::Example,
};

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// `count` requests about an example; `stored` is its object as it is now.
pub fn generate(
    example: &Example,
    stored: Option<&Value>,
    seed: u64,
    count: usize,
) -> Vec<Request> {
    let mut rng = Rng::with_seed(seed ^ hash(&format!("{}/{}", example.kind, example.name())));
    (0..count)
        .filter_map(|_| one(&mut rng, example, stored))
        .collect()
}

/// FNV-1a: kinds have sequences of their own, the same on every machine.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn one(rng: &mut Rng, example: &Example, stored: Option<&Value>) -> Option<Request> {
    let options = options(rng);
    let (Some(path), Some(stored)) = (&example.path, stored) else {
        return create(rng, example, &options);
    };
    let has_status = example.subresources.contains(&"status") && stored["status"].is_object();
    match rng.u8(..100) {
        0..45 => create(rng, example, &options),
        45..65 => {
            // As who read it before, or as who has a file.
            let whole = rng.bool();
            let mut object = if whole { stored } else { &example.object }.clone();
            let change = mutate(rng, &mut object, example.schema, None)?;
            let request = Request::new("update", "PUT", format!("{path}?{options}"));
            Some(finish(rng, request.json(&object), &[change]))
        }
        65..75 if has_status => {
            let mut object = stored.clone();
            if let Some(status) = example.object.get("status") {
                object["status"] = status.clone();
            }
            let change = mutate(rng, &mut object, example.schema, Some("status"))?;
            let request = Request::new("update status", "PUT", format!("{path}/status?{options}"));
            Some(finish(rng, request.json(&object), &[change]))
        }
        65..92 => patch(rng, example, stored, &format!("{path}?{options}")),
        _ => {
            let mut object = example.object.clone();
            let change = mutate(rng, &mut object, example.schema, None)?;
            let path = format!("{path}?{options}&fieldManager=applier&force=true");
            let request = Request::new("apply", "PATCH", path).body(APPLY, object.to_string());
            Some(finish(rng, request, &[change]))
        }
    }
}

fn options(rng: &mut Rng) -> String {
    let validation = ["", "&fieldValidation=Strict", "&fieldValidation=Ignore"];
    format!("dryRun=All{}", validation[rng.usize(..validation.len())])
}

fn create(rng: &mut Rng, example: &Example, options: &str) -> Option<Request> {
    let mut object = example.object.clone();
    if example.name().starts_with("base") {
        object["metadata"]["name"] = json!("made");
    }
    let mut changes = vec![mutate(rng, &mut object, example.schema, None)?];
    if rng.u8(..100) < 25 {
        changes.extend(mutate(rng, &mut object, example.schema, None));
    }
    let request = Request::new(
        "create",
        "POST",
        format!("{}?{options}", example.collection),
    );
    Some(finish(rng, request.json(&object), &changes))
}

fn patch(rng: &mut Rng, example: &Example, stored: &Value, path: &str) -> Option<Request> {
    let mut object = stored.clone();
    let patch = |format: &str, body: Value| {
        Request::new("patch", "PATCH", path.to_owned()).body(format, body.to_string())
    };
    if rng.u8(..4) == 0 {
        let (body, label) = directives::patch(rng, stored, example.schema)?;
        return Some(patch(STRATEGIC, body).label(label));
    }
    let change = mutate(rng, &mut object, example.schema, None)?;
    let (format, body) = match rng.u8(..3) {
        0 => (MERGE, change.merge_patch(&object)),
        1 => (STRATEGIC, change.merge_patch(&object)),
        _ => (JSON_PATCH, change.json_patch()),
    };
    Some(finish(rng, patch(format, body), &[change]))
}

/// Says what is tried, and which form of answer is wanted.
fn finish(rng: &mut Rng, request: Request, changes: &[Mutation]) -> Request {
    let labels: Vec<String> = changes.iter().map(Mutation::label).collect();
    let format = if rng.u8(..100) < 5 { TABLE } else { JSON };
    request.label(labels.join(", ")).accept(format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::objects;

    #[test]
    fn a_seed_makes_the_same_requests_of_every_sort() {
        let examples = objects::all().unwrap();
        let example = examples.iter().find(|e| e.kind == "Deployment").unwrap();
        let run = |seed| -> Vec<(String, String)> {
            let requests = generate(example, Some(&example.object), seed, 300);
            let shown = requests.into_iter();
            shown
                .map(|r| (r.verb.to_owned(), format!("{} {:?}", r.path, r.body)))
                .collect()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let verbs: std::collections::BTreeSet<String> = run(3).into_iter().map(|r| r.0).collect();
        let wanted = ["apply", "create", "patch", "update", "update status"];
        assert_eq!(verbs.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }
}
