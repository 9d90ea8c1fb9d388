//! The reviews of `authentication.k8s.io`.

use knarr_meta::{object, status::Status, time};
use serde_json::{Map, Value, json};

use super::{Authenticated, Rejected, Tokens, request::strings};
use crate::{UserInfo, bearer, bootstrap_token};

/// A user as reviews show it; empty fields are left out.
fn shown(user: &UserInfo) -> Value {
    let mut shown = Map::new();
    for (field, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            shown.insert(field.into(), value.clone().into());
        }
    }
    if !user.groups.is_empty() {
        shown.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        shown.insert("extra".into(), json!(user.extra));
    }
    Value::Object(shown)
}

/// What comes of the token that a request with this one would present: upstream reviews by such a request. None presents none, as
/// blanks do.
pub fn presented<T>(given: &str, look: impl FnOnce(&str) -> T) -> Option<T> {
    bearer::of_authorization(&format!("Bearer {given}")).map(look)
}

/// Writes whose token it is. Upstream writes into the status that it was sent, and so keeps an error that stands there.
fn known(body: &mut Value, user: &UserInfo, audiences: &Value) {
    let status = status(body);
    status.insert("authenticated".to_owned(), true.into());
    status.insert("user".to_owned(), shown(user));
    status.insert("audiences".to_owned(), audiences.clone());
}

/// Writes that nobody's token it is, and keeps what was sent of whose it may be, as upstream does.
fn unknown(body: &mut Value, why: Option<Rejected>) {
    let status = status(body);
    status.remove("authenticated");
    status.entry("user").or_insert_with(|| json!({}));
    if let Some(why) = why {
        status.insert("error".to_owned(), why.reviewed().into());
    }
}

/// The status that was sent.
fn status(body: &mut Value) -> &mut Map<String, Value> {
    if !body["status"].is_object() {
        body["status"] = json!({});
    }
    body["status"]
        .as_object_mut()
        .expect("it has just been made one")
}

impl Tokens {
    /// Completes a TokenReview: whose token is this, and for whom is it meant?
    pub fn review(&self, mut body: Value) -> Result<Value, Status> {
        let token = object::str_at(&body, &["spec", "token"]);
        if token.is_empty() {
            return Err(Status::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        let mut audiences: Vec<String> = strings(&body, &["spec", "audiences"]);
        if audiences.is_empty() {
            audiences = self.audiences().to_vec();
        }
        let found = presented(token, |token| self.whose(token, &audiences));
        match found {
            Some(Ok(found)) => known(&mut body, &found.user, &json!(found.audiences)),
            Some(Err(rejected)) => unknown(&mut body, Some(rejected)),
            None => unknown(&mut body, None),
        }
        Ok(body)
    }

    /// Completes a TokenReview of no token where none is needed: it is nobody's, meant for whomever was asked for.
    pub fn review_of_nobody(&self, mut body: Value, nobody: &UserInfo) -> Value {
        let mut audiences: Vec<String> = strings(&body, &["spec", "audiences"]);
        if audiences.is_empty() {
            audiences = self.audiences().to_vec();
        }
        known(&mut body, nobody, &json!(audiences));
        body
    }

    /// Completes a TokenReview of a token that others know: it is meant for the API server, and otherwise one that nobody knows.
    pub fn review_of_other(&self, mut body: Value, user: &UserInfo) -> Value {
        let asked: Vec<String> = strings(&body, &["spec", "audiences"]);
        let ours = self.audiences().iter();
        let meant: Vec<&String> = ours
            .filter(|own| asked.is_empty() || asked.contains(own))
            .collect();
        match meant.is_empty() {
            true => unknown(&mut body, Some(Rejected::Invalid)),
            false => known(&mut body, user, &json!(meant)),
        }
        body
    }

    /// A bootstrap token is meant for the API server.
    fn whose(&self, token: &str, audiences: &[String]) -> Result<Authenticated, Rejected> {
        let now = jiff::Timestamp::now();
        let Some(found) = bootstrap_token::authenticate(token, &*self.objects, now) else {
            return self.authenticate(token, audiences);
        };
        let ours = self.audiences();
        let audiences: Vec<String> = audiences
            .iter()
            .filter(|asked| ours.contains(asked))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return Err(Rejected::Invalid);
        }
        Ok(Authenticated {
            user: found?,
            audiences,
            holder: None,
        })
    }
}

/// Completes a SelfSubjectReview: who am I?
pub fn self_subject_review(user: &UserInfo, body: &Value) -> Value {
    // Upstream answers with another object than it was sent.
    json!({
        "apiVersion": body["apiVersion"], "kind": body["kind"],
        "metadata": {"creationTimestamp": time::now_seconds()},
        "status": {"userInfo": shown(user)},
    })
}
