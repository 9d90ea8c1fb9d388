//! Variables of types, and what is found out about them.

use std::collections::HashMap;

use crate::types::Type;

pub struct Variables {
    /// What they are.
    found: HashMap<usize, Type>,
    next: usize,
}

impl Variables {
    pub fn new() -> Self {
        Self {
            found: HashMap::new(),
            // The first are those of signatures.
            next: 2,
        }
    }

    pub fn fresh(&mut self) -> Type {
        // One for each call of an expression, which has a length.
        self.next = self.next.saturating_add(1);
        Type::Var(self.next)
    }

    /// What is known now, for [`Variables::restore`].
    pub fn known(&self) -> HashMap<usize, Type> {
        self.found.clone()
    }

    /// Forgets what has been found out since.
    pub fn restore(&mut self, known: HashMap<usize, Type>) {
        self.found = known;
    }

    pub fn is_dynamic(&self, ty: &Type) -> bool {
        matches!(self.resolved(ty), Type::Dyn | Type::Var(_))
    }

    /// A type with what was found out put in.
    pub fn resolved(&self, ty: &Type) -> Type {
        match ty {
            Type::Var(variable) => match self.found.get(variable) {
                Some(found) => self.resolved(found),
                None => ty.clone(),
            },
            Type::List(list) if contains_variable(&list.element) => {
                Type::list(self.resolved(&list.element))
            }
            Type::Map(map) if contains_variable(&map.0) || contains_variable(&map.1) => {
                Type::map(self.resolved(&map.0), self.resolved(&map.1))
            }
            Type::Optional(of) if contains_variable(of) => Type::optional(self.resolved(of)),
            other => other.clone(),
        }
    }

    /// Whether a value of the type `given` is one of the type `wanted`; finds out variables.
    pub fn unify(&mut self, wanted: &Type, given: &Type) -> bool {
        let (wanted, given) = (self.resolved(wanted), self.resolved(given));
        match (&wanted, &given) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(variable), other) | (other, Type::Var(variable)) => {
                self.found.insert(*variable, other.clone());
                true
            }
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Object(_)
                    | Type::Named(_)
                    | Type::Duration
                    | Type::Timestamp
                    | Type::Opaque(_)
                    | Type::Optional(_)
            ),
            (Type::List(a), Type::List(b)) => self.unify(&a.element, &b.element),
            (Type::Map(a), Type::Map(b)) => self.unify(&a.0, &b.0) && self.unify(&a.1, &b.1),
            // A map of names to anything is what an object of a schema is in JSON, but not here.
            (Type::Object(a), Type::Object(b)) => std::sync::Arc::ptr_eq(a, b) || a.name == b.name,
            (Type::Named(a), Type::Named(b)) => a == b,
            (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

fn contains_variable(ty: &Type) -> bool {
    match ty {
        Type::Var(_) => true,
        Type::List(list) => contains_variable(&list.element),
        Type::Map(map) => contains_variable(&map.0) || contains_variable(&map.1),
        Type::Optional(of) => contains_variable(of),
        _ => false,
    }
}

/// A type of a signature with its variables replaced.
pub fn instance(ty: &Type, a: &Type, b: &Type) -> Type {
    match ty {
        Type::Var(0) => a.clone(),
        Type::Var(1) => b.clone(),
        Type::List(list) => Type::list(instance(&list.element, a, b)),
        Type::Map(map) => Type::map(instance(&map.0, a, b), instance(&map.1, a, b)),
        Type::Optional(of) => Type::optional(instance(of, a, b)),
        other => other.clone(),
    }
}
