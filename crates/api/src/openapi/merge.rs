//! The v2 document of several servers: what comes to this one's own from the others, by the rules of upstream's aggregator.
//!
//! Paths of whoever was first stay. A definition or parameter that is there already with the same content is shared, one with other
//! content gets another name (`NAME_v2`, `NAME_v3`, ...), and whoever refers to it refers to that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    check::Target,
    messages::{PATH_ITEM, SCHEMA},
    part::{Part, PartError, Pieces, Selected, renamed},
};

const GVK: &str = "x-kubernetes-group-version-kind";

/// What a document has before others are merged into it.
pub(super) trait Base {
    fn has_path(&self, path: &str) -> bool;
    fn definition(&self, name: &str) -> Option<Value>;
    fn parameter(&self, name: &str) -> Option<Value>;
}

/// What others add. A definition that the base has as well takes its place.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub paths: Pieces,
    pub definitions: Pieces,
    pub parameters: Pieces,
}

/// New names by those that the pieces had.
type Renames = BTreeMap<String, String>;

impl Added {
    /// Adds a part.
    pub(super) fn add(&mut self, base: &dyn Base, part: &Part) -> Result<(), PartError> {
        let selected =
            part.select(|path| !base.has_path(path) && !self.paths.contains_key(path))?;
        let definitions = renames(
            &selected.definitions,
            |name| self.definition(base, name),
            |one, other| without_gvks(one) == without_gvks(other),
        )?;
        let parameters = renames(
            &selected.parameters,
            |name| self.parameter(base, name),
            |one, other| one == other,
        )?;
        let selected = rename(selected, &definitions, &parameters)?;
        for (name, text) in selected.definitions {
            let text = match self.definition(base, &name) {
                None => text,
                Some(mut there) => {
                    let more: Value = serde_json::from_str(&text)?;
                    if !merge_gvks(&mut there, &more) {
                        continue;
                    }
                    there.to_string()
                }
            };
            self.definitions.insert(name, text);
        }
        for (name, text) in selected.parameters {
            if self.parameter(base, &name).is_none() {
                self.parameters.insert(name, text);
            }
        }
        self.paths.extend(selected.paths);
        Ok(())
    }

    fn definition(&self, base: &dyn Base, name: &str) -> Option<Value> {
        match self.definitions.get(name) {
            Some(text) => serde_json::from_str(text).ok(),
            None => base.definition(name),
        }
    }

    fn parameter(&self, base: &dyn Base, name: &str) -> Option<Value> {
        match self.parameters.get(name) {
            Some(text) => serde_json::from_str(text).ok(),
            None => base.parameter(name),
        }
    }
}

/// The names that pieces get, where others have theirs.
fn renames(
    pieces: &Pieces,
    there: impl Fn(&str) -> Option<Value>,
    same: impl Fn(&Value, &Value) -> bool,
) -> Result<Renames, PartError> {
    let mut renames = Renames::new();
    let mut given: BTreeSet<String> = BTreeSet::new();
    for (name, text) in pieces {
        let Some(known) = there(name) else {
            continue;
        };
        let piece: Value = serde_json::from_str(text)?;
        if same(&known, &piece) {
            continue;
        }
        let mut numbered = (2u32..).map(|number| format!("{name}_v{number}"));
        let new = numbered.find(|new| match there(new) {
            Some(known) => same(&known, &piece),
            None => !given.contains(new) && !pieces.contains_key(new),
        });
        if let Some(new) = new {
            given.insert(new.clone());
            renames.insert(name.clone(), new);
        }
    }
    Ok(renames)
}

fn rename(
    selected: Selected,
    definitions: &Renames,
    parameters: &Renames,
) -> Result<Selected, PartError> {
    if definitions.is_empty() && parameters.is_empty() {
        return Ok(selected);
    }
    let of = |target| match target {
        Target::Definition => definitions,
        Target::Parameter => parameters,
    };
    let mut follow = |target, name: &mut String| {
        if let Some(new) = of(target).get(name) {
            name.clone_from(new);
        }
    };
    let mut all = |pieces: Pieces, message, names: &Renames| {
        let pieces = pieces.into_iter().map(|(name, text)| {
            let name = names.get(&name).cloned().unwrap_or(name);
            Ok((name, renamed(&text, message, &mut follow)?))
        });
        pieces.collect::<Result<Pieces, PartError>>()
    };
    Ok(Selected {
        paths: all(selected.paths, Some(&PATH_ITEM), &Renames::new())?,
        definitions: all(selected.definitions, Some(&SCHEMA), definitions)?,
        parameters: all(selected.parameters, None, parameters)?,
    })
}

fn without_gvks(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(map) = definition.as_object_mut() {
        map.remove(GVK);
    }
    definition
}

/// Adds the group-version-kinds of a definition to those of another that is the same otherwise. False: they are there.
fn merge_gvks(there: &mut Value, more: &Value) -> bool {
    let Some(more) = more.get(GVK).and_then(Value::as_array) else {
        return false;
    };
    let Some(map) = there.as_object_mut() else {
        return false;
    };
    let all = map.entry(GVK).or_insert_with(|| Value::Array(Vec::new()));
    let Some(all) = all.as_array_mut() else {
        return false;
    };
    let before = all.len();
    for gvk in more {
        if !all.contains(gvk) {
            all.push(gvk.clone());
        }
    }
    if all.len() == before {
        return false;
    }
    let text = |gvk: &Value, field: &str| gvk[field].as_str().unwrap_or_default().to_owned();
    all.sort_by_cached_key(|gvk| {
        let (group, version) = (text(gvk, "group"), text(gvk, "version"));
        format!("{group}/{version}.{}", text(gvk, "kind"))
    });
    true
}

#[cfg(test)]
mod tests;
