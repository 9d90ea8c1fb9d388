use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// `name phase ready`: `a Running True`, with a container that requests a cpu; started an hour ago.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split(' ').collect();
    let [name, phase, ready] = words[..] else {
        panic!("{text}");
    };
    let pod: Value = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {
            "phase": phase,
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:10Z"}],
        },
    });
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

/// `name=milli` of each pod that was measured, a minute ago.
fn samples(text: &str) -> Samples {
    text.split_whitespace()
        .map(|one| {
            let (name, value) = one.split_once('=').expect("a sample");
            let sample = Sample {
                at: "2026-01-01T00:59:00Z".parse().expect("a time"),
                window: SignedDuration::from_secs(30),
                value: value.parse().expect("a number"),
            };
            (name.to_owned(), sample)
        })
        .collect()
}

fn target<'a>(pods: &'a [Arc<Pod>], replicas: i32) -> Target<'a> {
    Target {
        pods,
        replicas,
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        now: now(),
    }
}

#[test]
fn utilization_of_cpu() {
    let ready = ["a Running True", "b Running True", "c Running True"];
    for (pods, measured, wanted, proposed) in [
        (&ready[..], "a=500 b=500 c=500", 50, "3 500m 50%"),
        (&ready, "a=1000 b=1000 c=1000", 50, "6 1000m 100%"),
        (&ready, "a=100 b=100 c=100", 50, "1 100m 10%"),
        // Within a tenth nothing is done.
        (&ready, "a=549 b=549 c=549", 50, "3 549m 54%"),
        // What is missing uses nothing on the way up, all on the way down.
        (&ready, "a=1000 b=1000", 50, "4 1000m 100%"),
        (&ready, "a=100 b=100", 50, "3 100m 10%"),
        (
            &["a Running True", "b Pending False", "c Failed False"],
            "a=1000 b=1 c=1",
            50,
            "3 1000m 100%",
        ),
    ] {
        let pods: Vec<_> = pods.iter().map(|text| pod(text)).collect();
        let found = target(&pods, 3).by_utilization(samples(measured), CPU, "", wanted);
        let found = found.expect("a proposal");
        let percent = found.utilization.expect("a percentage");
        let found = format!("{} {}m {percent}%", found.replicas, found.value);
        assert_eq!(found, proposed, "{measured} of {wanted}");
    }
}

#[test]
fn amounts_of_pods() {
    let pods: Vec<_> = ["a Running True", "b Running True"].map(pod).into();
    let ask = |measured, wanted| {
        let found = target(&pods, 2).by_average(samples(measured), "", wanted);
        found.map(|found| (found.replicas, found.value))
    };
    assert_eq!(ask("a=20000 b=10000", 15_000), Ok((2, 15_000)));
    assert_eq!(ask("a=40000 b=20000", 15_000), Ok((4, 30_000)));
    assert_eq!(ask("a=30000", 15_000), Ok((2, 30_000)));
    assert_eq!(ask("", 1), Err(NO_METRICS.to_owned()));
    assert_eq!(
        target(&[], 2).by_average(samples("a=1"), "", 1),
        Err(NO_PODS.to_owned())
    );
}

#[test]
fn ratios_and_shares() {
    let pods: Vec<_> = ["a Running True", "b Running False"].map(pod).into();
    let ratio = |replicas, value, wanted| {
        let found = target(&pods, replicas).by_ratio(value, wanted);
        found.map(|found| found.replicas)
    };
    assert_eq!(ratio(2, 100, 100), Ok(2));
    // Pods that are not ready do not count.
    assert_eq!(ratio(2, 300, 100), Ok(3));
    assert_eq!(ratio(0, 150, 100), Ok(2));
    assert_eq!(ratio(0, 0, 100), Ok(0));
    assert!(target(&[], 2).by_ratio(300, 100).is_err());
    let share = |value, wanted, status| {
        let found = target(&pods, 2).by_share(value, wanted, status);
        (found.replicas, found.value)
    };
    assert_eq!(share(1000, 500, 2), (2, 500));
    assert_eq!(share(2000, 500, 2), (4, 1000));
    assert_eq!(share(i64::MAX, 1, 2).0, i32::MAX);
}

#[test]
fn pods_that_start_do_not_count() {
    let judge = |started: &str, ready: Option<(&str, &str)>, measured: &str| {
        let conditions: Vec<Value> = ready
            .into_iter()
            .map(
                |(status, at)| json!({"type": "Ready", "status": status, "lastTransitionTime": at}),
            )
            .collect();
        let pod = json!({"status": {"startTime": started, "conditions": conditions}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let sample = Sample {
            at: measured.parse().expect("a time"),
            window: SignedDuration::from_secs(30),
            value: 1,
        };
        is_starting(&pod, &sample, now())
    };
    let recent = "2026-01-01T00:58:00Z";
    let long_ago = "2026-01-01T00:00:00Z";
    assert!(judge(recent, None, NOW));
    assert!(judge(recent, Some(("False", recent)), NOW));
    assert!(!judge(recent, Some(("True", recent)), NOW));
    // The window began before it was ready.
    assert!(judge(recent, Some(("True", "2026-01-01T00:59:45Z")), NOW));
    // It never was ready, and it was once.
    assert!(judge(
        long_ago,
        Some(("False", "2026-01-01T00:00:10Z")),
        NOW
    ));
    assert!(!judge(
        long_ago,
        Some(("False", "2026-01-01T00:50:00Z")),
        NOW
    ));
}

#[test]
fn requests_are_of_the_pod_or_its_containers() {
    let pod = |spec: Value| {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        serde_json::from_value::<Pod>(pod).expect("a pod")
    };
    let container =
        |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = container("s", "300m");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "containers": [container("a", "100m"), container("b", "200m")],
        "initContainers": [container("i", "5"), sidecar],
    });
    let mut of_pod = spec.clone();
    of_pod["resources"] = json!({"requests": {"cpu": "2"}});
    for (spec, container, wanted) in [
        (&spec, "", Ok(600)),
        (&spec, "b", Ok(200)),
        (&of_pod, "", Ok(2000)),
        (&of_pod, "b", Ok(200)),
        (&spec, "x", Err("container x not found in Pod p".to_owned())),
        (
            &json!({"containers": [{"name": "a"}]}),
            "",
            Err("missing request for cpu in container a of Pod p".to_owned()),
        ),
    ] {
        assert_eq!(request(&pod(spec.clone()), "p", container, CPU), wanted);
    }
}
