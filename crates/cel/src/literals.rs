//! Literals that a function cannot take: `matches('[')`, `duration('1x')`. They have the right type and fail at each evaluation, so
//! that they are refused where the expression is written, as by cel-go's validators of literals.

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use knarr_meta::pattern;

use crate::{issues::Issue, times};

/// Patterns of an expression that are looked at. A pattern of a few bytes may take milliseconds to compile; one that is not looked
/// at is refused when it is used.
const MAX_PATTERNS: usize = 64;

/// Collects what is wrong with the literals of an expression's calls.
#[derive(Default)]
pub struct Literals {
    patterns: usize,
    pub issues: Vec<Issue>,
}

impl Literals {
    /// Looks at a call's first argument, as upstream: of `matches(text, pattern)` that is the text.
    pub fn check(&mut self, call: &CallExpr) {
        let Some(argument) = call.args.first() else {
            return;
        };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else {
            return;
        };
        let text = text.inner();
        let good = match &*call.func_name {
            "duration" => times::parse_duration(text).is_some(),
            "timestamp" => times::parse_timestamp(text).is_some(),
            "matches" if self.patterns < MAX_PATTERNS => {
                self.patterns = self.patterns.saturating_add(1);
                pattern::compile(text).is_ok()
            }
            _ => true,
        };
        if !good {
            self.issues.push(Issue {
                id: argument.id,
                message: format!("invalid {} argument", call.func_name),
            });
        }
    }
}
