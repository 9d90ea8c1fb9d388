//! Validation rules (`x-kubernetes-validations`): compiled once a schema, evaluated for each object.

use std::collections::BTreeMap;

use knarr_cel::{
    Cost, Env, Error as EvalError, PER_CALL, PER_OBJECT, Program, Sizes, Type as CelType, Val,
    weighed,
};
use knarr_meta::field::{Error, ErrorList, ErrorType, Path};
use serde_json::Value;

use crate::{
    Additional, ListType, Rule, Schema, Type,
    field_path::{self, Brackets},
    lists,
    validate::pathless,
};

pub(crate) mod sizes;
#[cfg(test)]
mod tests;
mod types;

pub use types::of as type_of;

/// Longest message that an expression makes.
const MAX_MESSAGE_BYTES: usize = 5 << 10;
/// Most errors of rules that are told.
const MAX_ERRORS: usize = 100;

/// A rule that was compiled.
pub(crate) struct Compiled {
    pub program: Program,
    pub message: Option<Program>,
    pub uses_old: bool,
    /// `spec.x` below the value.
    field_path: String,
}

/// What is wrong with a rule: the field of it, and why.
pub(crate) struct Wrong {
    pub field: &'static str,
    pub why: String,
}

/// The rules of a schema and of what is inside, as far as there are any.
pub struct Rules {
    /// Of the value, as rules see it.
    ty: CelType,
    /// Of the value, as errors tell it.
    shown: &'static str,
    rules: Vec<(Rule, Compiled)>,
    properties: BTreeMap<Box<str>, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// What identifies elements, in a list of type map.
    list: Option<Box<[Box<str>]>>,
    atomic_map: bool,
}

impl Rules {
    /// The rules of a schema; `root`: it is that of a whole object. Rules that do not compile are left out: their definition was
    /// refused, or another version of this program accepted it.
    pub fn new(schema: &Schema, root: bool) -> Option<Rules> {
        if !schema.has_rules() {
            return None;
        }
        let ty = type_of(schema, root || schema.embedded)?;
        let compiled = schema.rules.iter().filter_map(|rule| {
            let compiled = compile(rule, &ty, schema, None).ok()?;
            Some((rule.clone(), compiled))
        });
        Some(Rules {
            rules: compiled.collect(),
            shown: schema.ty.map_or("", Type::as_str),
            properties: schema
                .properties()
                .filter_map(|(name, property)| Some((name.into(), Rules::new(property, false)?)))
                .collect(),
            additional: match &schema.additional {
                Additional::Of(additional) => Rules::new(additional, false).map(Box::new),
                _ => None,
            },
            items: schema
                .items
                .as_ref()
                .and_then(|items| Rules::new(items, false))
                .map(Box::new),
            list: (schema.list_type == ListType::Map).then(|| schema.list_map_keys.clone()),
            atomic_map: schema.atomic_map,
            ty,
        })
    }

    /// What the rules say of an object.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        self.validate_at(new, old, &Path::root())
    }

    /// As [`Rules::validate`], told below a path.
    pub(crate) fn validate_at(&self, new: &Value, old: Option<&Value>, path: &Path) -> ErrorList {
        weighed(PER_OBJECT, |cost| {
            let mut run = Run {
                errors: ErrorList::new(),
                cost: *cost,
                over: false,
            };
            let at = Visit {
                new,
                old,
                nearest: old.map(|old| (new, old)),
            };
            run.visit(self, at, path);
            *cost = run.cost;
            run.errors
        })
    }
}

/// Compiles a rule for values of a type; what it may cost is found out for values of these sizes.
pub(crate) fn compile(
    rule: &Rule,
    ty: &CelType,
    schema: &Schema,
    sizes: Option<&Sizes>,
) -> Result<Compiled, Wrong> {
    let old = match rule.optional_old_self {
        true => CelType::optional(ty.clone()),
        false => ty.clone(),
    };
    let env = Env::default().with("self", ty.clone()).with("oldSelf", old);
    let wrong = |field, why: String| Wrong { field, why };
    let program = Program::compile_sized(&rule.rule, &env, sizes)
        .map_err(|error| wrong("rule", format!("compilation failed: {error}")))?;
    if !program.result.is_bool() {
        return Err(wrong(
            "rule",
            "cel expression must evaluate to a bool".to_owned(),
        ));
    }
    let message = match &*rule.message_expression {
        "" => None,
        source => {
            let program = Program::compile_sized(source, &env, sizes).map_err(|error| {
                wrong(
                    "messageExpression",
                    format!("messageExpression compilation failed: {error}"),
                )
            })?;
            if !program.result.is_string() {
                let why = "messageExpression must evaluate to a string";
                return Err(wrong("messageExpression", why.to_owned()));
            }
            Some(program)
        }
    };
    let field_path = match &*rule.field_path {
        "" => String::new(),
        path => match field_path::find(path, schema, Brackets::Allowed) {
            Ok((path, _)) => path.to_string(),
            Err(_) => return Err(wrong("fieldPath", "must be a valid path".to_owned())),
        },
    };
    Ok(Compiled {
        uses_old: program.uses("oldSelf"),
        program,
        message,
        field_path,
    })
}

/// A value and what it was.
#[derive(Clone, Copy)]
struct Visit<'v> {
    new: &'v Value,
    old: Option<&'v Value>,
    /// The nearest value around, itself too, that has a former state.
    nearest: Option<(&'v Value, &'v Value)>,
}

impl<'v> Visit<'v> {
    fn inside(self, new: &'v Value, old: Option<&'v Value>) -> Visit<'v> {
        Visit {
            new,
            old,
            nearest: old.map(|old| (new, old)).or(self.nearest),
        }
    }
}

struct Run {
    errors: ErrorList,
    cost: Cost,
    /// No more rules are looked at.
    over: bool,
}

impl Run {
    fn visit<'v>(&mut self, rules: &Rules, at: Visit<'v>, path: &Path) {
        // A rule of a value that may be null is about those that are not.
        if self.over || at.new.is_null() {
            return;
        }
        for (rule, compiled) in &rules.rules {
            if self.over {
                return;
            }
            self.rule(rules, rule, compiled, at, path);
        }
        match at.new {
            Value::Object(map) => {
                let old = |name: &str| at.old.filter(|_| !rules.atomic_map)?.get(name);
                for (name, value) in map {
                    if let Some(inner) = rules.properties.get(&**name) {
                        self.visit(
                            inner,
                            at.inside(value, old(name)),
                            &path.child(name.clone()),
                        );
                    } else if let Some(inner) = &rules.additional {
                        self.visit(inner, at.inside(value, old(name)), &path.key(name.clone()));
                    }
                }
            }
            Value::Array(list) => {
                let Some(inner) = &rules.items else { return };
                let old = Former::new(rules.list.as_deref(), at.old);
                for (index, value) in list.iter().enumerate() {
                    self.visit(inner, at.inside(value, old.find(value)), &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn rule(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        compiled: &Compiled,
        at: Visit<'_>,
        path: &Path,
    ) {
        // What compares with a former state is not about what has none.
        if compiled.uses_old && at.old.is_none() && !rule.optional_old_self {
            return;
        }
        let out = |error_path: &Path| error(error_path, rules.shown, EvalError::Budget.to_string());
        if self.cost.left() == 0 {
            return self.end(out(path));
        }
        let Ok(variables) = variables(rules, rule, at, &mut self.cost) else {
            return self.end(out(path));
        };
        let text = told(rule);
        match self.eval(&compiled.program, &variables) {
            Ok(Val::Bool(true)) => return,
            Ok(_) => {}
            Err(EvalError::Budget) => return self.end(out(path)),
            Err(EvalError::Cost) => {
                let why = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {text}",
                    EvalError::Cost
                );
                return self.end(error(path, rules.shown, why));
            }
            Err(EvalError::Failed(why)) if why == "no such overload" => {
                let why = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {text}"
                );
                return self.tell(error(path, rules.shown, why));
            }
            Err(EvalError::Failed(why)) => {
                return self.tell(error(
                    path,
                    rules.shown,
                    format!("{why} evaluating rule: {text}"),
                ));
            }
        }
        let unchanged = at.nearest.is_some_and(|(new, old)| new == old);
        if unchanged && !compiled.uses_old {
            return;
        }
        let message = match &compiled.message {
            None => None,
            Some(program) => match self.message(program, &rule.message_expression, &variables) {
                Ok(message) => message,
                Err(why) => return self.end(error(path, rules.shown, why)),
            },
        };
        let message = message.unwrap_or_else(|| match &*rule.message {
            "" => format!("failed rule: {text}"),
            message => message.trim().to_owned(),
        });
        self.tell(failure(rule, compiled, rules.shown, at.new, path, message));
    }

    fn eval<'a>(
        &mut self,
        program: &'a Program,
        variables: &[(&'a str, Val<'a>)],
    ) -> Result<Val<'a>, EvalError> {
        let before = self.cost.call();
        let mut cost = before;
        let result = program.eval(variables, &mut cost);
        self.cost.settle(before, cost);
        match result {
            // What one rule may cost was not all that was left.
            Err(EvalError::Cost) if before.left() < PER_CALL => Err(EvalError::Budget),
            result => result,
        }
    }

    /// A message that an expression makes; none where it cannot be used.
    ///
    /// # Errors
    /// Where it costs too much, in upstream's words.
    fn message<'a>(
        &mut self,
        program: &'a Program,
        source: &str,
        variables: &[(&'a str, Val<'a>)],
    ) -> Result<Option<String>, String> {
        let value = match self.eval(program, variables) {
            Ok(value) => value,
            Err(EvalError::Budget) => return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned()),
            Err(EvalError::Cost) => return Err(format!("no further validation rules will be run due to call cost exceeds limit for messageExpression: {source:?}")),
            Err(EvalError::Failed(_)) => return Ok(None),
        };
        let text = value.as_str().unwrap_or_default().trim();
        let usable = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
        Ok(usable.then(|| text.to_owned()))
    }

    fn tell(&mut self, error: Error) {
        self.errors.push(error);
        self.over |= self.errors.len() >= MAX_ERRORS;
    }

    fn end(&mut self, error: Error) {
        self.errors.push(error);
        self.over = true;
    }
}

/// # Errors
/// Where there is no work left to read the values.
fn variables<'a>(
    rules: &'a Rules,
    rule: &Rule,
    at: Visit<'a>,
    cost: &mut Cost,
) -> Result<Vec<(&'a str, Val<'a>)>, EvalError> {
    let mut variables = vec![("self", Val::lift(at.new, &rules.ty, cost)?)];
    let old = match at.old {
        Some(old) => Some(Val::lift(old, &rules.ty, cost)?),
        None => None,
    };
    let old = match rule.optional_old_self {
        true => Some(Val::Optional(old.map(Into::into))),
        false => old,
    };
    variables.extend(old.map(|old| ("oldSelf", old)));
    Ok(variables)
}

/// How errors name a rule.
fn told(rule: &Rule) -> &str {
    match &*rule.message {
        "" => rule.rule.trim(),
        message => message.trim(),
    }
}

fn error(path: &Path, shown: &str, why: String) -> Error {
    Error {
        field: field(path, ""),
        ..Error::invalid(path, shown, why)
    }
}

fn field(path: &Path, below: &str) -> String {
    match (path.to_string(), below) {
        (path, "") if path.is_empty() => pathless("", "", "").field,
        (path, "") => path,
        (path, below) if path.is_empty() => below.to_owned(),
        (path, below) => format!("{path}.{below}"),
    }
}

fn failure(
    rule: &Rule,
    compiled: &Compiled,
    shown: &str,
    value: &Value,
    path: &Path,
    message: String,
) -> Error {
    let kind = match &*rule.reason {
        "FieldValueForbidden" => ErrorType::Forbidden,
        "FieldValueRequired" => ErrorType::Required,
        "FieldValueDuplicate" => ErrorType::Duplicate,
        _ => ErrorType::Invalid,
    };
    let shows_value = matches!(kind, ErrorType::Invalid | ErrorType::Duplicate)
        && !matches!(shown, "object" | "array");
    Error {
        kind,
        field: field(path, &compiled.field_path),
        bad_value: shows_value.then(|| value.clone()),
        is_fixed: false,
        detail: match kind {
            ErrorType::Duplicate => String::new(),
            _ => message,
        },
    }
}

/// A list's former elements by what identifies them.
struct Former<'v> {
    keys: Option<&'v [Box<str>]>,
    by_key: BTreeMap<String, &'v Value>,
}

impl<'v> Former<'v> {
    fn new(keys: Option<&'v [Box<str>]>, old: Option<&'v Value>) -> Former<'v> {
        let mut by_key = BTreeMap::new();
        if let (Some(keys), Some(list)) = (keys, old.and_then(Value::as_array)) {
            for element in list {
                by_key.insert(lists::key_of(element, keys).to_string(), element);
            }
        }
        Former { keys, by_key }
    }

    fn find(&self, element: &Value) -> Option<&'v Value> {
        let key = lists::key_of(element, self.keys?).to_string();
        self.by_key.get(&key).copied()
    }
}
