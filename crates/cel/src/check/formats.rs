//! Calls of `format` whose text and list are literals: each clause is one there is, and takes what the list has for it. What is wrong
//! would fail at each evaluation, so that it is told where the expression is written, as by cel-go's validator.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};

use super::Checker;
use crate::{estimate, issues::Issue, types::Type};

/// Something that is wrong: with an argument, else with the call.
type Wrong = (Option<u64>, String);

impl Checker<'_> {
    /// Whether it is a call that [`Checker::check_format`] looks at.
    pub(super) fn is_literal_format(call: &CallExpr) -> bool {
        let text = call.target.as_ref().map(|target| &target.expr);
        call.func_name == "format"
            && matches!(text, Some(Expr::Literal(LiteralValue::String(_))))
            && matches!(&call.args[..], [list] if matches!(list.expr, Expr::List(_)))
    }

    /// Of types that have been kept.
    pub(super) fn check_format(&mut self, id: u64, call: &CallExpr) {
        let (Some(target), [list]) = (&call.target, &call.args[..]) else {
            return;
        };
        let (Expr::Literal(LiteralValue::String(text)), Expr::List(list)) =
            (&target.expr, &list.expr)
        else {
            return;
        };
        if let Err((argument, message)) = self.clauses(text.inner(), &list.elements) {
            let id = argument.unwrap_or(id);
            self.literals.issues.push(Issue { id, message });
        }
    }

    fn clauses(&self, text: &str, arguments: &[IdedExpr]) -> Result<(), Wrong> {
        let mut used: usize = 0;
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('%') {
            rest = after;
            if let Some(after) = rest.strip_prefix('%') {
                rest = after;
                continue;
            }
            let argument = arguments.get(used);
            let argument = argument.ok_or((None, format!("index {used} out of range")))?;
            used = used.saturating_add(1);
            if rest.is_empty() {
                return Err((None, "unexpected end of string".to_owned()));
            }
            let unparsed =
                |why: String| (None, format!("could not parse formatting clause: {why}"));
            rest = without_precision(rest)
                .map_err(|why| unparsed(format!("error while parsing precision: {why}")))?;
            let verb = rest.chars().next().unwrap_or_default();
            rest = &rest[verb.len_utf8()..];
            let (suits, what): (fn(&Type) -> bool, _) = clause(verb)
                .ok_or_else(|| unparsed(format!("unrecognized formatting clause \"{verb}\"")))?;
            self.suits(argument, verb == 's', suits)
                .map_err(|(id, ty)| {
                    let message = format!(
                        "error during formatting: {what}, was given {}",
                        name_of(&ty)
                    );
                    (Some(id), message)
                })?;
        }
        match arguments.len() > used {
            true => Err((
                None,
                format!(
                    "too many arguments supplied to string.format (expected {used}, got {})",
                    arguments.len()
                ),
            )),
            false => Ok(()),
        }
    }

    /// `deep`: what stands in literals of lists and maps, too.
    fn suits(
        &self,
        expr: &IdedExpr,
        deep: bool,
        suits: fn(&Type) -> bool,
    ) -> Result<(), (u64, Type)> {
        let ty = self
            .types
            .as_ref()
            .and_then(|types| types.get(&estimate::key(expr)));
        let ty = ty.map_or(Type::Dyn, |ty| self.resolved(ty));
        if !matches!(ty, Type::Dyn | Type::Var(_)) && !suits(&ty) {
            return Err((expr.id, ty));
        }
        match &expr.expr {
            Expr::List(list) if deep => list
                .elements
                .iter()
                .try_for_each(|element| self.suits(element, deep, suits)),
            Expr::Map(map) if deep => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.suits(&entry.key, deep, suits)?;
                    self.suits(&entry.value, deep, suits)
                }
                EntryExpr::StructField(_) => Ok(()),
            }),
            _ => Ok(()),
        }
    }
}

/// The text behind a precision, `.2`, where there is one.
fn without_precision(text: &str) -> Result<&str, &'static str> {
    let Some(after) = text.strip_prefix('.') else {
        return Ok(text);
    };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    match (digits, &after[digits..]) {
        (_, "") => Err("could not find end of precision specifier"),
        (0, _) => Err(
            "error while converting precision to integer: strconv.Atoi: parsing \"\": invalid syntax",
        ),
        (_, rest) => Ok(rest),
    }
}

/// What a clause takes, and what is said of anything else.
type Clause = (fn(&Type) -> bool, &'static str);

fn clause(verb: char) -> Option<Clause> {
    Some(match verb {
        's' => (
            |ty| {
                !matches!(
                    ty,
                    Type::Object(_) | Type::Named(_) | Type::Optional(_) | Type::Opaque(_)
                )
            },
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        ),
        'd' => (
            |ty| matches!(ty, Type::Int | Type::Uint),
            "decimal clause can only be used on integers",
        ),
        'f' => (
            |ty| matches!(ty, Type::Double | Type::String),
            "fixed-point clause can only be used on doubles",
        ),
        'e' => (
            |ty| matches!(ty, Type::Double | Type::String),
            "scientific clause can only be used on doubles",
        ),
        'b' => (
            |ty| matches!(ty, Type::Int | Type::Uint | Type::Bool),
            "only integers and bools can be formatted as binary",
        ),
        'x' | 'X' => (
            |ty| matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
            "only integers, byte buffers, and strings can be formatted as hex",
        ),
        'o' => (
            |ty| matches!(ty, Type::Int | Type::Uint),
            "octal clause can only be used on integers",
        ),
        _ => return None,
    })
}

/// A type's own name, without what it is of.
fn name_of(ty: &Type) -> String {
    match ty {
        Type::List(_) => "list".to_owned(),
        Type::Map(_) => "map".to_owned(),
        Type::Optional(_) => "optional_type".to_owned(),
        other => other.to_string(),
    }
}
