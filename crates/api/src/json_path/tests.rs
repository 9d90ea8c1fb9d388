use serde_json::json;

use super::*;

fn find(path: &str) -> Value {
    let object = json!({
        "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}},
        "spec": {"hosts": ["x", "y", "z"], "n": 3},
        "status": {"conditions": [
            {"type": "Synced", "status": "False", "n": 1}, {"type": "Ready", "status": "True", "n": 2},
        ]},
    });
    let path = JsonPath::parse(path).expect(path);
    path.find(&object).into_iter().cloned().collect()
}

#[test]
fn paths() {
    for (path, found) in [
        (".metadata.name", json!(["a"])),
        (".spec.n", json!([3])),
        (".spec.missing.deep", json!([])),
        (".spec.hosts[0]", json!(["x"])),
        (".spec.hosts[-1]", json!(["z"])),
        (".spec.hosts[9]", json!([])),
        (".spec.hosts[1:]", json!(["y", "z"])),
        (".spec.hosts[0:3:2]", json!(["x", "z"])),
        (".spec.hosts[*]", json!(["x", "y", "z"])),
        (".spec.hosts[0,2]", json!(["x", "z"])),
        (r".metadata.labels.app\.kubernetes\.io/name", json!(["web"])),
        (".metadata.labels['app.kubernetes.io/name']", json!(["web"])),
        (
            ".metadata['labels','name']",
            json!([{"app.kubernetes.io/name": "web"}, "a"]),
        ),
        (
            r#".status.conditions[?(@.type=="Ready")].status"#,
            json!(["True"]),
        ),
        (
            ".status.conditions[?(@.type=='Ready')].status",
            json!(["True"]),
        ),
        (".status.conditions[?(@.n>1)].type", json!(["Ready"])),
        (".status.conditions[?(@.n != 1)].type", json!(["Ready"])),
        (".status.conditions[?(@.missing)].type", json!([])),
        ("..type", json!(["Synced", "Ready"])),
        (".metadata.labels.*", json!(["web"])),
        (".", json!([{"metadata": 1}])),
    ] {
        let all = find(path);
        match path {
            "." => assert_eq!(all.as_array().map(Vec::len), Some(1)),
            _ => assert_eq!(all, found, "{path}"),
        }
    }
}

#[test]
fn malformed_paths() {
    for path in [".a[", ".a[b]", ".a[?(b)]", ".a[1:2:3:4]"] {
        assert!(JsonPath::parse(path).is_err(), "{path}");
    }
    for (path, why) in [
        ("-start", "cannot parse number -"),
        ("10.0.0.1", "cannot parse number 10.0.0.1"),
        ("/up", "unrecognized character in action: U+002F '/'"),
        ("..:a", "unrecognized character in action: U+003A ':'"),
    ] {
        assert_eq!(
            JsonPath::parse(path).unwrap_err().to_string(),
            why,
            "{path}"
        );
    }
    for path in ["name", "_a", "1", "-1.5"] {
        assert!(JsonPath::parse(path).is_ok(), "{path}");
    }
}

#[test]
fn what_is_visited_has_a_bound() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep, 1, 2, 3]);
    }
    let path = JsonPath::parse("..[*]..[*]..[*]..[*]").expect("a path");
    assert!(path.find(&deep).len() <= MAX_VISITS * 2);
}
