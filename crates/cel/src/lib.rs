//! CEL, the Common Expression Language, as Kubernetes has it.
//!
//! ```text
//! source --parse (crate cel)--> tree --check--> Program        JSON + Type --lift--> Val
//!                                      types, overloads              |
//!                                                        Program::eval(variables, cost) --> Val
//! ```
//!
//! The crate `cel` parses. It has no type checker, counts no cost, and turns every object into values of its own before a rule
//! looks at it; so checking and evaluation are here: a rule that names a field that no schema has is refused when it is written,
//! in the words of cel-go, a value is read where it lies in the JSON tree, and every step is paid for.
//!
//! Rejected: evaluating with `cel` (a rule over a list of strangers' choosing has no bound there, and errors come when objects
//! are written, not when the rule is), cel-cpp over FFI.

// Numbers, lengths and positions are of expressions and objects that users send.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod check;
mod composition;
mod cost;
pub mod devices;
mod error;
mod estimate;
mod eval;
mod functions;
mod issues;
mod library;
mod literals;
pub mod patch;
mod syntax;
mod times;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cel::{IdedExpr, parser::Parser};

pub use composition::{Composed, Composition};
pub use cost::{Cost, Exceeded, PER_CALL, PER_OBJECT, weighed};
pub use estimate::Sizes;
pub use eval::Error;
pub use knarr_tasks::is_late;
pub use library::authz;
pub use types::{Field, ListKind, ListType, Object, RESERVED, Type, escape};
pub use value::{List, Map, Val};

/// Why a source that came late is not compiled.
pub const NO_TIME: &str = "there is no time left for it";
/// Longest source, in bytes, as cel-go.
const MAX_SOURCE_BYTES: usize = 100_000;
/// Deepest nesting of brackets. What a parser of a grammar nests for one level is several calls.
const MAX_DEPTH: u16 = 50;
/// Deepest tree: chains such as `1 + 1 + 1` are as deep as they are long. Evaluation nests as deep, on the stack of a request.
const MAX_TREE_DEPTH: usize = 128;
/// Most characters that may be operators. The parser nests once for each of a chain, on a stack that is made for that.
const MAX_OPERATORS: usize = 3000;
const STACK_BYTES: usize = 64 << 20;

/// What a program may use: variables with their types.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<String, Type>,
    composed: Option<Composed>,
    patch_types: bool,
}

impl Env {
    /// With these as `variables`.
    #[must_use]
    pub fn with_composed(self, composed: Composed) -> Env {
        Env {
            composed: Some(composed),
            ..self
        }
    }

    /// With `Object{...}`, `JSONPatch{...}` and `jsonpatch.escapeKey`.
    #[must_use]
    pub fn with_patch_types(self) -> Env {
        Env {
            patch_types: true,
            ..self
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Env {
        self.variables.insert(name.to_owned(), ty);
        self
    }
}

/// Why a source is no program: lines as cel-go prints them, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

/// A source that was parsed and checked.
#[derive(Debug)]
pub struct Program {
    tree: IdedExpr,
    /// What it evaluates to.
    pub result: Type,
    uses: BTreeSet<String>,
    max_cost: Option<u64>,
}

impl Program {
    /// Parses and checks a source.
    pub fn compile(source: &str, env: &Env) -> Result<Program, CompileError> {
        Program::compile_sized(source, env, None)
    }

    /// As [`Program::compile_sized`], of what somebody has sent who waits for the answer: what is late is not begun, so that a body
    /// full of sources takes no longer than its request may. Nothing that is kept comes of it: see [`knarr_tasks::is_late`].
    pub fn compile_sent(
        source: &str,
        env: &Env,
        sizes: Option<&Sizes>,
    ) -> Result<Program, CompileError> {
        match knarr_tasks::is_late() {
            true => Err(CompileError(format!("ERROR: <input>:-1:0: {NO_TIME}"))),
            false => Program::compile_sized(source, env, sizes),
        }
    }

    /// As [`Program::compile`], for values that are as large as this at most: what it may cost is known then.
    pub fn compile_sized(
        source: &str,
        env: &Env,
        sizes: Option<&Sizes>,
    ) -> Result<Program, CompileError> {
        if source.len() > MAX_SOURCE_BYTES {
            let size = source.chars().count();
            return Err(CompileError(format!(
                "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {size}, limit {MAX_SOURCE_BYTES}"
            )));
        }
        let operators = source
            .bytes()
            .filter(|byte| b"+-*/%<>=!.[({?:&|".contains(byte))
            .count();
        if operators > MAX_OPERATORS {
            return Err(CompileError(format!(
                "ERROR: <input>:-1:0: expression has more than {MAX_OPERATORS} operators"
            )));
        }
        // It takes milliseconds a kilobyte, and whoever sends it may send much.
        let compiled = knarr_tasks::heavy(|| {
            let compile = || Program::compile_here(source, env, sizes);
            knarr_tasks::caught_on_stack(STACK_BYTES, compile)
        });
        compiled.unwrap_or_else(|_| {
            let why = "the expression cannot be parsed";
            Err(CompileError(format!("ERROR: <input>:-1:0: {why}")))
        })
    }

    /// Needs a stack for the deepest tree that a parser makes of so many operators.
    fn compile_here(
        source: &str,
        env: &Env,
        sizes: Option<&Sizes>,
    ) -> Result<Program, CompileError> {
        let parser = Parser::new()
            .max_recursion_depth(MAX_DEPTH)
            .enable_optional_syntax(true);
        let (tree, positions) = parser
            .parse_with_source_info(source)
            .map_err(|errors| CompileError(issues::of_parser(source, &errors)))?;
        if syntax::depth(&tree) > MAX_TREE_DEPTH {
            return Err(CompileError(format!(
                "ERROR: <input>:-1:0: expression is nested deeper than {MAX_TREE_DEPTH} levels"
            )));
        }
        let mut checker = check::Checker::new(env);
        if sizes.is_some() {
            checker.keep_types();
        }
        let result = checker.check(&tree);
        let mut issues = &checker.issues;
        if issues.is_empty() {
            issues = &checker.literals.issues;
        }
        if !issues.is_empty() {
            return Err(CompileError(issues::of_checker(source, &positions, issues)));
        }
        let max_cost = sizes.map(|sizes| {
            let types = checker.take_types();
            estimate::Estimator::new(&types, sizes).cost(&tree)
        });
        Ok(Program {
            result: checker.resolved(&result),
            uses: checker.uses,
            max_cost,
            tree,
        })
    }

    /// The most units that it may cost, where it was compiled for sizes: [`u64::MAX`] where that has no bound.
    pub fn max_cost(&self) -> Option<u64> {
        self.max_cost
    }

    /// Whether the source names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.uses.contains(variable)
    }

    pub(crate) fn tree(&self) -> &IdedExpr {
        &self.tree
    }

    /// Those of `variables` that the source names.
    pub(crate) fn composed(&self) -> impl Iterator<Item = &str> {
        let prefix = composition::qualified("");
        let named = self.uses.range(prefix.clone()..);
        named.map_while(move |name| name.strip_prefix(&*prefix))
    }

    /// Evaluates with these variables, at this cost.
    ///
    /// # Errors
    /// [`Error::Cost`] and [`Error::Budget`] where it costs more, or is more work.
    pub fn eval<'a>(
        &'a self,
        variables: &[(&'a str, Val<'a>)],
        cost: &mut Cost,
    ) -> Result<Val<'a>, Error> {
        eval::Evaluator::new(variables, cost).eval(&self.tree)
    }
}
