//! Merging beside upstream's own: generated objects, configurations and managers go through both, and must come out the same.

mod cases;
mod schema;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use knarr_apply::{
    Error, Filter, Identity, Managers, Operation, Owned, Set, Updater, Versions,
    typed::{self, Duplicates},
};
use serde_json::{Value, json};

use crate::{cases::Cases, schema::Types};

/// Questions of each kind.
const QUESTIONS: usize = 2_000;

/// Set where Go has to be there, so that the comparison is not left out unnoticed.
const NEED_GO: &str = "KNARR_NEED_GO";

/// The program that answers as upstream does; `None` on a machine without Go, where nothing of upstream's runs.
///
/// # Errors
/// It cannot be built although there is Go, or Go has to be there and is not.
fn upstream() -> Result<Option<Command>> {
    let places = [
        "/usr/local/go/bin",
        "/usr/lib/go/bin",
        "/usr/lib/go-1.26/bin",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = std::env::split_paths(&path)
        .chain(places.map(PathBuf::from))
        .map(|folder| folder.join("go"))
        .find(|go| go.is_file());
    let Some(go) = go else {
        let needed = std::env::var_os(NEED_GO).is_some();
        ensure!(
            !needed,
            "there is no Go, and {NEED_GO} says that there has to be"
        );
        return Ok(None);
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/upstream/apply");
    let mut command = Command::new(go);
    command.current_dir(folder).env("CGO_ENABLED", "0");
    let built = command.args(["build", "-o"]).arg(program()).output()?;
    ensure!(
        built.status.success(),
        "upstream's packages could not be built: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(Some(Command::new(program())))
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("upstream-apply")
}

/// Upstream's answers.
fn ask(mut command: Command, questions: &[Value]) -> Result<Vec<Value>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("standard input")?;
    let mut text = format!("{}\n", schema::text());
    for question in questions {
        text.push_str(&format!("{question}\n"));
    }
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().expect("the writer does not panic")?;
    ensure!(output.status.success(), "the program failed");
    let lines = String::from_utf8(output.stdout)?;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).context("an answer"))
        .collect()
}

fn answer(types: &Types, question: &Value) -> Value {
    if let Some(object) = question.get("validate") {
        return validated(types, object);
    }
    if let Some(sets) = question.get("sets") {
        return sets_of(&sets[0], &sets[1]);
    }
    stepped(types, question)
}

fn version_of(object: &Value) -> &str {
    object["version"].as_str().unwrap_or_default()
}

fn validated(types: &Types, object: &Value) -> Value {
    let schema = types.schema(version_of(object)).expect("a served version");
    match typed::validate(&object["value"], schema, Duplicates::Refused) {
        Ok(()) => json!(""),
        Err(why) => json!(why.to_string()),
    }
}

fn sets_of(a: &Value, b: &Value) -> Value {
    let (Ok(a), Ok(b)) = (Set::from_json(a), Set::from_json(b)) else {
        return json!("malformed");
    };
    json!([
        a.union(&b).to_json(),
        a.intersection(&b).to_json(),
        a.difference(&b).to_json(),
        a.recursive_difference(&b).to_json(),
        a.paths(),
    ])
}

fn applied(name: &str, applied: bool, version: &str) -> Identity<'static> {
    Identity {
        manager: name.to_owned().into(),
        operation: if applied {
            Operation::Apply
        } else {
            Operation::Update
        },
        // The program knows managers by their names alone.
        version: if applied {
            "".into()
        } else {
            let _ = version;
            "any".into()
        },
        subresource: "".into(),
    }
}

fn stepped(types: &Types, question: &Value) -> Value {
    let mut live = question["live"].clone();
    let mut entries: BTreeMap<String, Value> =
        serde_json::from_value(question["managers"].clone()).unwrap_or_default();
    for entry in entries.values_mut() {
        // As both sides write sets.
        if let Ok(set) = Set::from_json(&entry["set"].clone()) {
            entry["set"] = set.to_json();
        }
    }
    let mut answers = Vec::new();
    for step in question["steps"].as_array().into_iter().flatten() {
        let error = match one_step(types, step, &live, &entries) {
            Ok((new, managers)) => {
                live = new;
                entries = managers;
                String::new()
            }
            Err(error) => error,
        };
        answers.push(json!({"error": error, "live": live["value"], "managers": entries}));
    }
    Value::Array(answers)
}

type State = (Value, BTreeMap<String, Value>);

fn one_step(
    types: &Types,
    step: &Value,
    live: &Value,
    entries: &BTreeMap<String, Value>,
) -> Result<State, String> {
    let failed = |_: Error<'_>| "failed".to_owned();
    let version = version_of(&step["object"]);
    let object = &step["object"]["value"];
    let name = step["manager"].as_str().unwrap_or_default();
    let live = match version_of(live) == version {
        true => live["value"].clone(),
        false => types
            .convert(&live["value"], version_of(live), version)
            .map_err(|_| "failed")?,
    };
    let mut managers = Managers::default();
    for (name, entry) in entries {
        let is_applied = entry["applied"] == true;
        let owned = Owned {
            set: Set::from_json(&entry["set"]).map_err(|_| "failed")?,
            version: version_of(entry).into(),
            time: None,
        };
        managers
            .0
            .insert(applied(name, is_applied, version_of(entry)), owned);
    }
    let reset: Vec<&'static str> = match step["reset"].as_array() {
        Some(reset) if !reset.is_empty() => vec!["status"],
        _ => Vec::new(),
    };
    let reset: Vec<&[&'static str]> = reset.chunks(1).collect();
    let filter = (!reset.is_empty()).then(|| Filter::without(&reset));
    let updater = Updater {
        versions: types,
        version,
        filter: filter.as_ref(),
    };
    let schema = types.schema(version).ok_or("failed")?;
    let is_apply = step["apply"] == true;
    let duplicates = match is_apply {
        true => Duplicates::Refused,
        false => Duplicates::Allowed,
    };
    typed::validate(object, schema, duplicates).map_err(|_| "failed")?;
    let identity = applied(name, is_apply, version);
    let new = if is_apply {
        let force = step["force"] == true;
        match updater.apply(&live, object, &mut managers, &identity, force) {
            Ok(new) => new,
            Err(Error::Conflicts(conflicts)) => return Err(conflict_lines(&conflicts)),
            Err(other) => return Err(failed(other)),
        }
    } else {
        let set = updater
            .update(&live, object, &mut managers)
            .map_err(failed)?;
        if !set.is_empty() {
            let set = match managers.0.get(&identity) {
                Some(before) => set.union(&before.set),
                None => set,
            };
            let owned = Owned {
                set,
                version: version.into(),
                time: None,
            };
            managers.0.insert(identity, owned);
        }
        object.clone()
    };
    let described = managers.0.iter().map(|(manager, owned)| {
        let is_applied = manager.operation == Operation::Apply;
        let entry = json!({
            "version": owned.version,
            "applied": is_applied,
            "set": owned.set.to_json(),
        });
        (manager.manager.clone().into_owned(), entry)
    });
    let described = described.collect();
    Ok((json!({"version": version, "value": new}), described))
}

/// Each conflict in a line, sorted.
fn conflict_lines(conflicts: &knarr_apply::Conflicts<'_>) -> String {
    let status = conflicts.status();
    let causes = status.details.map(|details| details.causes);
    let mut lines: Vec<String> = causes
        .into_iter()
        .flatten()
        .map(|cause| {
            let message = cause.message.replace(" using any", "");
            format!("{message}: {}", cause.field)
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// An error that shows the first step that came out otherwise.
fn compare(question: &Value, upstream: &Value, ours: &Value) -> Result<()> {
    if let (Some(theirs), Some(ours)) = (upstream.as_array(), ours.as_array()) {
        let steps = question["steps"].as_array().map_or(&[][..], Vec::as_slice);
        for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
            let before = index.checked_sub(1).map(|i| &upstream[i]["managers"]);
            ensure!(
                knarr_apply::same(ours, theirs),
                "{:?}\nbefore: {before:?}\nstep: {:?}\nupstream: {theirs}\n    ours: {ours}",
                question
                    .get("sets")
                    .or(question.get("live"))
                    .map(Value::to_string),
                steps.get(index).map(Value::to_string),
            );
        }
    }
    ensure!(
        knarr_apply::same(ours, upstream),
        "{question}\nupstream: {upstream}\n    ours: {ours}"
    );
    Ok(())
}

#[test]
fn merging_is_upstreams() -> Result<()> {
    let Some(upstream) = upstream()? else {
        eprintln!("left out: the comparison with upstream's merging, as there is no Go");
        return Ok(());
    };
    let seed = std::env::var("KNARR_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let mut cases = Cases::new(seed.unwrap_or(1));
    let questions: Vec<Value> = (0..QUESTIONS)
        .flat_map(|_| [cases.steps(), cases.sets(), cases.validation()])
        .collect();
    let answers = ask(upstream, &questions)?;
    ensure!(answers.len() == questions.len(), "an answer each");
    let types = Types::new();
    let mut conflicts = 0;
    for (question, upstream) in questions.iter().zip(&answers) {
        let ours = answer(&types, question);
        compare(question, upstream, &ours)?;
        conflicts += usize::from(upstream.to_string().contains("conflict with"));
    }
    // The questions must be worth asking.
    ensure!(conflicts > QUESTIONS / 20, "{conflicts} conflicts");
    Ok(())
}
