use serde_json::json;

use super::*;
use crate::{resources::Resizable, testing::object};

fn change(name: &str, from: i64, to: i64) -> Change {
    let limit = |memory_limit| Resizable {
        memory_limit,
        ..Resizable::default()
    };
    Change {
        id: format!("{name}-0"),
        name: name.to_owned(),
        from: limit(from),
        to: limit(to),
    }
}

fn usage(bytes: u64) -> Option<v1::MemoryUsage> {
    Some(v1::MemoryUsage {
        usage_bytes: Some(v1::UInt64Value { value: bytes }),
        ..Default::default()
    })
}

#[test]
fn limits_below_what_is_used_are_told() {
    let stats = v1::LinuxPodSandboxStats {
        memory: usage(100),
        containers: vec![v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: "a-0".to_owned(),
                ..Default::default()
            }),
            memory: usage(60),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (a, b) = (change("a", 80, 50), change("b", 0, 50));
    for (of_pod, containers, told) in [
        (Some(101), vec![], vec![]),
        (
            Some(100),
            vec![&a],
            vec![
                "attempting to set pod memory limit (100) below current usage (100)",
                "attempting to set container \"a\" memory limit (50) below current usage (60)",
            ],
        ),
        (None, vec![&b], vec!["missing container \"b\" memory usage"]),
    ] {
        assert_eq!(too_small(&stats, of_pod, &containers), told);
    }
}

#[test]
fn one_resource_at_a_time() {
    let given = object(json!({ "requests": { "cpu": "1", "memory": "1Gi" } }));
    let wanted = object(json!({
        "requests": { "cpu": "2", "memory": "2Gi" }, "limits": { "cpu": "3", "memory": "3Gi" },
    }));
    for (resource, now) in [
        (
            Resource::Memory,
            json!({ "requests": { "cpu": "1", "memory": "2Gi" }, "limits": { "memory": "3Gi" } }),
        ),
        (
            Resource::Cpu,
            json!({ "requests": { "cpu": "2", "memory": "1Gi" }, "limits": { "cpu": "3" } }),
        ),
    ] {
        let merged = merged(&given, Some(&wanted), resource);
        assert_eq!(serde_json::to_value(merged).unwrap(), now);
    }
}
