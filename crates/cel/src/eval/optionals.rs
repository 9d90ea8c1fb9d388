//! Values that may not be there.

use std::sync::Arc;

use cel::IdedExpr;

use super::{Error, Evaluated, Evaluator};
use crate::{cost::Cost, library, value::Val};

impl<'a> Evaluator<'a, '_> {
    /// `optional.or(...)`, `optional.orValue(...)`: the other is evaluated only where there is no value.
    pub(super) fn otherwise(
        &mut self,
        target: &'a IdedExpr,
        other: &'a IdedExpr,
        optional: bool,
    ) -> Evaluated<'a> {
        match self.eval(target)? {
            value @ Val::Optional(Some(_)) if optional => Ok(value),
            Val::Optional(Some(value)) => Ok((*value).clone()),
            Val::Optional(None) => match (optional, self.eval(other)?) {
                (false, value) | (true, value @ Val::Optional(_)) => Ok(value),
                _ => Err(Error::no_such_overload()),
            },
            _ => Err(Error::no_such_overload()),
        }
    }
}

/// The field of an object, or of what an optional holds, as an optional.
pub(super) fn optional_field<'a>(operand: &Val<'a>, field: &str, cost: &mut Cost) -> Evaluated<'a> {
    match operand {
        Val::Map(map) => Ok(Val::Optional(map.field(field, cost)?.map(Arc::new))),
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => optional_field(value, field, cost),
        Val::List(_) => Err(library::of_list("string")),
        _ => Ok(Val::Optional(None)),
    }
}
