//! Whose a bearer token is, by the token's Secret in the watch cache.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use knarr_meta::object;
use serde_json::Value;

use super::{BootstrapToken, NAMESPACE, TokenSecret, USER_PREFIX, Usage};
use crate::{AUTHENTICATED, UserInfo, objects::Objects, tokens::Rejected};

/// The token's user. `None`: the text has not the form of a bootstrap token, which is all that is looked at before the Secret of its
/// name is there.
///
/// # Errors
/// [`Rejected::Invalid`] where there is no such token, or not for this any more.
pub(crate) fn authenticate(
    text: &str,
    objects: &dyn Objects,
    now: Timestamp,
) -> Option<Result<UserInfo, Rejected>> {
    let token = BootstrapToken::parse(text).ok()?;
    let found = find(&token, objects).filter(|found| found.is_for(Usage::Authentication, now));
    let user = found.and_then(|found| {
        let mut groups = found.groups()?;
        groups.push(AUTHENTICATED.to_owned());
        Some(UserInfo {
            name: format!("{USER_PREFIX}{}", token.id()),
            groups,
            ..UserInfo::default()
        })
    });
    Some(user.ok_or(Rejected::Invalid))
}

fn find(token: &BootstrapToken, objects: &dyn Objects) -> Option<TokenSecret> {
    let stored = objects.get("", "secrets", NAMESPACE, &token.secret_name())?;
    let secret: Value = serde_json::from_slice(&stored.json).ok()?;
    if !object::str_at(&secret, &["metadata", "deletionTimestamp"]).is_empty() {
        return None;
    }
    let values = object::map_at(&secret, &["data"]).into_iter().flatten();
    let values: HashMap<&str, Vec<u8>> = values
        .filter_map(|(key, value)| Some((key.as_str(), STANDARD.decode(value.as_str()?).ok()?)))
        .collect();
    let (type_, name) = (object::str_at(&secret, &["type"]), object::name(&secret));
    let found = TokenSecret::read(type_, name, |key| values.get(key).map(Vec::as_slice));
    found.filter(|found| found.token.is(token))
}
