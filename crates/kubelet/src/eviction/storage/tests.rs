use serde_json::{Value, json};

use super::*;
use crate::testing;

const MIB: u64 = 1 << 20;

fn spec(volume: Value, first: Value, second: Value) -> Pod {
    let container =
        |name: &str, limits: Value| json!({ "name": name, "resources": { "limits": limits } });
    testing::pod(json!({
        "volumes": [{ "name": "v", "emptyDir": volume }],
        "containers": [container("a", first), container("b", second)],
    }))
}

fn used(volume: u64, a: u64, b: u64) -> Used {
    let named = |name: &str, mebibytes: u64| {
        let bytes = mebibytes * MIB;
        (name.to_owned(), Size { bytes, inodes: 1 })
    };
    Used {
        volumes: [named("v", volume)].into(),
        written: [named("a", a)].into(),
        logs: [named("b", b)].into(),
    }
}

#[test]
fn limits_in_upstreams_words() {
    let limit = |size: &str| json!({ "ephemeral-storage": size });
    let volume = Some("Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". ");
    let container = Some("Container a exceeded its local ephemeral storage limit \"5Mi\". ");
    let whole =
        Some("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ");
    for (pod, used, expected) in [
        (
            spec(json!({}), json!({}), json!({})),
            used(99, 99, 99),
            None,
        ),
        (
            spec(json!({ "sizeLimit": "5Mi" }), json!({}), json!({})),
            used(5, 99, 99),
            None,
        ),
        (
            spec(json!({ "sizeLimit": "5Mi" }), json!({}), json!({})),
            used(6, 0, 0),
            volume,
        ),
        (
            spec(json!({ "sizeLimit": "0" }), json!({}), json!({})),
            used(6, 0, 0),
            None,
        ),
        (
            spec(
                json!({ "sizeLimit": "5Mi", "medium": "Memory" }),
                json!({}),
                json!({}),
            ),
            used(6, 0, 0),
            None,
        ),
        (
            spec(json!({}), limit("5Mi"), limit("5Mi")),
            used(0, 6, 1),
            container,
        ),
        (
            spec(json!({}), limit("5Mi"), limit("5Mi")),
            used(1, 5, 5),
            whole,
        ),
        (
            spec(json!({}), limit("5Mi"), limit("5Mi")),
            used(0, 5, 5),
            None,
        ),
    ] {
        let message = exceeded(&pod, &used).map(|(_, message)| message);
        assert_eq!(message.as_deref(), expected, "{used:?}");
        if expected.is_some() {
            assert!(is_limited(&pod));
        }
    }
    assert!(!is_limited(&spec(json!({}), json!({}), json!({}))));
}

#[test]
fn a_volume_is_what_its_files_take() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
    let size = size(dir.path());
    assert!((100_000..200_000).contains(&size.bytes), "{size:?}");
    assert_eq!(super::size(&dir.path().join("none")), Size::default());
}
