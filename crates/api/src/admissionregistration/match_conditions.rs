//! `matchConditions` as they are written: what does not compile is refused in upstream's words.

use std::collections::HashSet;

use knarr_cel::{Env, Program, Type};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at},
};
use serde_json::Value;

use super::expressions::{PARAMS, Returns, compile, env_with_authorizer};
use crate::validate;

const MAX_MATCH_CONDITIONS: usize = 64;

/// Compiles an expression that somebody has sent, and notes why it does not: also where its request has no time left.
pub(super) fn check(
    source: &str,
    env: &Env,
    returns: Returns,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Program> {
    if knarr_cel::is_late() {
        errors.push(Error::invalid(path, source, knarr_cel::NO_TIME));
        return None;
    }
    match compile(source, env, returns) {
        Ok(program) => Some(program),
        Err(why) => {
            errors.push(Error::invalid(path, source, why));
            None
        }
    }
}

/// The `matchConditions` of a policy or a webhook (`owner`, at `path`). `params`: whether they may use `params`.
pub(super) fn validate(owner: &Value, params: bool, path: &Path, errors: &mut ErrorList) {
    let path = path.child("matchConditions");
    let conditions = list_at(owner, &["matchConditions"]);
    let are_too_many = conditions.len() > MAX_MATCH_CONDITIONS;
    if are_too_many {
        errors.push(Error::too_many(
            &path,
            conditions.len(),
            MAX_MATCH_CONDITIONS,
        ));
    }
    let mut env = env_with_authorizer();
    if params {
        env = env.with(PARAMS, Type::Dyn);
    }
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        match str_at(condition, &["expression"]).trim() {
            "" => errors.push(Error::required(&path.child("expression"), "")),
            // Compiling them has a price.
            _ if are_too_many => {}
            source => {
                check(
                    source,
                    &env,
                    Returns::Bool,
                    &path.child("expression"),
                    errors,
                );
            }
        }
        let name = str_at(condition, &["name"]);
        validate::required(errors, condition, "name", &path, names::qualified_name);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
}
