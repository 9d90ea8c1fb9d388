//! Lengths of files and functions.

use std::collections::BTreeMap;

use anyhow::Result;
use proc_macro2::{Delimiter, TokenTree};

use super::{
    exceptions::{LONG_FILES, LONG_FUNCTIONS},
    source::Source,
};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Files and functions that are too long, and exceptions that are none any more.
pub fn check(sources: &[Source]) -> Result<Vec<String>> {
    let mut found = Lengths::default();
    for source in sources {
        found.measure(source)?;
    }
    Ok(found.problems(LONG_FILES, LONG_FUNCTIONS))
}

/// What is over a limit, by the name that an exception gives it: how it is told.
#[derive(Default)]
pub struct Lengths {
    files: BTreeMap<String, String>,
    functions: BTreeMap<String, String>,
}

impl Lengths {
    pub fn measure(&mut self, source: &Source) -> Result<()> {
        let path = source.path.display().to_string();
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            let told = format!("{path} has {lines} lines (limit {FILE_LINES})");
            self.files.insert(path.clone(), told);
        }
        let mut functions = Vec::new();
        walk(source.tokens()?, is_test(&path), &mut functions);
        for Function { name, line, lines } in functions {
            if lines > FUNCTION_LINES {
                let told =
                    format!("{path}:{line} {name} has {lines} lines (limit {FUNCTION_LINES})");
                self.functions.insert(format!("{path} {name}"), told);
            }
        }
        Ok(())
    }

    pub fn problems(mut self, files: &[(&str, &str)], functions: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        for (excepted, found) in [(files, &mut self.files), (functions, &mut self.functions)] {
            for (name, _) in excepted {
                if found.remove(*name).is_none() {
                    problems.push(format!("{name} is not too long: it needs no exception"));
                }
            }
        }
        problems.extend(self.files.into_values());
        problems.extend(self.functions.into_values());
        problems
    }
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn walk(trees: &[TokenTree], is_test: bool, found: &mut Vec<Function>) {
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Ident(word) if word == "fn" => {
                found.extend(function(&trees[at..], is_test));
            }
            TokenTree::Group(group) => {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                walk(&inside, is_test, found);
            }
            _ => {}
        }
    }
}

/// The function that starts here, from `fn` to the end of its body.
fn function(trees: &[TokenTree], is_test: bool) -> Option<Function> {
    let [first, TokenTree::Ident(name), rest @ ..] = trees else {
        return None;
    };
    let line = first.span().start().line;
    for tree in rest {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                let end = body.span_close().end().line;
                let inside: Vec<TokenTree> = body.stream().into_iter().collect();
                let data = if is_test { rows(&inside) } else { 0 };
                return Some(Function {
                    name: name.to_string(),
                    line,
                    lines: end - line + 1 - data,
                });
            }
            _ => {}
        }
    }
    None
}

/// Lines of a test that are its table: what stands between brackets is data, however many the cases are.
fn rows(trees: &[TokenTree]) -> usize {
    let mut lines = 0;
    for tree in trees {
        let TokenTree::Group(group) = tree else {
            continue;
        };
        if group.delimiter() == Delimiter::Bracket {
            let (open, close) = (group.span_open(), group.span_close());
            lines += (close.start().line - open.start().line).saturating_sub(1);
        } else {
            lines += rows(&group.stream().into_iter().collect::<Vec<_>>());
        }
    }
    lines
}
