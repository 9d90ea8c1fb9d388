use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{testing::Fake, tokens::Rejected};

const TOKEN: &str = "abc123.0123456789abcdef";

/// A token's Secret, good for everything, with these values instead.
fn secret(changed: &[(&str, Option<&str>)]) -> Value {
    let mut data = json!({
        "token-id": STANDARD.encode("abc123"),
        "token-secret": STANDARD.encode("0123456789abcdef"),
        "usage-bootstrap-authentication": STANDARD.encode("true"),
    });
    for (key, value) in changed {
        data[*key] = value.map_or(Value::Null, |value| STANDARD.encode(value).into());
    }
    json!({
        "metadata": {"name": "bootstrap-token-abc123", "namespace": NAMESPACE},
        "type": SECRET_TYPE,
        "data": data,
    })
}

/// The groups of the token's user, or none where it is refused.
fn groups(secret: Value) -> Option<Vec<String>> {
    let fake = Fake::new();
    fake.put("", "secrets", secret);
    let now = "2030-01-01T00:00:00Z".parse().expect("a time");
    let answer = authenticate(TOKEN, &*fake, now).expect("a bootstrap token");
    match answer {
        Ok(user) => {
            assert_eq!(user.name, "system:bootstrap:abc123");
            Some(user.groups)
        }
        Err(rejected) => {
            assert_eq!(rejected, Rejected::Invalid);
            None
        }
    }
}

#[test]
fn a_token_gives_the_groups_of_bootstrappers_only() {
    let plain = ["system:bootstrappers", "system:authenticated"];
    assert_eq!(groups(secret(&[])).expect("a user"), plain);
    for (extra, expected) in [
        ("", Some(&[][..])),
        (
            "system:bootstrappers:b,system:bootstrappers:a:1-x",
            Some(&["system:bootstrappers:a:1-x", "system:bootstrappers:b"]),
        ),
        ("system:masters", None),
        ("system:bootstrappers:a,system:masters", None),
        ("system:bootstrappers:", None),
        ("system:bootstrappers:a-", None),
        ("system:bootstrappers:A", None),
        ("system:bootstrappers:a b", None),
    ] {
        let found = groups(secret(&[("auth-extra-groups", Some(extra))]));
        let expected = expected.map(|expected| {
            let mut groups = vec![plain[0]];
            groups.extend(expected);
            groups.push(plain[1]);
            groups.into_iter().map(String::from).collect()
        });
        assert_eq!(found, expected, "{extra}");
    }
}

#[test]
fn what_is_not_for_this_any_more_is_refused() {
    for (key, value, allowed) in [
        ("token-secret", Some("0123456789abcdee"), false),
        ("token-secret", Some(""), false),
        ("token-secret", None, false),
        ("token-id", Some("abc124"), false),
        ("token-id", None, false),
        ("usage-bootstrap-authentication", Some("false"), false),
        ("usage-bootstrap-authentication", Some("True"), false),
        ("usage-bootstrap-authentication", None, false),
        ("expiration", Some("2030-01-01T00:00:01Z"), true),
        ("expiration", Some("2030-01-01T01:00:01+01:00"), true),
        ("expiration", Some("2030-01-01T00:00:00Z"), false),
        ("expiration", Some("2029-01-01T00:00:00Z"), false),
        ("expiration", Some("tomorrow"), false),
        ("expiration", Some(""), true),
    ] {
        let found = groups(secret(&[(key, value)]));
        assert_eq!(found.is_some(), allowed, "{key}: {value:?}");
    }
    let mut leaving = secret(&[]);
    leaving["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    assert_eq!(groups(leaving), None);
    let mut opaque = secret(&[]);
    opaque["type"] = json!("Opaque");
    assert_eq!(groups(opaque), None);
    let mut elsewhere = secret(&[]);
    elsewhere["metadata"]["namespace"] = json!("default");
    assert_eq!(groups(elsewhere), None);
}

#[test]
fn other_tokens_are_not_looked_up() {
    let fake = Fake::new();
    let now = jiff::Timestamp::now();
    for text in [
        "",
        ".",
        "a.b.c",
        "abc123",
        "abc123.0123456789abcdef.x",
        "abc12.0123456789abcdef",
        "abc123.0123456789ABCDEF",
        "../..1.0123456789abcdef",
    ] {
        assert_eq!(authenticate(text, &*fake, now), None, "{text}");
    }
    let unknown = authenticate(TOKEN, &*fake, now);
    assert_eq!(unknown, Some(Err(Rejected::Invalid)));
}

#[test]
fn generated_tokens_are_tokens() {
    let token = BootstrapToken::generate().expect("randomness");
    assert_eq!(BootstrapToken::parse(&token.reveal()), Ok(token.clone()));
    assert!(!token.is(&BootstrapToken::generate().expect("randomness")));
    assert!(!format!("{token:?}").contains(token.secret()));
}

#[test]
fn a_secret_is_read_as_it_was_written() {
    let written = TokenSecret {
        token: BootstrapToken::parse(TOKEN).expect("a token"),
        expires: "2030-01-01T00:00:00Z".parse().ok(),
        usages: vec![Usage::Authentication, Usage::Signing],
        extra_groups: vec!["system:bootstrappers:a".into()],
        description: "for tests".into(),
    };
    let data = written.data();
    let name = written.token.secret_name();
    let value = |key: &str| data.get(key).map(String::as_bytes);
    assert_eq!(TokenSecret::read(SECRET_TYPE, &name, value), Some(written));
    assert_eq!(TokenSecret::read("Opaque", &name, value), None);
    assert_eq!(
        TokenSecret::read(SECRET_TYPE, "bootstrap-token-1", value),
        None
    );
}
