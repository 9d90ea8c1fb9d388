use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, now, object, pod};

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    object(json!({
        "metadata": {"namespace": "x", "name": "b", "uid": "budget", "generation": 2},
        "spec": spec, "status": status,
    }))
}

fn counted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: Option<i32>) -> String {
    let plan = match Plan::new(budget, pods, scale, now()) {
        Ok(plan) => plan,
        Err(error) => return format!("error: {error}"),
    };
    let Some(new) = plan::with_status(budget, &plan, now()) else {
        return "as it is".to_owned();
    };
    let status = new.status.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let said = conditions
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason));
    let late: Vec<_> = plan
        .late
        .iter()
        .filter_map(|pod| pod.metadata.name.clone())
        .collect();
    let disrupted: Vec<_> = status
        .disrupted_pods
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    format!(
        "{}/{} of {}, allowed {}, disrupted {disrupted:?}, late {late:?}, again in {:?}, {}",
        status.current_healthy,
        status.desired_healthy,
        status.expected_pods,
        status.disruptions_allowed,
        plan.recheck,
        said.collect::<Vec<_>>().join(", "),
    )
}

fn check(cases: &[(Value, Option<i32>)], pods: &[Arc<Pod>], expected: Expect) {
    let lines = cases.iter().map(|(spec, scale)| {
        let counted = counted(&budget(spec.clone(), json!(null)), pods, *scale);
        format!("{spec} {scale:?}: {counted}\n")
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn budgets_of_numbers_and_shares() {
    let deleted = json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}});
    let pods = [
        pod("a", "n", json!({})),
        pod("b", "n", json!({})),
        pod("c", "n", not_ready()),
        pod("d", "n", deleted),
    ];
    check(
        &[
            (json!({"minAvailable": 1}), None),
            (json!({"minAvailable": 2}), None),
            (json!({"minAvailable": 0}), None),
            (json!({"minAvailable": "50%"}), Some(3)),
            (json!({"minAvailable": "34%"}), Some(3)),
            (json!({"maxUnavailable": 1}), Some(3)),
            (json!({"maxUnavailable": 3}), Some(2)),
            (json!({"maxUnavailable": "0%"}), Some(5)),
            (json!({"maxUnavailable": "100%"}), Some(0)),
            (json!({"maxUnavailable": "much"}), Some(3)),
            (json!({}), None),
        ],
        &pods,
        expect![[r#"
            {"minAvailable":1} None: 2/1 of 4, allowed 1, disrupted [], late [], again in None, DisruptionAllowed=True SufficientPods
            {"minAvailable":2} None: 2/2 of 4, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"minAvailable":0} None: 2/0 of 4, allowed 2, disrupted [], late [], again in None, DisruptionAllowed=True SufficientPods
            {"minAvailable":"50%"} Some(3): 2/2 of 3, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"minAvailable":"34%"} Some(3): 2/2 of 3, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"maxUnavailable":1} Some(3): 2/2 of 3, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"maxUnavailable":3} Some(2): 2/0 of 2, allowed 2, disrupted [], late [], again in None, DisruptionAllowed=True SufficientPods
            {"maxUnavailable":"0%"} Some(5): 2/5 of 5, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"maxUnavailable":"100%"} Some(0): 2/0 of 0, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
            {"maxUnavailable":"much"} Some(3): error: invalid value for IntOrString: invalid type: string is not a percentage
            {} None: 2/0 of 0, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
        "#]],
    );
    check(
        &[(json!({"minAvailable": 0}), None)],
        &[],
        expect![[r#"
        {"minAvailable":0} None: 0/0 of 0, allowed 0, disrupted [], late [], again in None, DisruptionAllowed=False InsufficientPods
    "#]],
    );
}

#[test]
fn pods_that_were_let_go_are_not_healthy_for_a_while() {
    let pods = ["a", "b", "c"].map(|name| pod(name, "n", json!({})));
    let disrupted = json!({"disruptedPods": {
        "a": "2030-01-01T11:59:00Z", "b": "2030-01-01T11:57:00Z", "gone": "2030-01-01T11:59:30Z",
    }, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0});
    let budget = budget(json!({"minAvailable": 1}), disrupted);
    expect![[r#"2/1 of 3, allowed 1, disrupted ["a"], late ["b"], again in Some(60s), DisruptionAllowed=True SufficientPods"#]].assert_eq(&counted(&budget, &pods, None));
}

#[test]
fn statuses_are_written_where_they_say_something_new() {
    let status = json!({"currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "disruptionsAllowed": 0,
        "observedGeneration": 2, "conditions": [{"type": "DisruptionAllowed", "status": "False", "message": "",
            "reason": "InsufficientPods", "observedGeneration": 2, "lastTransitionTime": "2030-01-01T11:00:00Z"}]});
    let spec = json!({"minAvailable": 1});
    let pods = [pod("a", "n", json!({}))];
    assert_eq!(
        counted(&budget(spec.clone(), status.clone()), &pods, None),
        "as it is"
    );
    let mut old = status.clone();
    old["observedGeneration"] = json!(1);
    let plan = Plan::new(&budget(spec.clone(), old.clone()), &pods, None, now()).expect("a plan");
    let new = plan::with_status(&budget(spec.clone(), old), &plan, now()).expect("a change");
    assert_eq!(serde_json::to_value(new.status).expect("json"), status);
    let failed = plan::failed(&budget(spec, status), "no such kind", now())
        .status
        .unwrap_or_default();
    let condition = serde_json::to_value(failed.conditions.unwrap_or_default().remove(0));
    let expected = json!({"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no such kind",
        "observedGeneration": 2, "lastTransitionTime": "2030-01-01T11:00:00Z"});
    assert_eq!(condition.expect("json"), expected);
}

#[test]
fn which_budgets_ask_controllers() {
    for (spec, expected) in [
        (json!({"minAvailable": 1}), false),
        (json!({"minAvailable": "1%"}), true),
        (json!({"maxUnavailable": 1}), true),
        (json!({}), false),
    ] {
        assert_eq!(
            plan::needs_scale(&budget(spec.clone(), json!(null))),
            expected,
            "{spec}"
        );
    }
    let selector = json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}});
    let note = plan::unmanaged_note(&budget(selector, json!(null)));
    assert!(
        note.contains("(selector: &LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},})"),
        "{note}"
    );
}

#[test]
fn a_pod_of_several_budgets_is_told() {
    let mut first = budget(json!({}), json!(null));
    first.metadata.name = Some("a".to_owned());
    assert_eq!(
        plan::several_note(&pod("p", "n", json!({})), &first),
        r#"Pod "x"/"p" matches multiple PodDisruptionBudgets.  Chose "a" arbitrarily."#
    );
}

#[test]
fn conditions_of_pods_that_stayed_are_stale() {
    let with = |reason: &str, since: &str, more: Value| {
        let mut change = json!({"status": {"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": since}]}});
        merge(&mut change, more);
        pod("a", "n", change)
    };
    let evicted = "EvictionByEvictionAPI";
    let (early, late) = ("2030-01-01T11:59:00Z", "2030-01-01T11:00:00Z");
    let seconds = |pod: Arc<Pod>| stale::waiting(&pod, now()).map(|(_, left)| left.as_secs());
    assert_eq!(seconds(with(evicted, early, json!({}))), Some(60));
    assert_eq!(seconds(with(evicted, late, json!({}))), Some(0));
    assert_eq!(seconds(with("TerminationByKubelet", late, json!({}))), None);
    assert_eq!(
        seconds(with(evicted, late, json!({"status": {"phase": "Failed"}}))),
        None
    );
    let deleted = json!({"metadata": {"deletionTimestamp": late}});
    assert_eq!(seconds(with(evicted, late, deleted)), None);
    assert_eq!(seconds(pod("a", "n", json!({}))), None);
}
