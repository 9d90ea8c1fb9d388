mod keys;
mod remarks;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Fake, user};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn cluster() -> Arc<Fake> {
    let fake = Fake::new();
    fake.put(
        "",
        "serviceaccounts",
        json!({"metadata": {"name": "bot", "namespace": "ns", "uid": "sa-1"}}),
    );
    fake.put(
        "",
        "nodes",
        json!({"metadata": {"name": "n1", "uid": "node-1"}}),
    );
    fake.put(
        "",
        "secrets",
        json!({"metadata": {"name": "s", "namespace": "ns", "uid": "secret-1"}}),
    );
    let spec = json!({"serviceAccountName": "bot", "nodeName": "n1"});
    fake.put(
        "",
        "pods",
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pod-1"}, "spec": spec}),
    );
    fake
}

fn key() -> Vec<u8> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_der()
}

fn tokens(fake: &Arc<Fake>) -> Tokens {
    tokens_with(&key(), fake)
}

fn tokens_with(key: &[u8], fake: &Arc<Fake>) -> Tokens {
    Tokens::new(
        key,
        Config::of_domain("cluster.local", "192.0.2.1:6443"),
        fake.clone(),
    )
    .unwrap()
}

fn token(answer: &Value) -> String {
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn bound(kind: &str, name: &str) -> Value {
    json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}}})
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn check(tokens: &Tokens, token: &str) -> Result<Authenticated, Rejected> {
    tokens.authenticate(token, tokens.audiences())
}

#[test]
fn a_pods_token_says_who_it_is() {
    let tokens = tokens(&cluster());
    let answer = tokens.request("ns", "bot", bound("Pod", "p")).unwrap();
    assert_eq!(answer["metadata"]["name"], "bot");
    assert_eq!(answer["spec"]["audiences"], json!([ISSUER]));
    assert_eq!(answer["spec"]["expirationSeconds"], 3600);
    let token = token(&answer);
    let said = claims(&token);
    assert_eq!(said["sub"], "system:serviceaccount:ns:bot");
    assert_eq!(
        said["kubernetes.io"],
        json!({
            "namespace": "ns",
            "node": {"name": "n1", "uid": "node-1"},
            "pod": {"name": "p", "uid": "pod-1"},
            "serviceaccount": {"name": "bot", "uid": "sa-1"},
        })
    );
    let user = check(&tokens, &token).unwrap().user;
    assert_eq!(user.name, "system:serviceaccount:ns:bot");
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:ns",
            "system:authenticated"
        ]
    );
    assert_eq!(user.uid, "sa-1");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(
        user.extra["authentication.kubernetes.io/node-uid"],
        ["node-1"]
    );
    assert_eq!(
        user.extra["authentication.kubernetes.io/credential-id"],
        [format!("JTI={}", said["jti"].as_str().unwrap())]
    );
}

#[test]
fn requests_are_checked() {
    let tokens = tokens(&cluster());
    let spec = |seconds: i64| json!({"spec": {"expirationSeconds": seconds}});
    let mut wrong_uid = bound("Pod", "p");
    wrong_uid["spec"]["boundObjectRef"]["uid"] = "pod-0".into();
    for (account, body, code, text) in [
        ("nope", json!({}), 404, "serviceaccounts \"nope\" not found"),
        (
            "bot",
            spec(599),
            422,
            "may not specify a duration less than 10 minutes",
        ),
        (
            "bot",
            spec((1 << 32) + 1),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            "bot",
            json!({"metadata": {"name": "x"}}),
            422,
            "must match the service account name if specified",
        ),
        ("bot", bound("Pod", "nope"), 404, "pods \"nope\" not found"),
        (
            "bot",
            bound("Job", "x"),
            400,
            "cannot bind token to object of type /v1, Kind=Job",
        ),
        ("bot", wrong_uid, 409, "does not match the UID in record"),
    ] {
        let status = tokens.request("ns", account, body.clone()).unwrap_err();
        assert_eq!(status.code, code, "{body}: {}", status.message);
        assert!(status.message.contains(text), "{body}: {}", status.message);
    }
}

#[test]
fn the_life_of_a_token_is_what_was_asked_except_for_default_volumes() {
    let tokens = tokens(&cluster());
    let life = |body: Value| {
        let said = claims(&token(&tokens.request("ns", "bot", body).unwrap()));
        let exp = said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap();
        (
            exp,
            said["kubernetes.io"]["warnafter"]
                .as_i64()
                .map(|at| at - said["iat"].as_i64().unwrap()),
        )
    };
    let with = |mut body: Value, seconds: i64| {
        body["spec"]["expirationSeconds"] = seconds.into();
        body
    };
    assert_eq!(life(with(json!({}), 3607)), (3607, None));
    assert_eq!(life(with(bound("Pod", "p"), 3600)), (3600, None));
    assert_eq!(
        life(with(bound("Pod", "p"), 3607)),
        (365 * 24 * 3600, Some(3607))
    );
    let mut other = with(bound("Pod", "p"), 3607);
    other["spec"]["audiences"] = json!(["vault"]);
    assert_eq!(life(other), (3607, None));
}

#[test]
fn time_and_audience_bound_a_token() {
    let tokens = tokens(&cluster());
    let answer = tokens
        .request(
            "ns",
            "bot",
            json!({"spec": {"audiences": ["vault", "other"]}}),
        )
        .unwrap();
    let token = token(&answer);
    let now = jiff::Timestamp::now().as_second();
    let at = |audience: &str, now: i64| {
        tokens
            .authenticate_at(&token, &[audience.to_owned()], now)
            .map(|found| found.audiences)
    };
    assert_eq!(at("vault", now), Ok(vec!["vault".to_owned()]));
    let other = |asked: &str| Rejected::Audience {
        of: vec!["vault".to_owned(), "other".to_owned()],
        asked: vec![asked.to_owned()],
    };
    assert_eq!(at(ISSUER, now), Err(other(ISSUER)));
    assert_eq!(at("vault", now + 3600 + 59), Ok(vec!["vault".to_owned()]));
    assert_eq!(at("vault", now + 3600 + 70), Err(Rejected::Expired));
    assert_eq!(at("vault", now - 70), Err(Rejected::NotYet));
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let gone = |body: Value, change: fn(&Fake)| {
        let fake = cluster();
        let tokens = tokens(&fake);
        let token = token(&tokens.request("ns", "bot", body).unwrap());
        // Twice: from the signature and from memory.
        assert!(check(&tokens, &token).is_ok());
        assert!(check(&tokens, &token).is_ok());
        change(&fake);
        check(&tokens, &token).map(drop)
    };
    let old = "2020-01-01T00:00:00Z";
    assert_eq!(
        gone(json!({}), |f| f.remove("", "serviceaccounts", "ns", "bot")),
        Err(Rejected::NoAccount("bot".into()))
    );
    let other = Rejected::OtherUid {
        what: "service account",
        claim: "",
        is: "sa-2".into(),
        claimed: "sa-1".into(),
    };
    assert_eq!(
        other.to_string(),
        "service account UID (sa-2) does not match claim (sa-1)"
    );
    let renew = |f: &Fake| {
        f.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "bot", "namespace": "ns", "uid": "sa-2"}}),
        )
    };
    assert_eq!(gone(json!({}), renew), Err(other));
    assert_eq!(
        gone(bound("Pod", "p"), |f| f.remove("", "pods", "ns", "p")),
        Err(Rejected::Unbound)
    );
    assert_eq!(
        gone(bound("Secret", "s"), |f| f.remove("", "secrets", "ns", "s")),
        Err(Rejected::Unbound)
    );
    assert_eq!(
        gone(bound("Node", "n1"), |f| f.remove("", "nodes", "", "n1")),
        Err(Rejected::Unbound)
    );
    // A pod's token outlives its Node object, and an update of the pod.
    assert_eq!(
        gone(bound("Pod", "p"), |f| f.remove("", "nodes", "", "n1")),
        Ok(())
    );
    let touch = |f: &Fake| {
        f.put("", "pods", json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pod-1", "labels": {"a": "b"}}}))
    };
    assert_eq!(gone(bound("Pod", "p"), touch), Ok(()));
    let deleting = |f: &Fake, at: &str| {
        f.put("", "pods", json!({"metadata": {"name": "p", "namespace": "ns", "uid": "pod-1", "deletionTimestamp": at}}));
    };
    let fake = cluster();
    let tokens = tokens(&fake);
    let token = token(&tokens.request("ns", "bot", bound("Pod", "p")).unwrap());
    deleting(&fake, &knarr_meta::time::now_seconds());
    assert!(check(&tokens, &token).is_ok(), "within the leeway");
    deleting(&fake, old);
    assert_eq!(check(&tokens, &token).map(drop), Err(Rejected::Unbound));
}

#[test]
fn a_secrets_token_is_good_while_the_secret_holds_it() {
    let fake = cluster();
    let key = key();
    let tokens = tokens_with(&key, &fake);
    let of = SecretToken {
        namespace: "ns",
        account: "bot",
        account_uid: "sa-1",
        secret: "held",
    };
    let token = SecretTokens::new(&key).unwrap().sign(&of).unwrap();
    let other = SecretTokens::new(&key).unwrap().sign(&of).unwrap();
    let hold = |token: &str, metadata: Value| {
        let mut meta = json!({"name": "held", "namespace": "ns", "uid": "secret-2"});
        meta.as_object_mut()
            .unwrap()
            .extend(metadata.as_object().unwrap().clone());
        let data = json!({"token": base64::prelude::BASE64_STANDARD.encode(token)});
        fake.put("", "secrets", json!({"metadata": meta, "data": data}));
    };
    assert_eq!(check(&tokens, &token).map(drop), Err(Rejected::Unbound));
    hold(&token, json!({}));
    let found = check(&tokens, &token).unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:ns:bot");
    assert_eq!(found.user.uid, "sa-1");
    assert!(found.user.extra.is_empty());
    assert_eq!(
        tokens.authenticate(&token, &["vault".to_owned()]).map(drop),
        Err(Rejected::Audience {
            of: tokens.audiences().to_vec(),
            asked: vec!["vault".to_owned()],
        })
    );
    hold(&other, json!({}));
    assert_eq!(
        check(&tokens, &token).map(drop),
        Err(Rejected::NotTheSecrets)
    );
    hold(&token, json!({"deletionTimestamp": "2020-01-01T00:00:00Z"}));
    assert_eq!(check(&tokens, &token).map(drop), Err(Rejected::Unbound));
    let label = json!({"kubernetes.io/legacy-token-invalid-since": "2026-01-01"});
    hold(&token, json!({"labels": label}));
    let marked = check(&tokens, &token).map(drop).unwrap_err().to_string();
    assert!(
        marked.starts_with("the token in secret ns/held for service account ns/bot has been"),
        "{marked}"
    );
    hold(&token, json!({}));
    assert!(check(&tokens, &token).is_ok());
    fake.remove("", "serviceaccounts", "ns", "bot");
    assert_eq!(
        check(&tokens, &token).map(drop),
        Err(Rejected::NoAccount("bot".into()))
    );
}

#[derive(Default)]
struct Uses(parking_lot::Mutex<Vec<String>>);

impl SecretUse for Uses {
    fn used(&self, namespace: &str, name: &str) {
        self.0.lock().push(format!("{namespace}/{name}"));
    }
}

#[test]
fn uses_of_a_secrets_token_are_told_until_it_says_so() {
    const DAY: i64 = 24 * 3600;
    let fake = cluster();
    let key = key();
    let tokens = tokens_with(&key, &fake);
    let uses = Arc::new(Uses::default());
    tokens.tell(uses.clone());
    let of = SecretToken {
        namespace: "ns",
        account: "bot",
        account_uid: "sa-1",
        secret: "held",
    };
    let token = SecretTokens::new(&key).unwrap().sign(&of).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let day = |days: i64| legacy::date(jiff::Timestamp::from_second(now + days * DAY).unwrap());
    let hold = |labels: Value| {
        let data = json!({"token": base64::prelude::BASE64_STANDARD.encode(&token)});
        let metadata = json!({"name": "held", "namespace": "ns", "labels": labels});
        fake.put("", "secrets", json!({"metadata": metadata, "data": data}));
    };
    let told = |at: i64| {
        let _ = tokens.authenticate_at(&token, tokens.audiences(), at);
        std::mem::take(&mut *uses.0.lock()).len()
    };
    hold(json!({}));
    assert_eq!((told(now), told(now)), (1, 1), "until it is written");
    hold(json!({legacy::LAST_USED: day(0)}));
    assert_eq!((told(now), told(now)), (0, 0), "it says so");
    assert_eq!(told(now + DAY), 1, "on the next day");
    hold(json!({legacy::LAST_USED: day(1), legacy::INVALID_SINCE: day(1)}));
    assert_eq!(told(now + DAY), 0);
    hold(json!({legacy::INVALID_SINCE: day(0)}));
    assert_eq!(told(now + 2 * DAY), 1, "also what is refused as invalid");
    let bound = tokens.request("ns", "bot", json!({})).unwrap();
    let bound = bound["status"]["token"].as_str().unwrap().to_owned();
    check(&tokens, &bound).unwrap();
    assert!(uses.0.lock().is_empty(), "other tokens are not told of");
}

#[test]
fn forgeries_are_refused_and_not_remembered() {
    let fake = cluster();
    let ours = tokens(&fake);
    let good = token(&ours.request("ns", "bot", json!({})).unwrap());
    let theirs = token(&tokens(&fake).request("ns", "bot", json!({})).unwrap());
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let none = BASE64.encode(r#"{"alg":"none"}"#);
    let hmac = BASE64.encode(r#"{"alg":"HS256"}"#);
    let mut altered = claims(&good);
    altered["sub"] = "system:serviceaccount:kube-system:admin".into();
    let altered = BASE64.encode(altered.to_string());
    for forged in [
        String::new(),
        "a.b.c".into(),
        theirs,
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{hmac}.{body}.{signature}"),
        format!("{header}.{altered}.{signature}"),
        format!("{header}.{body}"),
        format!("{good}x"),
        "x".repeat(100_000),
    ] {
        assert_eq!(
            check(&ours, &forged).map(drop),
            Err(Rejected::Invalid),
            "{forged:.80}"
        );
    }
    assert_eq!(ours.verified.len(), 0);
    assert!(check(&ours, &good).is_ok());
    assert_eq!(ours.verified.len(), 1);
}

#[test]
fn reviews_tell_what_requests_do_not() {
    let fake = cluster();
    let tokens = tokens(&fake);
    let token = token(&tokens.request("ns", "bot", json!({})).unwrap());
    let review =
        |token: &str| tokens.review(json!({"kind": "TokenReview", "spec": {"token": token}}));
    let status = review(&token).unwrap()["status"].clone();
    assert_eq!(status["authenticated"], true);
    assert_eq!(status["user"]["username"], "system:serviceaccount:ns:bot");
    assert_eq!(status["audiences"], json!([ISSUER]));
    let spec = json!({"token": token, "audiences": ["a", "b"]});
    let other = tokens.review(json!({"kind": "TokenReview", "spec": spec.clone()}));
    let why = format!(
        "[invalid bearer token, token audiences [\"{ISSUER}\"] is invalid for the target audiences [\"a\" \"b\"]]"
    );
    assert_eq!(other.unwrap()["status"], json!({"user": {}, "error": why}));
    // What was sent stays where nothing is known.
    let sent = json!({"authenticated": true, "audiences": ["c"], "user": {"username": "d"}});
    let other = tokens.review(json!({"kind": "TokenReview", "spec": spec, "status": sent}));
    assert_eq!(
        other.unwrap()["status"],
        json!({"user": {"username": "d"}, "audiences": ["c"], "error": why})
    );
    fake.remove("", "serviceaccounts", "ns", "bot");
    assert_eq!(
        review(&token).unwrap()["status"],
        json!({"user": {}, "error": "[invalid bearer token, serviceaccounts \"bot\" not found]"})
    );
    assert_eq!(review("").unwrap_err().code, 400);
    // A token is one word, as in a header; before a blank there is none, which is no wrong one.
    for (given, wanted) in [
        ("x y", json!({"user": {}, "error": "invalid bearer token"})),
        (" ", json!({"user": {}})),
        (" x", json!({"user": {}})),
    ] {
        assert_eq!(review(given).unwrap()["status"], wanted, "{given:?}");
    }
    let asked = json!({"spec": {"token": " ", "audiences": ["a"]}});
    let nobody = tokens.review_of_nobody(asked, &user("nobody", &["all"]));
    assert_eq!(
        nobody["status"],
        json!({"authenticated": true, "audiences": ["a"], "user": {"username": "nobody", "groups": ["all"]}})
    );
    let own = self_subject_review(&user("ann", &["g"]), &json!({}));
    assert_eq!(
        own["status"]["userInfo"],
        json!({"username": "ann", "groups": ["g"]})
    );
}

const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt0vIPsaBpsrMVK4AfrDN
hf1ns5H7+zLVRq2cI+YhWoxD1DFs/UoceVy+4oVu6ec1LE0fUF7mAtyfLkoMlu8l
6FpVzVuIvXRQlkS0PliNoHdrDDbgUjCLrNUd2/Te+AC8s2KENY5+D8z6N6IchsN1
y46YOLBsOIWmNSdSEDZvi+P/1qafKrGKOEmrl84TlOeZE6cjzB0/ACFX6Hl8XL/h
duahC00ex4UBSEN5nTnH7eGyJNMkqwrJkSZza5aBQdbVJinLxd9NeupecQQjqG9H
NGh+Lq3dEOdbBqJaI/14imacj6nK455ZfAx77yIkq8t6JCtq9y3xBAOU38zXikty
4wIDAQAB
-----END PUBLIC KEY-----
";
