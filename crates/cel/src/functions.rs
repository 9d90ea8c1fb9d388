//! The functions there are, by their signatures.

use std::{collections::HashMap, sync::LazyLock};

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    pub receiver: Option<Type>,
    pub arguments: Vec<Type>,
    pub result: Type,
}

const SIGNATURES: &str = include_str!("signatures.txt");
/// The namespace of functions for JSON patches.
pub const PATCH: &str = "jsonpatch";
/// Functions of a namespace are called like methods of it.
const NAMESPACES: [&str; 7] = [
    "format", "ip", PATCH, "lists", "optional", "sets", "strings",
];

static ALL: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(parse);

/// The overloads of a function.
pub fn find(name: &str) -> Option<&'static [Overload]> {
    // Orders have the same signatures.
    let name = match name {
        "_<=_" | "_>_" | "_>=_" => "_<_",
        name => name,
    };
    ALL.get(name).map(Vec::as_slice)
}

/// `optional.of` for a call of `of` on `optional`, if that is a function.
pub fn of_namespace(namespace: &str, name: &str) -> Option<String> {
    let full = format!("{namespace}.{name}");
    (NAMESPACES.contains(&namespace) && ALL.contains_key(&*full)).then_some(full)
}

fn parse() -> HashMap<&'static str, Vec<Overload>> {
    let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in SIGNATURES.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&'static str> = line.split(' ').collect();
        let [name, receiver, arguments, result] = parts[..] else {
            continue;
        };
        let overload = Overload {
            receiver: (receiver != "-").then(|| ty(receiver)),
            arguments: match arguments {
                "-" => Vec::new(),
                list => split(list).into_iter().map(ty).collect(),
            },
            result: ty(result),
        };
        all.entry(name).or_default().push(overload);
    }
    all
}

/// At commas outside of angle brackets.
#[expect(clippy::arithmetic_side_effects, reason = "the table is ours")]
fn split(list: &'static str) -> Vec<&'static str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[from..]);
    parts
}

fn ty(name: &'static str) -> Type {
    let inside = |prefix: &str| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix('>'))
    };
    if let Some(element) = inside("list<") {
        return Type::list(ty(element));
    }
    if let Some(of) = inside("optional<") {
        return Type::optional(ty(of));
    }
    if let Some(both) = inside("map<") {
        return match split(both)[..] {
            [key, value] => Type::map(ty(key), ty(value)),
            _ => Type::Dyn,
        };
    }
    match name {
        "A" => Type::Var(0),
        "B" => Type::Var(1),
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Meta,
        other => Type::Opaque(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_function() {
        let lines = SIGNATURES
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert_eq!(ALL.values().map(Vec::len).sum::<usize>(), lines);
        assert_eq!(
            of_namespace("optional", "of").as_deref(),
            Some("optional.of")
        );
        assert!(find("_>=_").is_some() && find("nothing").is_none());
    }
}
