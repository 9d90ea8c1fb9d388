//! What paths of JSON patches are made with.

use super::Result;
use crate::{cost::Cost, value::Val};

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    match (name, values) {
        ("jsonpatch.escapeKey", [Val::Text(key)]) => {
            let escaped = key.as_str().replace('~', "~0").replace('/', "~1");
            Some(Val::text(escaped, cost).map_err(Into::into))
        }
        _ => None,
    }
}
