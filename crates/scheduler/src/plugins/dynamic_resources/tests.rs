use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use knarr_client::fake;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::framework::PreBind;
use crate::simulation::{Object, Placement, Simulation};

fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object of this type")
}

fn node(name: &str, more: Value) -> Node {
    let mut allocatable = json!({"cpu": "4", "memory": "4Gi", "pods": "10"});
    for (key, value) in more.as_object().into_iter().flatten() {
        allocatable[key] = value.clone();
    }
    object(json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}}))
}

fn slice(node: &str, devices: &[&str]) -> ResourceSlice {
    let devices: Vec<Value> = devices.iter().map(|name| json!({"name": name})).collect();
    object(json!({
        "metadata": {"name": node},
        "spec": {
            "driver": "d.io", "nodeName": node, "devices": devices,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        },
    }))
}

fn class() -> DeviceClass {
    object(json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "d.io/gpu"}}))
}

fn claim(name: &str, more: Value) -> ResourceClaim {
    let mut claim = json!({
        "metadata": {"namespace": "x", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        claim[key] = value.clone();
    }
    object(claim)
}

/// Allocated on node `on`, and reserved for the pods of these uids.
fn allocated(name: &str, on: &str, device: &str, pods: &[&str]) -> ResourceClaim {
    let reserved: Vec<Value> = pods
        .iter()
        .map(|uid| json!({"resource": "pods", "name": uid, "uid": uid}))
        .collect();
    let selector = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [on]}]}]});
    let result = json!({"request": "r", "driver": "d.io", "pool": on, "device": device});
    claim(
        name,
        json!({"status": {
            "allocation": {"devices": {"results": [result]}, "nodeSelector": selector},
            "reservedFor": reserved,
        }}),
    )
}

fn pod(name: &str, claims: &[&str]) -> Pod {
    let claims: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "resourceClaimName": claim}))
        .collect();
    object(json!({
        "metadata": {"namespace": "x", "name": name, "uid": name},
        "spec": {"containers": [{"name": "c"}], "resourceClaims": claims},
    }))
}

fn with_resource(name: &str, count: &str) -> Pod {
    let mut pod = pod(name, &[]);
    let requests = json!({"requests": {"d.io/gpu": count}});
    let spec = pod.spec.as_mut().expect("a specification");
    spec.containers[0].resources = Some(object(requests));
    pod
}

/// Two nodes with a device each, and these claims.
fn cluster(claims: Vec<ResourceClaim>) -> Simulation {
    let mut cluster = Simulation::default();
    for name in ["a", "b"] {
        cluster.add(Object::Node(Box::new(node(name, json!({})))));
        let devices = [format!("{name}1")];
        let slice = slice(name, &[devices[0].as_str()]);
        cluster.add(Object::ResourceSlice(Box::new(slice)));
    }
    cluster.add(Object::DeviceClass(Box::new(class())));
    for claim in claims {
        cluster.add(Object::ResourceClaim(Box::new(claim)));
    }
    cluster
}

fn told(placement: Placement) -> String {
    match placement {
        Placement::Nodes(nodes) => nodes.join(" "),
        Placement::Waits { message, .. } => {
            let end = message.find(". ").unwrap_or(message.len());
            message[..end].to_owned()
        }
    }
}

#[test]
fn pods_go_where_their_claims_can_be_had() {
    let wrong = json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}});
    let two = json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2}}]}}});
    let ending = json!({"metadata": {"namespace": "x", "name": "c", "uid": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let cases = [
        ("free devices", claim("c", json!({})), "a b"),
        (
            "too many",
            claim("c", two),
            "0/2 nodes are available: 2 cannot allocate all claims",
        ),
        ("allocated", allocated("c", "b", "b1", &[]), "b"),
        (
            "used by another pod, too",
            allocated("c", "b", "b1", &["q"]),
            "b",
        ),
        (
            "no class",
            claim("c", wrong),
            "0/2 nodes are available: request r: device class none does not exist.",
        ),
        (
            "ending",
            claim("c", ending),
            "resourceclaim \"c\" is being deleted",
        ),
        (
            "another's",
            claim("d", json!({})),
            "could not find ResourceClaim \"x/c\"",
        ),
    ];
    for (what, claim, wanted) in cases {
        let mut cluster = cluster(vec![claim]);
        let told = told(cluster.schedule(pod("p", &["c"])));
        assert_eq!(
            told.trim_end_matches('.'),
            wanted.trim_end_matches('.'),
            "{what}"
        );
    }
    let claims = vec![
        allocated("c", "a", "a1", &[]),
        allocated("d", "b", "b1", &[]),
    ];
    let message = told(cluster(claims).schedule(pod("p", &["c", "d"])));
    assert_eq!(
        message,
        "0/2 nodes are available: 2 resourceclaim not available on the node"
    );
}

#[test]
fn devices_are_given_once() {
    let names = ["c", "d", "e"];
    let mut cluster = cluster(names.map(|name| claim(name, json!({}))).to_vec());
    assert_eq!(told(cluster.schedule(pod("p", &["c"]))), "a b");
    assert_eq!(told(cluster.schedule(pod("q", &["d"]))), "b");
    let message = told(cluster.schedule(pod("r", &["e"])));
    assert_eq!(
        message,
        "0/2 nodes are available: 2 cannot allocate all claims"
    );
    let message = told(cluster.schedule(pod("s", &["c"])));
    assert_eq!(
        message.trim_end_matches('.'),
        "0/2 nodes are available: resource claim x/c is in the process of being allocated"
    );
}

#[test]
fn devices_stand_for_extended_resources() {
    let mut cluster = cluster(Vec::new());
    assert_eq!(told(cluster.schedule(with_resource("p", "1"))), "a b");
    assert_eq!(told(cluster.schedule(with_resource("q", "1"))), "b");
    let message = told(cluster.schedule(with_resource("r", "1")));
    assert_eq!(
        message,
        "0/2 nodes are available: 2 cannot allocate all claims"
    );
    // A device plugin's come first.
    let plugin = node("z", json!({"d.io/gpu": "1"}));
    cluster.add(Object::Node(Box::new(plugin)));
    assert_eq!(told(cluster.schedule(with_resource("s", "1"))), "z");
    let message = told(cluster.schedule(with_resource("t", "1")));
    assert_eq!(
        message,
        "0/3 nodes are available: 1 Insufficient d.io/gpu, 2 cannot allocate all claims"
    );
}

fn plugin(claims: Vec<ResourceClaim>) -> Arc<DynamicResources> {
    let plugin = DynamicResources::new(Sources::unfed());
    plugin.sources.classes.apply(class());
    plugin.sources.slices.apply(slice("a", &["a1"]));
    claims
        .into_iter()
        .for_each(|claim| plugin.sources.claims.apply(claim));
    plugin
}

fn info(pod: Pod) -> PodInfo {
    PodInfo::new(&Arc::new(pod))
}

fn reserve(
    plugin: &Arc<DynamicResources>,
    pod: Pod,
) -> Result<Option<Box<dyn Reservation>>, String> {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(&Arc::new(node("a", json!({}))));
    let node = snapshot.node("a").expect("the node");
    plugin.reserve(&info(pod), node)
}

/// A pod that is still to be bound, of which nothing is told.
fn wanting(client: &kube::Client) -> PreBind<'_> {
    PreBind {
        client,
        wanted: &|| true,
        waits: &|_| (),
    }
}

/// What the scheduler wrote: the claim with it.
fn merged(claim: &ResourceClaim, patch: &Value, version: &str) -> Value {
    let mut claim = json!(claim);
    for (key, value) in patch["metadata"].as_object().into_iter().flatten() {
        claim["metadata"][key] = value.clone();
    }
    if !patch["status"].is_null() {
        claim["status"] = patch["status"].clone();
    }
    claim["metadata"]["resourceVersion"] = json!(version);
    claim
}

#[tokio::test(start_paused = true)]
async fn what_is_reserved_is_written_and_stays_until_it_shows() {
    let plugin = plugin(vec![claim("c", json!({})), claim("d", json!({}))]);
    let mut reservation = reserve(&plugin, pod("p", &["c"]))
        .unwrap()
        .expect("a reservation");
    assert_eq!(
        reserve(&plugin, pod("q", &["d"])).err().as_deref(),
        Some(CANNOT_ALLOCATE)
    );

    let (client, mut server) = fake::client();
    let answers = async {
        let first = server.next().await;
        assert_eq!(
            first.body["metadata"]["finalizers"],
            json!([claim::FINALIZER])
        );
        let held = merged(&claim("c", json!({})), &first.body, "2");
        first.answer(200, &held);
        let second = server.next().await;
        assert!(
            second.uri.contains("/resourceclaims/c/status"),
            "{}",
            second.uri
        );
        assert_eq!(second.body["metadata"]["resourceVersion"], json!("2"));
        let consumer = json!([{"resource": "pods", "name": "p", "uid": "p"}]);
        assert_eq!(second.body["status"]["reservedFor"], consumer);
        let result = &second.body["status"]["allocation"]["devices"]["results"][0];
        assert_eq!(result["device"], json!("a1"));
        let written = merged(&object(held), &second.body, "3");
        second.answer(200, &written);
        written
    };
    let asked = wanting(&client);
    let (bound, written) = tokio::join!(reservation.pre_bind(&asked), answers);
    bound.expect("it is written");
    drop(reservation);
    // An older state of the claim says nothing.
    plugin.sources.claims.apply(claim("c", json!({})));
    assert!(reserve(&plugin, pod("q", &["d"])).is_err());
    plugin.sources.claims.apply(object(written.clone()));
    assert!(reserve(&plugin, pod("q", &["d"])).is_err());
    // It is given back.
    let mut free = written;
    free["status"] = json!({});
    free["metadata"]["resourceVersion"] = json!("4");
    plugin.sources.claims.apply(object(free));
    assert!(reserve(&plugin, pod("q", &["d"])).unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_overtaken_is_looked_at_anew() {
    let plugin = plugin(vec![claim("c", json!({}))]);
    let mut reservation = reserve(&plugin, pod("p", &["c"]))
        .unwrap()
        .expect("a reservation");
    let (client, mut server) = fake::client();
    let answers = async {
        let conflict = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "no"});
        server.next().await.answer(409, &conflict);
        let again = server.next().await;
        assert_eq!(again.method, "GET");
        again.answer(200, &json!(allocated("c", "b", "b1", &["q"])));
    };
    let asked = wanting(&client);
    let (bound, ()) = tokio::join!(reservation.pre_bind(&asked), answers);
    let error = bound.expect_err("another scheduler was faster");
    assert_eq!(error, "claim x/c got allocated elsewhere in the meantime");
    reservation.unreserve(&client).await;
    assert!(server.is_idle(), "nothing was written");
    let devices = reserve(&plugin, pod("p", &["c"])).unwrap();
    assert!(devices.is_some(), "the device is free again");
}

/// Between a look at a claim and its delete another one may have got the name.
#[tokio::test(start_paused = true)]
async fn a_claim_is_deleted_that_was_looked_at() {
    let mut made = json!(claim("c", json!({})));
    made["metadata"]["uid"] = json!("ours");
    made["metadata"]["annotations"] =
        json!({"resource.kubernetes.io/extended-resource-claim": "true"});
    made["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let (client, mut server) = fake::client();
    let answers = async {
        let look = server.next().await;
        assert_eq!(look.method, "GET");
        look.answer(200, &made);
        let delete = server.next().await;
        assert_eq!(delete.method, "DELETE");
        let uid = delete.body["preconditions"]["uid"].clone();
        let conflict = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "another"});
        delete.answer(409, &conflict);
        uid
    };
    let claim: ResourceClaim = object(made.clone());
    assert!(claim::is_for_extended_resources(&claim, "p"), "{made}");
    let (_, uid) = tokio::join!(bind::give_back(&client, "p", &claim), answers);
    assert_eq!(uid, json!("ours"));
}

#[tokio::test(start_paused = true)]
async fn devices_are_made_ready_first() {
    let ready = |conditions: Value| {
        let mut claim = json!(allocated("c", "a", "a1", &["p"]));
        claim["status"]["allocation"]["allocationTimestamp"] = json!("2099-01-01T00:00:00Z");
        let result = &mut claim["status"]["allocation"]["devices"]["results"][0];
        result["bindingConditions"] = json!(["ready"]);
        result["bindingFailureConditions"] = json!(["broken"]);
        claim["status"]["devices"] =
            json!([{"driver": "d.io", "pool": "a", "device": "a1", "conditions": conditions}]);
        object::<ResourceClaim>(claim)
    };
    let condition = |name: &str| json!([{"type": name, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let (client, _server) = fake::client();
    for (last, wanted) in [
        (condition("ready"), None),
        (
            condition("broken"),
            Some("device binding failed: claim=c, reason=R, message=\"m\""),
        ),
    ] {
        let plugin = plugin(vec![ready(json!([]))]);
        let mut reservation = reserve(&plugin, pod("p", &["c"]))
            .unwrap()
            .expect("it waits");
        let said = Mutex::new(String::new());
        let later = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            plugin.sources.claims.apply(ready(last));
        };
        let waits = |note| *said.lock() = note;
        let asked = PreBind {
            waits: &waits,
            ..wanting(&client)
        };
        let bind = reservation.pre_bind(&asked);
        let (bound, ()) = tokio::join!(bind, later);
        assert_eq!(bound.err().as_deref(), wanted);
        assert_eq!(
            *said.lock(),
            "waiting for binding conditions for device on node a"
        );
    }
}

#[test]
fn changes_wake_those_whom_they_help() {
    let plugin = plugin(vec![claim("c", json!({}))]);
    let (waits, plain) = (info(pod("p", &["c"])), info(pod("q", &[])));
    let (free, other) = (claim("c", json!({})), claim("d", json!({})));
    let (used, gone) = (
        allocated("c", "a", "a1", &[]),
        allocated("d", "a", "a1", &[]),
    );
    let event = |old, new| DeviceEvent::Claim { old, new };
    let cases = [
        ("its claim came", event(None, Some(&free)), true),
        (
            "its claim is as before",
            event(Some(&free), Some(&free)),
            false,
        ),
        ("another came", event(None, Some(&other)), false),
        (
            "another's devices are free",
            event(Some(&gone), Some(&other)),
            true,
        ),
        (
            "another with devices is gone",
            event(Some(&gone), None),
            true,
        ),
        ("another without is gone", event(Some(&other), None), false),
        (
            "its claim got devices",
            event(Some(&free), Some(&used)),
            true,
        ),
        ("a slice", DeviceEvent::Devices, true),
    ];
    for (what, event, wanted) in cases {
        assert_eq!(plugin.devices_help(&waits, &event), wanted, "{what}");
        assert!(!plugin.devices_help(&plain, &event), "{what}");
    }
}

#[test]
fn pods_are_not_tried_before_their_claims_are_made() {
    let plugin = plugin(Vec::new());
    let mut templated = pod("p", &[]);
    let spec = templated.spec.as_mut().expect("a specification");
    spec.resource_claims = Some(object(
        json!([{"name": "c", "resourceClaimTemplateName": "t"}]),
    ));
    let error = plugin
        .pre_enqueue(&info(templated.clone()))
        .expect_err("it is not noted");
    assert_eq!(error, "pod \"x/p\": ResourceClaim not created yet");
    let status = json!({"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "p-c-1"}]});
    templated.status = Some(object(status));
    assert!(
        plugin.pre_enqueue(&info(templated.clone())).is_err(),
        "it is not seen"
    );
    plugin.sources.claims.apply(claim("p-c-1", json!({})));
    let error = plugin
        .pre_enqueue(&info(templated.clone()))
        .expect_err("another's");
    assert_eq!(
        error,
        "ResourceClaim x/p-c-1 was not created for Pod x/p (Pod is not owner)"
    );
    let owner =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let meta = json!({"namespace": "x", "name": "p-c-1", "uid": "u", "ownerReferences": owner});
    plugin
        .sources
        .claims
        .apply(claim("p-c-1", json!({"metadata": meta})));
    assert_eq!(plugin.pre_enqueue(&info(templated)), Ok(()));
}
