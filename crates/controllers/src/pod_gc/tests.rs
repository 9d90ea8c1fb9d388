use serde_json::json;

use super::*;
use crate::fixtures::pod;

#[test]
fn the_oldest_that_have_ended_are_in_excess() {
    let ended = |name: &str, phase: &str, minute: u32| {
        pod(
            name,
            "n1",
            json!({"metadata": {"creationTimestamp": format!("2030-01-01T10:{minute:02}:00Z")}, "status": {"phase": phase}}),
        )
    };
    let pods = vec![
        ended("new", "Succeeded", 30),
        ended("old", "Failed", 10),
        ended("middle", "Succeeded", 20),
        ended("running", "Running", 1),
        ended("pending", "Pending", 1),
        pod(
            "going",
            "n1",
            json!({"metadata": {"deletionTimestamp": "2030-01-01T11:00:00Z"}, "status": {"phase": "Failed"}}),
        ),
    ];
    let names = |threshold: usize| {
        let excess = excess(pods.clone(), threshold);
        excess
            .iter()
            .map(|p| p.metadata.name.clone().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(3), "");
    assert_eq!(names(1), "old middle");
    assert_eq!(names(0), "old middle new");
}
