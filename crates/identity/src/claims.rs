//! From the claims of a token to a user: mappings by claim or by expression, and rules, as upstream's `AuthenticateToken`.

use std::collections::BTreeMap;

use knarr_auth::UserInfo;
use knarr_cel::{Cost, List, PER_CALL, Program, Val, weighed};
use serde_json::{Map, Value, json};

use crate::config::expressions::{self, user_type};

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

type Claims = Map<String, Value>;

/// What makes a user of claims.
#[derive(Debug)]
pub struct Mappings {
    pub username: Source,
    pub groups: Option<Source>,
    pub uid: Option<Source>,
    /// Key and expression.
    pub extra: Vec<(String, Program)>,
    /// Claims that must have these values.
    pub required: Vec<(String, String)>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

/// Where an attribute comes from.
#[derive(Debug)]
pub enum Source {
    /// A claim, with what is put before it.
    Claim {
        claim: String,
        prefix: String,
    },
    Expression(Program),
}

/// What must be true.
#[derive(Debug)]
pub struct Rule {
    pub expression: String,
    pub program: Program,
    pub message: String,
}

impl Mappings {
    /// # Errors
    /// Why the claims are nobody's.
    pub fn user(&self, claims: &Claims) -> Result<UserInfo, String> {
        let all = Value::Object(claims.clone());
        let user = UserInfo {
            name: self.username(claims, &all)?,
            groups: self.groups(claims, &all)?,
            uid: self.uid(claims, &all)?,
            extra: self.extra(claims, &all)?,
        };
        for (claim, wanted) in &self.required {
            let found = claims.get(claim);
            let found = found
                .ok_or_else(|| format!("required claim {claim} not present in ID token"))?
                .as_str()
                .ok_or_else(|| format!("parse claim {claim}: it is no string"))?;
            if found != wanted {
                return Err(format!(
                    "required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        for rule in &self.claim_rules {
            rule.check(&[(expressions::CLAIMS, &all)], "claim")?;
        }
        let shown = shown(&user);
        for rule in &self.user_rules {
            rule.check(&[(expressions::USER, &shown)], "user")?;
        }
        Ok(user)
    }

    fn username(&self, claims: &Claims, all: &Value) -> Result<String, String> {
        match &self.username {
            Source::Claim { claim, prefix } => {
                let name = text(claims, claim)
                    .map_err(|why| format!("parse username claims {claim:?}: {why}"))?;
                if claim == "email"
                    && let Some(verified) = claims.get("email_verified")
                    && verified != &Value::Bool(true)
                {
                    return Err("email not verified".to_owned());
                }
                Ok(format!("{prefix}{name}"))
            }
            Source::Expression(program) => {
                let name = one(program, all)
                    .map_err(|why| format!("error evaluating username claim expression: {why}"))?;
                match name.is_empty() {
                    true => Err("empty username via CEL expression is not allowed".to_owned()),
                    false => Ok(name),
                }
            }
        }
    }

    fn groups(&self, claims: &Claims, all: &Value) -> Result<Vec<String>, String> {
        match &self.groups {
            Some(Source::Claim { claim, prefix }) => {
                let groups = match claims.get(claim) {
                    None => return Ok(Vec::new()),
                    Some(Value::String(one)) => Some(vec![one.clone()]),
                    Some(Value::Array(many)) => many
                        .iter()
                        .map(|group| group.as_str().map(str::to_owned))
                        .collect(),
                    Some(_) => None,
                };
                let groups =
                    groups.ok_or_else(|| format!("parse groups claim {claim:?}: no strings"))?;
                let groups = groups.iter().map(|group| format!("{prefix}{group}"));
                Ok(groups.collect())
            }
            Some(Source::Expression(program)) => many(program, all)
                .map_err(|why| format!("error evaluating group claim expression: {why}")),
            None => Ok(Vec::new()),
        }
    }

    fn uid(&self, claims: &Claims, all: &Value) -> Result<String, String> {
        match &self.uid {
            Some(Source::Claim { claim, .. }) => {
                text(claims, claim).map_err(|why| format!("parse uid claim {claim:?}: {why}"))
            }
            Some(Source::Expression(program)) => one(program, all)
                .map_err(|why| format!("error evaluating uid claim expression: {why}")),
            None => Ok(String::new()),
        }
    }

    fn extra(&self, claims: &Claims, all: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut extra = BTreeMap::new();
        let id = claims.get("jti").and_then(Value::as_str);
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, program) in &self.extra {
            let values = many(program, all)
                .map_err(|why| format!("error evaluating extra claim expression: {why}"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }
}

impl Rule {
    fn check(&self, variables: &[(&'static str, &Value)], of: &str) -> Result<(), String> {
        let passed = evaluate(&self.program, variables, |value| match value {
            Val::Bool(passed) => Ok(passed),
            _ => Err("it is no boolean".to_owned()),
        });
        let why = match passed {
            Ok(true) => return Ok(()),
            Ok(false) if self.message.is_empty() => {
                format!("validation expression '{}' failed", self.expression)
            }
            Ok(false) => {
                let (expression, message) = (&self.expression, &self.message);
                format!("validation expression '{expression}' failed: {message}")
            }
            Err(why) => why,
        };
        Err(format!(
            "error evaluating {of} validation expression: {why}"
        ))
    }
}

/// A claim that is a string.
fn text(claims: &Claims, claim: &str) -> Result<String, String> {
    let value = claims.get(claim).ok_or("claim not present")?;
    let text = value.as_str().ok_or("it is no string")?;
    Ok(text.to_owned())
}

/// The text that an expression makes of claims.
fn one(program: &Program, claims: &Value) -> Result<String, String> {
    evaluate(program, &[(expressions::CLAIMS, claims)], |value| {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| "the expression must return a string".to_owned())
    })
}

/// The texts that an expression makes of claims: one, several, none where it is null; empty ones are left out.
fn many(program: &Program, claims: &Value) -> Result<Vec<String>, String> {
    let wrong = || "the expression must return a string or a list of strings".to_owned();
    let text = |value: &Val<'_>| value.as_str().map(str::to_owned).ok_or_else(wrong);
    let all = evaluate(
        program,
        &[(expressions::CLAIMS, claims)],
        |value| match &value {
            Val::Null => Ok(Vec::new()),
            Val::List(List::Owned(items)) => items.iter().map(text).collect(),
            Val::List(List::Json(items, _)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            value => text(value).map(|text| vec![text]),
        },
    )?;
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

fn evaluate<T>(
    program: &Program,
    variables: &[(&'static str, &Value)],
    read: impl Fn(Val<'_>) -> Result<T, String>,
) -> Result<T, String> {
    weighed(PER_CALL, |cost: &mut Cost| {
        let values = variables.iter().map(|(name, value)| match *name {
            expressions::USER => (*name, Val::object(value, user_type())),
            name => (name, Val::json(value)),
        });
        let values: Vec<_> = values.collect();
        let value = program.eval(&values, cost);
        value.map_err(|error| error.to_string()).and_then(&read)
    })
}

/// A user as rules see it: `authentication.k8s.io/v1` UserInfo, with all fields.
fn shown(user: &UserInfo) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}

#[cfg(test)]
mod tests;
