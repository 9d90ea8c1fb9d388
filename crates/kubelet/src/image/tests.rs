use base64::Engine as _;
use serde_json::json;

use super::*;
use crate::testing::object;

#[test]
fn references_get_a_tag() {
    let digested = &format!("a@sha256:{}", "0".repeat(64));
    let digested = digested.as_str();
    for (given, expected) in [
        ("nginx", Some("nginx:latest")),
        ("nginx:1", Some("nginx:1")),
        ("nginx:latest", Some("nginx:latest")),
        ("latest", Some("latest:latest")),
        ("host:5000/a/b", Some("host:5000/a/b:latest")),
        (digested, Some(digested)),
        ("a@sha256:0", None),
        ("", None),
        ("Nginx", None),
        ("a b", None),
        (":x", None),
    ] {
        assert_eq!(with_tag(given).ok().as_deref(), expected, "{given}");
    }
}

#[test]
fn pulls_are_counted_by_registry() {
    for (image, expected) in [
        ("nginx", "docker.io"),
        ("team/app:1", "docker.io"),
        ("docker.io/team/app", "docker.io"),
        ("localhost/app", "localhost"),
        ("host:5000/a/b:1", "host:5000"),
        ("r.example/a@sha256:0", "r.example"),
    ] {
        assert_eq!(registry(image), expected, "{image}");
    }
}

#[test]
fn credentials_go_by_the_longest_match() {
    let auth = |user: &str| json!({ "auth": base64::engine::general_purpose::STANDARD.encode(format!("{user}:pw")) });
    let config = json!({ "auths": {
        "https://index.docker.io/v1/": auth("hub"),
        "reg.example:5000": auth("reg"),
        "reg.example:5000/team": auth("team"),
        "*.wild.example": auth("wild"),
        "eu-?.*-docker.example:5000": auth("glob"),
    } });
    let data = base64::engine::general_purpose::STANDARD.encode(config.to_string());
    let secret: Secret = object(json!({ "data": { ".dockerconfigjson": data } }));
    let secrets = [Arc::new(secret)];
    for (image, users) in [
        ("nginx:1", vec!["hub"]),
        ("reg.example:5000/team/a:1", vec!["team", "reg"]),
        ("reg.example:5000/teammate/a:1", vec!["reg"]),
        ("x.wild.example/a:1", vec!["wild"]),
        ("y.x.wild.example/a:1", vec![]),
        ("wild.example/a:1", vec![]),
        ("eu-1.my-docker.example:5000/a:1", vec!["glob"]),
        ("eu-1.my-docker.example/a:1", vec![]),
        ("eu-12.my-docker.example:5000/a:1", vec![]),
        ("elsewhere.example/a:1", vec![]),
    ] {
        let found = credentials::of_secrets(image, &secrets).into_iter();
        // A runtime takes credentials for another server than the image's for none.
        let found: Vec<String> = found
            .filter(|found| found.auth.server_address.is_empty())
            .map(|found| found.auth.username)
            .collect();
        assert_eq!(found, users, "{image}");
    }
}

#[test]
fn durations_read_as_in_go() {
    for (millis, text) in [
        (5, "5ms"),
        (1_000, "1s"),
        (1_250, "1.25s"),
        (61_005, "1m1.005s"),
    ] {
        assert_eq!(go_duration(Duration::from_millis(millis)), text);
    }
}
