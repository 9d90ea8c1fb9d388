//! The modules of a crate, read from its tokens: which names each has, and which paths stand in it.
//!
//! Nothing is compiled: what a macro makes and what a method belongs to is not seen, and what only tests have is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Result;
use proc_macro2::{Delimiter, TokenTree};

use super::{source::Source, uses};

/// What a name of a module stands for.
pub enum Named {
    /// It is defined there.
    Item,
    Module(usize),
    /// It was made known by a `use` of this path.
    Use(Vec<String>),
}

pub struct Module {
    /// In `Modules::files`.
    pub file: usize,
    pub parent: Option<usize>,
    pub names: BTreeMap<String, Vec<Named>>,
    /// What a `use` takes everything of, and whether that is for others.
    pub globs: Vec<(Vec<String>, bool)>,
    /// Every path of two or more parts in its text.
    pub paths: Vec<Vec<String>>,
    /// What is handed on to others under a name: it is used here only where that name stands.
    pub handed_on: Vec<(String, Vec<String>)>,
    pub words: BTreeSet<String>,
    /// Where the files of its children are.
    folder: PathBuf,
}

/// A crate, from its root file on. The root is module 0.
#[derive(Default)]
pub struct Modules {
    pub files: Vec<PathBuf>,
    pub all: Vec<Module>,
}

impl Modules {
    pub fn read(root: &Path, sources: &BTreeMap<&Path, &Source>) -> Result<Self> {
        let mut modules = Self::default();
        let folder = root.parent().unwrap_or(root).to_owned();
        modules.file(root, folder, None, sources)?;
        Ok(modules)
    }

    /// Reads a module that has a file of its own, and its children.
    fn file(
        &mut self,
        path: &Path,
        folder: PathBuf,
        parent: Option<usize>,
        sources: &BTreeMap<&Path, &Source>,
    ) -> Result<Option<usize>> {
        let Some(source) = sources.get(path) else {
            return Ok(None);
        };
        self.files.push(path.to_owned());
        let module = self.add(self.files.len() - 1, folder, parent);
        self.walk(module, source.tokens()?, true, sources)?;
        Ok(Some(module))
    }

    fn add(&mut self, file: usize, folder: PathBuf, parent: Option<usize>) -> usize {
        self.all.push(Module {
            file,
            parent,
            names: BTreeMap::new(),
            globs: Vec::new(),
            paths: Vec::new(),
            handed_on: Vec::new(),
            words: BTreeSet::new(),
            folder,
        });
        self.all.len() - 1
    }

    /// `items`: whether what is defined here has a name in the module.
    fn walk(
        &mut self,
        module: usize,
        mut trees: &[TokenTree],
        items: bool,
        sources: &BTreeMap<&Path, &Source>,
    ) -> Result<()> {
        while let Some(tree) = trees.first() {
            let mut taken = 1;
            match tree {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(attribute) = attribute(trees) {
                        taken = attribute.len();
                        if is_for_tests(attribute) {
                            taken += item_length(&trees[taken..]);
                        }
                    }
                }
                TokenTree::Ident(word) => {
                    taken = self.word(module, &word.to_string(), trees, items, sources)?;
                }
                TokenTree::Group(group) => {
                    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.walk(module, &inside, false, sources)?;
                }
                _ => {}
            }
            trees = &trees[taken.min(trees.len())..];
        }
        Ok(())
    }

    /// Takes in what starts with a word; returns how many trees that were.
    fn word(
        &mut self,
        module: usize,
        word: &str,
        trees: &[TokenTree],
        items: bool,
        sources: &BTreeMap<&Path, &Source>,
    ) -> Result<usize> {
        match (word, &trees[1..]) {
            ("pub", [TokenTree::Group(group), rest @ ..])
                if group.delimiter() == Delimiter::Parenthesis =>
            {
                return Ok(2 + self.hand_on(module, rest));
            }
            ("pub", rest) => return Ok(1 + self.hand_on(module, rest)),
            ("use", [TokenTree::Punct(punct), ..]) if punct.as_char() == '<' => {}
            ("use", rest) => {
                let uses = until_semicolon(rest);
                self.take_use(module, uses, false);
                return Ok(uses.len() + 2);
            }
            ("mod", [TokenTree::Ident(name), TokenTree::Punct(_), ..]) => {
                let file = name.to_string();
                let folder = self.all[module].folder.join(file.trim_start_matches("r#"));
                let own = folder.with_extension("rs");
                let path = if sources.contains_key(own.as_path()) {
                    own
                } else {
                    folder.join("mod.rs")
                };
                if let Some(child) = self.file(&path, folder, Some(module), sources)? {
                    self.name(module, &name.to_string(), Named::Module(child));
                }
                return Ok(3);
            }
            ("mod", [TokenTree::Ident(name), TokenTree::Group(body), ..]) => {
                let folder = self.all[module].folder.join(name.to_string());
                let child = self.add(self.all[module].file, folder, Some(module));
                self.name(module, &name.to_string(), Named::Module(child));
                let inside: Vec<TokenTree> = body.stream().into_iter().collect();
                self.walk(child, &inside, true, sources)?;
                return Ok(3);
            }
            (
                "fn" | "struct" | "enum" | "trait" | "union" | "type" | "const" | "static",
                [TokenTree::Ident(name), ..],
            ) if items && name != "fn" => {
                self.name(module, &name.to_string(), Named::Item);
                return Ok(2);
            }
            ("macro_rules", [TokenTree::Punct(_), TokenTree::Ident(name), ..]) => {
                self.name(module, &name.to_string(), Named::Item);
                return Ok(3);
            }
            _ => {}
        }
        let (path, taken) = uses::path(trees);
        if path.len() > 1 {
            self.all[module].paths.push(path.clone());
        }
        self.all[module].words.extend(path.into_iter().next());
        Ok(taken)
    }

    /// Takes in a `use` behind `pub`; returns how many trees that were.
    fn hand_on(&mut self, module: usize, trees: &[TokenTree]) -> usize {
        match trees {
            [TokenTree::Ident(word), rest @ ..] if word == "use" => {
                let uses = until_semicolon(rest);
                self.take_use(module, uses, true);
                uses.len() + 2
            }
            _ => 0,
        }
    }

    fn take_use(&mut self, module: usize, trees: &[TokenTree], is_public: bool) {
        for taken in uses::flatten(trees) {
            match taken.name {
                Some(name) => {
                    let into = &mut self.all[module];
                    match is_public {
                        true => into.handed_on.push((name.clone(), taken.path.clone())),
                        false => into.paths.push(taken.path.clone()),
                    }
                    self.name(module, &name, Named::Use(taken.path));
                }
                None => self.all[module].globs.push((taken.path, is_public)),
            }
        }
    }

    fn name(&mut self, module: usize, name: &str, named: Named) {
        let names = &mut self.all[module].names;
        names.entry(name.to_owned()).or_default().push(named);
    }
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn until_semicolon(trees: &[TokenTree]) -> &[TokenTree] {
    let end = trees.iter().position(|tree| is_punct(tree, ';'));
    &trees[..end.unwrap_or(trees.len())]
}

/// `#[...]` or `#![...]`.
fn attribute(trees: &[TokenTree]) -> Option<&[TokenTree]> {
    let length = trees
        .iter()
        .take(3)
        .position(|tree| matches!(tree, TokenTree::Group(_)))?;
    Some(&trees[..=length])
}

/// `#[cfg(test)]`, also beside other conditions of which one is enough.
fn is_for_tests(attribute: &[TokenTree]) -> bool {
    let text: String = attribute.iter().map(ToString::to_string).collect();
    let text: String = text.split_whitespace().collect();
    text.starts_with("#[cfg(test)") || text.starts_with("#[cfg(any(test,")
}

/// How far an item reaches: to the first body or semicolon.
fn item_length(trees: &[TokenTree]) -> usize {
    let is_end = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        other => is_punct(other, ';'),
    };
    trees
        .iter()
        .position(is_end)
        .map_or(trees.len(), |at| at + 1)
}
