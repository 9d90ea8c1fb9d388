//! Types of expressions: what they refer to is there, and functions take what they are given.

mod formats;
mod variables;

use std::collections::{BTreeSet, HashMap};

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, StructExpr,
    },
};

use self::variables::{Variables, instance};
use crate::{
    Env, composition, estimate,
    functions::{self, Overload},
    issues::Issue,
    literals::Literals,
    patch,
    syntax::{Macro, TYPES, bound, qualified},
    types::Type,
};

pub struct Checker<'e> {
    env: &'e Env,
    scopes: Vec<(String, Type)>,
    variables: Variables,
    /// How many calls of `format` are around: what lists hold there may differ in type.
    formats: usize,
    pub issues: Vec<Issue>,
    /// Matters only where there are no other issues.
    pub literals: Literals,
    pub uses: BTreeSet<String>,
    /// Of expressions, by what tells them apart; none: nobody asks.
    types: Option<HashMap<usize, Type>>,
}

impl<'e> Checker<'e> {
    pub fn new(env: &'e Env) -> Checker<'e> {
        Checker {
            env,
            scopes: Vec::new(),
            variables: Variables::new(),
            formats: 0,
            issues: Vec::new(),
            literals: Literals::default(),
            uses: BTreeSet::new(),
            types: None,
        }
    }

    /// Keeps the types of all expressions.
    pub fn keep_types(&mut self) {
        self.types = Some(HashMap::new());
    }

    /// The types of all expressions, as far as they have been kept.
    pub fn take_types(&mut self) -> HashMap<usize, Type> {
        let types = self.types.take().unwrap_or_default();
        let resolved = types.into_iter().map(|(key, ty)| (key, self.resolved(&ty)));
        resolved.collect()
    }

    /// A type with what was found out put in.
    pub fn resolved(&self, ty: &Type) -> Type {
        self.variables.resolved(ty)
    }

    /// The type of an expression; what is wrong in it is noted.
    pub fn check(&mut self, expr: &IdedExpr) -> Type {
        let ty = self.type_of(expr);
        if let Some(types) = &mut self.types {
            types.insert(estimate::key(expr), ty.clone());
        }
        ty
    }

    fn type_of(&mut self, expr: &IdedExpr) -> Type {
        match &expr.expr {
            Expr::Unspecified => Type::Dyn,
            Expr::Literal(literal) => Type::of_literal(literal),
            Expr::Ident(name) => self.name(expr.id, name),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => {
                let (element, mut mixed) = (self.variables.fresh(), false);
                for (index, item) in list.elements.iter().enumerate() {
                    let mut ty = self.check(item);
                    if list.optional_indices.contains(&index) {
                        ty = self.inside_optional(item.id, &ty);
                    }
                    match self.formats {
                        0 => self.same(item.id, &element, &ty),
                        _ => mixed |= !self.variables.unify(&element, &ty),
                    }
                }
                Type::list(if mixed { Type::Dyn } else { element })
            }
            Expr::Map(map) => {
                let (key, value) = (self.variables.fresh(), self.variables.fresh());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        continue;
                    };
                    let found = self.check(&entry.key);
                    self.same(entry.key.id, &key, &found);
                    let mut found = self.check(&entry.value);
                    if entry.optional {
                        found = self.inside_optional(entry.value.id, &found);
                    }
                    self.same(entry.value.id, &value, &found);
                }
                Type::map(key, value)
            }
            Expr::Struct(made) => self.made(expr.id, made),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn issue(&mut self, id: u64, message: String) {
        self.issues.push(Issue { id, message });
    }

    fn name(&mut self, id: u64, name: &str) -> Type {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(bound, _)| bound == name) {
            return ty.clone();
        }
        if let Some(ty) = self.env.variables.get(name) {
            self.uses.insert(name.to_owned());
            return ty.clone();
        }
        if TYPES.contains(&name) {
            return Type::Meta;
        }
        self.issue(
            id,
            format!("undeclared reference to '{name}' (in container '')"),
        );
        Type::Dyn
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Type {
        if let Some(name) = qualified(&expr.expr) {
            if TYPES.contains(&&*name) {
                return Type::Meta;
            }
            // A variable with a dot in its name goes before a field of one without.
            if let Some(ty) = self.env.variables.get(&name)
                && !self.is_shadowed(&name)
            {
                self.uses.insert(name);
                return ty.clone();
            }
        }
        if let (Some(composed), true) = (&self.env.composed, self.is_composed(&select.operand)) {
            // Whoever evaluates must know which are looked at.
            self.uses.insert(composition::qualified(&select.field));
            return match (composed.types.get(&select.field), select.test) {
                (Some(_), true) => Type::Bool,
                (Some(ty), false) => ty.clone(),
                (None, _) => {
                    let field = &select.field;
                    self.issue(expr.id, format!("undefined field '{field}'"));
                    Type::Dyn
                }
            };
        }
        let operand = self.check(&select.operand);
        let result = self.field(expr.id, &operand, &select.field);
        if select.test { Type::Bool } else { result }
    }

    /// Whether this is what composed variables are selected from. It has no value of its own.
    fn is_composed(&self, expr: &IdedExpr) -> bool {
        match &expr.expr {
            Expr::Ident(name) => name == composition::VARIABLES && !self.is_shadowed(name),
            _ => false,
        }
    }

    /// Whether a macro has bound the first part of a qualified name.
    fn is_shadowed(&self, name: &str) -> bool {
        let root = name.split('.').next();
        self.scopes.iter().any(|(bound, _)| Some(&**bound) == root)
    }

    /// `Type{field: value}`
    fn made(&mut self, id: u64, made: &StructExpr) -> Type {
        let name = made.type_name.trim_start_matches('.');
        let ty = match self.env.patch_types {
            true => patch::type_of(name),
            false => None,
        };
        let Some(ty) = ty else {
            let name = &made.type_name;
            self.issue(
                id,
                format!("undeclared reference to '{name}' (in container '')"),
            );
            return Type::Dyn;
        };
        for entry in &made.entries {
            let EntryExpr::StructField(given) = &entry.expr else {
                continue;
            };
            let wanted = self.field(entry.id, &ty, &given.field);
            let mut found = self.check(&given.value);
            if given.optional {
                found = self.inside_optional(given.value.id, &found);
            }
            if !self.variables.unify(&wanted, &found) {
                let (wanted, found) = (self.resolved(&wanted), self.resolved(&found));
                let field = &given.field;
                self.issue(entry.id, format!("expected type of field '{field}' is '{wanted}' but provided type is '{found}'"));
            }
        }
        ty
    }

    fn field(&mut self, id: u64, of: &Type, field: &str) -> Type {
        match self.resolved(of) {
            Type::Object(object) => match object.fields.get(field) {
                Some(found) => found.ty.clone(),
                None => {
                    self.issue(id, format!("undefined field '{field}'"));
                    Type::Dyn
                }
            },
            Type::Map(map) => map.1.clone(),
            Type::Optional(of) => {
                let inner = self.field(id, &of, field);
                match inner {
                    inner @ Type::Optional(_) => inner,
                    inner => Type::optional(inner),
                }
            }
            Type::Dyn | Type::Var(_) | Type::Named(_) => Type::Dyn,
            other => {
                self.issue(
                    id,
                    format!("type '{other}' does not support field selection"),
                );
                Type::Dyn
            }
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        self.literals.check(call);
        if let Some(one) = Macro::of(call) {
            return self.macro_call(id, call, one);
        }
        if call.func_name == "_?._" {
            return self.optional_select(id, call);
        }
        // A function of a namespace, unless a variable has its name.
        let namespace = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(name) if name == patch::NAMESPACE && !self.env.patch_types => None,
            Expr::Ident(name) if !self.is_bound(name) => {
                functions::of_namespace(name, &call.func_name)
            }
            _ => None,
        });
        let target = call.target.as_ref().filter(|_| namespace.is_none());
        let receiver = target.map(|target| self.check(target));
        let in_format = usize::from(call.func_name == "format");
        self.formats = self.formats.saturating_add(in_format);
        let is_literal_format = Self::is_literal_format(call);
        let keeps_for_it = is_literal_format && self.types.is_none();
        if keeps_for_it {
            self.keep_types();
        }
        let arguments: Vec<Type> = call
            .args
            .iter()
            .map(|argument| self.check(argument))
            .collect();
        self.formats = self.formats.saturating_sub(in_format);
        if is_literal_format {
            self.check_format(id, call);
        }
        if keeps_for_it {
            self.types = None;
        }
        let name = namespace.as_deref().unwrap_or(&call.func_name);
        let Some(overloads) = functions::find(name) else {
            self.issue(
                id,
                format!("undeclared reference to '{name}' (in container '')"),
            );
            return Type::Dyn;
        };
        self.resolve(id, name, overloads, receiver, arguments)
    }

    fn is_bound(&self, name: &str) -> bool {
        self.scopes.iter().any(|(bound, _)| bound == name) || self.env.variables.contains_key(name)
    }

    /// `a.?b`
    fn optional_select(&mut self, id: u64, call: &CallExpr) -> Type {
        let [operand, field] = &call.args[..] else {
            return Type::Dyn;
        };
        let of = self.check(operand);
        let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
            return Type::Dyn;
        };
        match self.field(id, &of, name.inner()) {
            inner @ Type::Optional(_) => inner,
            inner => Type::optional(inner),
        }
    }

    fn macro_call(&mut self, id: u64, call: &CallExpr, one: Macro) -> Type {
        let target = call
            .target
            .as_ref()
            .map_or(Type::Dyn, |target| self.check(target));
        let Some(names) = bound(call, one.names()) else {
            self.issue(id, "argument is not an identifier".to_owned());
            return Type::Dyn;
        };
        let (first, second) = match (self.resolved(&target), one) {
            (Type::Optional(of), Macro::OptMap | Macro::OptFlatMap) => ((*of).clone(), Type::Dyn),
            (Type::List(list), _) => (Type::Int, list.element.clone()),
            (Type::Map(map), _) => (map.0.clone(), map.1.clone()),
            (Type::Dyn | Type::Var(_), _) => (Type::Dyn, Type::Dyn),
            (other, _) => {
                let name = &call.func_name;
                self.issue(id, format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic): {name}"));
                (Type::Dyn, Type::Dyn)
            }
        };
        let before = self.scopes.len();
        for (name, ty) in names.iter().zip([first, second]) {
            self.scopes.push(((*name).to_owned(), ty));
        }
        let bodies = &call.args[one.names()..];
        let types: Vec<Type> = bodies.iter().map(|body| self.check(body)).collect();
        self.scopes.truncate(before);
        if let ([filter, _], [ty, _]) = (bodies, &types[..]) {
            self.expect_bool(filter.id, ty);
        }
        let body = types.last().cloned().unwrap_or(Type::Dyn);
        match one {
            Macro::OptMap => Type::optional(body),
            Macro::OptFlatMap => body,
            Macro::All | Macro::Exists | Macro::ExistsOne => {
                self.expect_bool(call.args[2].id, &body);
                Type::Bool
            }
            Macro::TransformList => Type::list(body),
            Macro::TransformMap => match self.resolved(&target) {
                Type::Map(map) => Type::map(map.0.clone(), body),
                Type::List(_) => Type::map(Type::Int, body),
                _ => Type::map(Type::Dyn, body),
            },
            Macro::TransformMapEntry => body,
        }
    }

    fn expect_bool(&mut self, id: u64, ty: &Type) {
        if !self.variables.unify(&Type::Bool, ty) {
            let ty = self.resolved(ty);
            self.issue(id, format!("expected type 'bool' but found '{ty}'"));
        }
    }

    fn comprehension(&mut self, one: &ComprehensionExpr) -> Type {
        let range = self.check(&one.iter_range);
        let (first, second) = match self.resolved(&range) {
            Type::List(list) => (list.element.clone(), Type::Dyn),
            Type::Map(map) => (map.0.clone(), map.1.clone()),
            Type::Dyn | Type::Var(_) => (Type::Dyn, Type::Dyn),
            other => {
                self.issue(
                    one.iter_range.id,
                    format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                );
                (Type::Dyn, Type::Dyn)
            }
        };
        let accumulator = self.check(&one.accu_init);
        let before = self.scopes.len();
        self.scopes
            .push((one.accu_var.clone(), accumulator.clone()));
        self.scopes.push((one.iter_var.clone(), first));
        if let Some(name) = &one.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        let condition = self.check(&one.loop_cond);
        self.expect_bool(one.loop_cond.id, &condition);
        let step = self.check(&one.loop_step);
        self.same(one.loop_step.id, &accumulator, &step);
        self.scopes.truncate(before.saturating_add(1));
        let result = self.check(&one.result);
        self.scopes.truncate(before);
        result
    }

    fn inside_optional(&mut self, id: u64, ty: &Type) -> Type {
        match self.resolved(ty) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn | Type::Var(_) => Type::Dyn,
            other => {
                self.issue(
                    id,
                    format!("expected type 'optional_type(T)' but found '{other}'"),
                );
                Type::Dyn
            }
        }
    }

    /// Elements of a literal are of one type.
    fn same(&mut self, id: u64, wanted: &Type, found: &Type) {
        if !self.variables.unify(wanted, found) {
            let (wanted, found) = (self.resolved(wanted), self.resolved(found));
            self.issue(id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    fn resolve(
        &mut self,
        id: u64,
        name: &str,
        overloads: &'static [Overload],
        receiver: Option<Type>,
        arguments: Vec<Type>,
    ) -> Type {
        let mut results: Vec<Type> = Vec::new();
        for overload in overloads {
            if overload.receiver.is_some() != receiver.is_some()
                || overload.arguments.len() != arguments.len()
            {
                continue;
            }
            let before = self.variables.known();
            let (a, b) = (self.variables.fresh(), self.variables.fresh());
            let wanted = overload.receiver.iter().chain(&overload.arguments);
            let given = receiver.iter().chain(&arguments);
            let fits = wanted
                .zip(given)
                .all(|(wanted, given)| self.variables.unify(&instance(wanted, &a, &b), given));
            if !fits {
                self.variables.restore(before);
                continue;
            }
            let result = instance(&overload.result, &a, &b);
            results.push(self.resolved(&result));
            // What is dynamic may be of several overloads; what it is decides the value.
            if !receiver
                .iter()
                .chain(&arguments)
                .any(|given| self.variables.is_dynamic(given))
            {
                break;
            }
        }
        match results.len() {
            0 => {
                let shown = |types: &[Type], checker: &Self| {
                    let all: Vec<String> = types
                        .iter()
                        .map(|ty| checker.resolved(ty).to_string())
                        .collect();
                    all.join(", ")
                };
                let applied = match &receiver {
                    Some(receiver) => {
                        format!("{}.({})", self.resolved(receiver), shown(&arguments, self))
                    }
                    None => format!("({})", shown(&arguments, self)),
                };
                self.issue(
                    id,
                    format!("found no matching overload for '{name}' applied to '{applied}'"),
                );
                Type::Dyn
            }
            1 => results.remove(0),
            _ => {
                let first = results[0].to_string();
                match results.iter().all(|result| result.to_string() == first) {
                    true => results.remove(0),
                    false => Type::Dyn,
                }
            }
        }
    }
}
