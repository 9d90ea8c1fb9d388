//! Paths, and what a `use` makes known.

use proc_macro2::{Delimiter, TokenTree};

/// One name that a `use` makes known; without a name, all of a module's.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    pub name: Option<String>,
}

/// The path that starts here (`a::b::c`), and how many trees it takes.
pub fn path(trees: &[TokenTree]) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(word)) = trees.get(at) {
        path.push(word.to_string());
        at += 1;
        if !(is_colon(trees.get(at)) && is_colon(trees.get(at + 1))) {
            break;
        }
        // What follows may be generic arguments or a group.
        if !matches!(trees.get(at + 2), Some(TokenTree::Ident(_))) {
            at += 2;
            break;
        }
        at += 2;
    }
    (path, at.max(1))
}

/// Everything between `use` and its semicolon.
pub fn flatten(trees: &[TokenTree]) -> Vec<Use> {
    let mut found = Vec::new();
    take(&[], trees, &mut found);
    found
}

fn take(before: &[String], trees: &[TokenTree], found: &mut Vec<Use>) {
    // A path from outside names nothing of this crate.
    if is_colon(trees.first()) {
        return;
    }
    let (own, taken) = path(trees);
    let mut whole = before.to_vec();
    whole.extend(own.iter().cloned());
    match trees.get(if own.is_empty() { 0 } else { taken }) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            let is_comma = |tree: &TokenTree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ',');
            for part in inside.split(is_comma).filter(|part| !part.is_empty()) {
                take(&whole, part, found);
            }
        }
        Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
            found.push(Use {
                path: whole,
                name: None,
            });
        }
        Some(TokenTree::Ident(word)) if word == "as" => {
            let name = trees.get(taken + 1).map(ToString::to_string);
            add(whole, name, found);
        }
        _ => add(whole, None, found),
    }
}

fn add(mut path: Vec<String>, name: Option<String>, found: &mut Vec<Use>) {
    // `a::{self}` is `a`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = name.or_else(|| path.last().cloned());
    if let Some(name) = name {
        let name = Some(name);
        found.push(Use { path, name });
    }
}

fn is_colon(tree: Option<&TokenTree>) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}
