//! The schemas and levels that every cluster has.

use serde_json::{Value, json};

/// The level, and the schema, of requests that are never held up.
pub const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
/// Says that a later version may bring an object up to date.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const KUBE_SYSTEM: &str = "kube-system";

/// A level with queues: name, shares, percent that it lends, queues, queues of a flow.
const QUEUED: [(&str, i64, i64, i64, i64); 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": spec,
    })
}

fn level(name: &str, spec: Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

/// One of the levels that cannot be changed.
pub fn mandatory_level(name: &str) -> Option<Value> {
    let spec = match name {
        EXEMPT => {
            json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})
        }
        CATCH_ALL => json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
        _ => return None,
    };
    Some(level(name, spec))
}

/// All levels.
pub fn levels() -> Vec<Value> {
    let queued = QUEUED.iter().map(|(name, shares, lent, queues, hand)| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lent,
            "limitResponse": {"type": "Queue", "queuing": queuing}});
        level(name, json!({"type": "Limited", "limited": limited}))
    });
    let mandatory = [EXEMPT, CATCH_ALL].into_iter().filter_map(mandatory_level);
    mandatory.chain(queued).collect()
}

fn groups(names: &[&str]) -> Vec<Value> {
    let subject = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    names.iter().map(subject).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    let subject = |name: &&str| json!({"kind": "User", "user": {"name": name}});
    names.iter().map(subject).collect()
}

fn system_accounts() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": KUBE_SYSTEM}})
}

fn everybody() -> Vec<Value> {
    groups(&["system:unauthenticated", "system:authenticated"])
}

/// Requests for some resources, of every namespace, and outside of namespaces where `cluster`.
fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule =
        json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn all(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn schema(name: &str, level: &str, precedence: i64, method: &str, rule: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

/// One of the schemas that cannot be changed.
pub fn mandatory_schema(name: &str) -> Option<Value> {
    match name {
        EXEMPT => {
            let rule = all(groups(&["system:masters"]));
            Some(schema(name, EXEMPT, 1, "", rule))
        }
        CATCH_ALL => Some(schema(name, CATCH_ALL, 10_000, "ByUser", all(everybody()))),
        _ => None,
    }
}

/// All schemas.
pub fn schemas() -> Vec<Value> {
    let nodes = || groups(&["system:nodes"]);
    let leases = |verbs| resources(verbs, "coordination.k8s.io", &["leases"], false);
    let probes = json!({"subjects": everybody(), "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]});
    let mut electors = users(&["system:kube-controller-manager", "system:kube-scheduler"]);
    electors.push(system_accounts());
    let election =
        json!({"subjects": electors, "resourceRules": [leases(&["get", "create", "update"])]});
    let node_high = json!({"subjects": nodes(), "resourceRules": [
        resources(&["*"], "", &["nodes", "nodes/status"], true), leases(&["*"])]});
    let manager = all(users(&["system:kube-controller-manager"]));
    let scheduler = all(users(&["system:kube-scheduler"]));
    let accounts = all(groups(&["system:serviceaccounts"]));
    let suggested = [
        schema("system-nodes", "system", 500, "ByUser", all(nodes())),
        schema("system-node-high", "node-high", 400, "ByUser", node_high),
        schema("probes", EXEMPT, 2, "", probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            election,
        ),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            "ByNamespace",
            manager,
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            "ByNamespace",
            scheduler,
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            "ByNamespace",
            all(vec![system_accounts()]),
        ),
        schema("service-accounts", "workload-low", 9000, "ByUser", accounts),
        schema(
            "global-default",
            "global-default",
            9900,
            "ByUser",
            all(everybody()),
        ),
    ];
    let mandatory = [EXEMPT, CATCH_ALL].into_iter().filter_map(mandatory_schema);
    mandatory.chain(suggested).collect()
}
