//! What claims get, as tables.

use serde_json::{Value, json};

use crate::fixtures::{World, claim_of, class, node, request, rule, slice};

/// Four devices of one node: two of model a on different buses, two of model b.
fn four() -> Value {
    let device = |name: &str, model: &str, bus: i64, memory: &str| {
        json!({
            "name": name,
            "attributes": {"model": {"string": model}, "bus": {"int": bus}},
            "capacity": {"memory": {"value": memory}},
        })
    };
    json!([
        device("a1", "a", 1, "40Gi"),
        device("a2", "a", 2, "40Gi"),
        device("b1", "b", 1, "80Gi"),
        device("b2", "b", 2, "80Gi"),
    ])
}

fn world() -> World {
    World::new(vec![slice("s", "n1", four(), json!({"nodeName": "n1"}))])
}

fn select(expression: &str) -> Value {
    json!([{"cel": {"expression": expression}}])
}

const MODEL_B: &str = "device.attributes['gpu.example.com'].model == 'b'";

#[test]
fn requests_get_the_first_devices_that_fit() {
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "one",
            json!({"requests": [request("r", json!({}))]}),
            "r=a1",
        ),
        (
            "some",
            json!({"requests": [request("r", json!({"count": 3}))]}),
            "r=a1 r=a2 r=b1",
        ),
        (
            "too many",
            json!({"requests": [request("r", json!({"count": 5}))]}),
            "none",
        ),
        (
            "more than a claim may have",
            json!({"requests": [request("r", json!({"count": 33}))]}),
            "error: claim x/c, request r: adding 33 devices exceeds the claim limit of 32, with 0 already accounted for",
        ),
        (
            "a selector",
            json!({"requests": [request("r", json!({"selectors": select(MODEL_B)}))]}),
            "r=b1",
        ),
        (
            "a selector of capacity",
            json!({"requests": [request("r", json!({"selectors": select(
                "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('50Gi'))")}))]}),
            "r=b1",
        ),
        (
            "a selector that fails",
            json!({"requests": [request("r", json!({"selectors": select(
                "device.attributes['gpu.example.com'].size == 1")}))]}),
            "error: claim x/c: selector #0 on device gpu.example.com/n1/a1: CEL runtime error: no such key: size. consider using CEL optional chaining (.? followed by orValue()) or guarding the check with has() for optional fields",
        ),
        (
            "all",
            json!({"requests": [request("r", json!({"allocationMode": "All", "selectors": select(MODEL_B)}))]}),
            "r=b1 r=b2",
        ),
        (
            "all of none",
            json!({"requests": [request("r", json!({"allocationMode": "All", "selectors": select("false")}))]}),
            "none",
        ),
        (
            "two requests",
            json!({"requests": [request("r", json!({})), request("s", json!({"selectors": select(MODEL_B)}))]}),
            "r=a1 s=b1",
        ),
        (
            "a class that is not there",
            json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}),
            "error: request r: device class none does not exist",
        ),
    ];
    for (what, devices, wanted) in cases {
        let told = world().told(&node("n1", "a"), &[claim_of("c", devices)]);
        assert_eq!(told, wanted, "{what}");
    }
}

#[test]
fn claims_do_not_get_the_same_device() {
    let one = || json!({"requests": [request("r", json!({"count": 2}))]});
    let claims = [claim_of("c", one()), claim_of("d", one())];
    assert_eq!(
        world().told(&node("n1", "a"), &claims),
        "r=a1 r=a2 | r=b1 r=b2"
    );

    let mut used = world();
    let allocations = used
        .allocate(&node("n1", "a"), &claims[..1])
        .unwrap()
        .unwrap();
    used.usage.add(&allocations[0]);
    assert_eq!(used.told(&node("n1", "a"), &claims[1..]), "r=b1 r=b2");
    assert_eq!(used.told(&node("n1", "a"), &claims), "none");

    let all = claim_of(
        "e",
        json!({"requests": [request("r", json!({"allocationMode": "All"}))]}),
    );
    assert_eq!(
        used.told(&node("n1", "a"), &[all]),
        "none",
        "some of all are in use"
    );
    let admin = json!({"allocationMode": "All", "adminAccess": true});
    let admin = claim_of("e", json!({"requests": [request("r", admin)]}));
    assert_eq!(
        used.told(&node("n1", "a"), &[admin]),
        "r=a1! r=a2! r=b1! r=b2!"
    );

    used.usage.remove(&allocations[0]);
    assert_eq!(used.told(&node("n1", "a"), &claims[1..]), "r=a1 r=a2");
}

#[test]
fn constraints_are_met() {
    let devices = |count: i64, constraint: Value| {
        let requests = [
            request("r", json!({"count": count})),
            request("s", json!({"selectors": select(MODEL_B)})),
        ];
        json!({"requests": requests, "constraints": [constraint]})
    };
    let bus = "gpu.example.com/bus";
    let cases = [
        ("match", 1, json!({"matchAttribute": bus}), "r=a1 s=b1"),
        ("match goes back", 2, json!({"matchAttribute": bus}), "none"),
        (
            "match of one request",
            2,
            json!({"matchAttribute": "gpu.example.com/model", "requests": ["r"]}),
            "r=a1 r=a2 s=b1",
        ),
        (
            "distinct",
            1,
            json!({"distinctAttribute": bus}),
            "r=a1 s=b2",
        ),
        (
            "distinct of three",
            2,
            json!({"distinctAttribute": bus}),
            "none",
        ),
        (
            "an attribute that is not there",
            1,
            json!({"matchAttribute": "gpu.example.com/size"}),
            "none",
        ),
    ];
    for (what, count, constraint, wanted) in cases {
        let claim = claim_of("c", devices(count, constraint));
        assert_eq!(world().told(&node("n1", "a"), &[claim]), wanted, "{what}");
    }
}

#[test]
fn the_first_alternative_that_can_be_had_is_taken() {
    let sub = |name: &str, model: &str, count: i64| {
        let expression = format!("device.attributes['gpu.example.com'].model == '{model}'");
        json!({"name": name, "deviceClassName": "gpu", "count": count, "selectors": select(&expression)})
    };
    let cases = [
        (
            vec![sub("c", "c", 1), sub("b", "b", 2), sub("a", "a", 1)],
            "r/b=b1 r/b=b2",
        ),
        (vec![sub("b", "b", 3), sub("a", "a", 1)], "r/a=a1"),
        (vec![sub("b", "b", 40), sub("a", "a", 1)], "r/a=a1"),
        (vec![sub("b", "b", 3), sub("a", "a", 3)], "none"),
    ];
    for (subs, wanted) in cases {
        let devices = json!({"requests": [{"name": "r", "firstAvailable": subs}]});
        let told = world().told(&node("n1", "a"), &[claim_of("c", devices.clone())]);
        assert_eq!(told, wanted, "{devices}");
    }
}

#[test]
fn taints_keep_claims_off() {
    let tolerate = json!([{"key": "broken", "operator": "Exists"}]);
    let taint = |effect: &str| json!({"key": "broken", "effect": effect});
    let on = |device: &str, effect: &str| json!({"deviceSelector": {"driver": "gpu.example.com", "device": device}, "taint": taint(effect)});
    let cases = [
        (vec![on("a1", "NoSchedule")], json!({}), "r=a2"),
        (
            vec![on("a1", "NoExecute"), on("a2", "NoExecute")],
            json!({}),
            "r=b1",
        ),
        (vec![on("a1", "None")], json!({}), "r=a1"),
        (
            vec![on("a1", "NoExecute")],
            json!({"tolerations": tolerate}),
            "r=a1",
        ),
        (
            vec![json!({"deviceSelector": {}, "taint": taint("NoSchedule")})],
            json!({}),
            "none",
        ),
        (
            vec![json!({"taint": taint("NoSchedule")})],
            json!({}),
            "r=a1",
        ),
    ];
    for (rules, more, wanted) in cases {
        let mut world = world();
        world.rules = rules.iter().cloned().map(rule).collect();
        let claim = claim_of("c", json!({"requests": [request("r", more)]}));
        assert_eq!(world.told(&node("n1", "a"), &[claim]), wanted, "{rules:?}");
    }
}

#[test]
fn slices_are_of_nodes() {
    let one = json!([{"name": "d"}]);
    let zone = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]});
    let own = json!([
        {"name": "first", "nodeName": "n2"},
        {"name": "second", "nodeSelector": zone},
    ]);
    let by_name = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]});
    let cases = [
        (
            &one,
            json!({"nodeName": "n1"}),
            "r=d",
            "none",
            Some(by_name.clone()),
        ),
        (&one, json!({"allNodes": true}), "r=d", "r=d", None),
        (
            &one,
            json!({"nodeSelector": zone}),
            "r=d",
            "none",
            Some(zone.clone()),
        ),
        (
            &own,
            json!({"perDeviceNodeSelection": true}),
            "r=second",
            "r=first",
            Some(zone.clone()),
        ),
        (&one, json!({}), "none", "none", None),
    ];
    for (devices, more, on_n1, on_n2, selector) in cases {
        let world = World::new(vec![slice("s", "p", devices.clone(), more.clone())]);
        let claim = [claim_of(
            "c",
            json!({"requests": [request("r", json!({}))]}),
        )];
        assert_eq!(world.told(&node("n1", "a"), &claim), on_n1, "{more}");
        assert_eq!(world.told(&node("n2", "b"), &claim), on_n2, "{more}");
        if let Some(allocations) = world.allocate(&node("n1", "a"), &claim).unwrap() {
            let found = serde_json::to_value(&allocations[0].node_selector).unwrap();
            assert_eq!(found, json!(selector), "{more}");
        }
    }
}

#[test]
fn pools_must_be_whole() {
    let devices = |name: &str| json!([{"name": name}]);
    let pool = |generation: i64, count: i64, node: &str| json!({"nodeName": node, "pool": {"generation": generation, "resourceSliceCount": count}});
    let any = || json!({"requests": [request("r", json!({}))]});
    let all = || json!({"requests": [request("r", json!({"allocationMode": "All"}))]});
    let cases = [
        (
            "a slice is missing",
            vec![pool(1, 2, "n1")],
            "none",
            "is currently being updated",
        ),
        (
            "a part is of another node",
            vec![pool(1, 2, "n1"), pool(1, 2, "n2")],
            "r=d0",
            "r=d0",
        ),
        (
            "an older one is left",
            vec![pool(1, 1, "n1"), pool(2, 1, "n1")],
            "r=d1",
            "r=d1",
        ),
        (
            "a newer one is elsewhere",
            vec![pool(1, 2, "n1"), pool(2, 2, "n2")],
            "none",
            "none",
        ),
    ];
    for (what, slices, with_any, with_all) in cases {
        let slices = slices.into_iter().enumerate();
        let slices =
            slices.map(|(i, more)| slice(&format!("s{i}"), "p", devices(&format!("d{i}")), more));
        let world = World::new(slices.collect());
        let on = node("n1", "a");
        assert_eq!(world.told(&on, &[claim_of("c", any())]), with_any, "{what}");
        let told = world.told(&on, &[claim_of("c", all())]);
        assert!(told.ends_with(with_all), "{what}: {told}");
    }
    let twice = json!([{"name": "d"}, {"name": "d"}]);
    let world = World::new(vec![slice("s", "p", twice, json!({"nodeName": "n1"}))]);
    let told = world.told(&node("n1", "a"), &[claim_of("c", any())]);
    assert_eq!(told, "error: invalid resource pools were encountered");
}

#[test]
fn counters_are_shared() {
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]});
    let devices = json!([
        part("whole", "80Gi"),
        part("half-1", "40Gi"),
        part("half-2", "40Gi"),
        part("quarter", "20Gi")
    ]);
    let pool = json!({"nodeName": "n1", "pool": {"resourceSliceCount": 2}});
    let mut counters = pool.clone();
    counters["sharedCounters"] =
        json!([{"name": "card", "counters": {"memory": {"value": "80Gi"}}}]);
    let mut world = World::new(vec![
        slice("counters", "p", json!([]), counters),
        slice("devices", "p", devices, pool),
    ]);
    let on = node("n1", "a");
    let claim = |count: i64| {
        claim_of(
            "c",
            json!({"requests": [request("r", json!({"count": count}))]}),
        )
    };
    assert_eq!(world.told(&on, &[claim(1)]), "r=whole");
    assert_eq!(world.told(&on, &[claim(2)]), "r=half-1 r=half-2");
    assert_eq!(world.told(&on, &[claim(3)]), "none");
    let half = select("true");
    let taken = claim_of(
        "d",
        json!({"requests": [request("r", json!({"count": 2, "selectors": half}))]}),
    );
    let taken = world.allocate(&on, &[taken]).unwrap().unwrap();
    world.usage.add(&taken[0]);
    assert_eq!(
        world.told(&on, &[claim(1)]),
        "none",
        "nothing is left of the card"
    );
}

#[test]
fn parts_of_a_device_are_had() {
    let policy =
        json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi", "step": "1Gi"}});
    let devices = json!([{
        "name": "nic", "allowMultipleAllocations": true,
        "capacity": {"bandwidth": {"value": "10Gi", "requestPolicy": policy}},
    }]);
    let mut world = World::new(vec![slice("s", "p", devices, json!({"nodeName": "n1"}))]);
    let on = node("n1", "a");
    let claim = |amount: Option<&str>| {
        let more = match amount {
            Some(amount) => json!({"capacity": {"requests": {"bandwidth": amount}}}),
            None => json!({}),
        };
        claim_of("c", json!({"requests": [request("r", more)]}))
    };
    let cases = [
        (Some("2Gi"), "r=nic(bandwidth 2Gi)"),
        (Some("1500Mi"), "r=nic(bandwidth 2Gi)"),
        (Some("1Mi"), "r=nic(bandwidth 1Gi)"),
        (None, "r=nic(bandwidth 1Gi)"),
        (Some("9Gi"), "none"),
    ];
    for (amount, wanted) in cases {
        assert_eq!(world.told(&on, &[claim(amount)]), wanted, "{amount:?}");
    }
    let two = [claim(Some("6Gi")), claim(Some("4Gi"))];
    assert_eq!(
        world.told(&on, &two),
        "r=nic(bandwidth 6Gi) | r=nic(bandwidth 4Gi)"
    );
    let taken = world.allocate(&on, &two[..1]).unwrap().unwrap();
    world.usage.add(&taken[0]);
    assert_eq!(world.told(&on, &[claim(Some("5Gi"))]), "none");
    assert_eq!(
        world.told(&on, &[claim(Some("4Gi"))]),
        "r=nic(bandwidth 4Gi)"
    );
    world.usage.remove(&taken[0]);
    assert_eq!(
        world.told(&on, &[claim(Some("5Gi"))]),
        "r=nic(bandwidth 5Gi)"
    );
}

#[test]
fn drivers_are_told_what_classes_and_claims_say() {
    let opaque =
        |text: &str| json!({"opaque": {"driver": "gpu.example.com", "parameters": {"k": text}}});
    let mut world = world();
    world
        .classes
        .push(class("tuned", json!({"config": [opaque("class")]})));
    let mut own = opaque("claim");
    own["requests"] = json!(["r"]);
    let mut other = opaque("nobody");
    other["requests"] = json!(["r/never"]);
    let devices = json!({
        "requests": [
            {"name": "r", "exactly": {"deviceClassName": "tuned"}},
            {"name": "s", "exactly": {"deviceClassName": "tuned"}},
        ],
        "config": [own, other, opaque("all")],
    });
    let allocations = world.allocate(&node("n1", "a"), &[claim_of("c", devices)]);
    let allocation = allocations.unwrap().unwrap().remove(0);
    let config = serde_json::to_value(allocation.devices.unwrap().config).unwrap();
    let told: Vec<(&str, &Value, &str)> = config
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = one["opaque"]["parameters"]["k"].as_str().unwrap();
            (one["source"].as_str().unwrap(), &one["requests"], text)
        })
        .collect();
    let wanted = [
        ("FromClass", &Value::Null, "class"),
        ("FromClaim", &json!(["r"]), "claim"),
        ("FromClaim", &Value::Null, "all"),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn the_search_has_a_bound() {
    let devices: Vec<Value> = (0..30)
        .map(|i| json!({"name": format!("d{i}"), "attributes": {"a": {"int": i}}}))
        .collect();
    let mut world = World::new(vec![slice(
        "s",
        "p",
        json!(devices),
        json!({"allNodes": true}),
    )]);
    // Every order of the devices would have to be tried.
    let requests: Vec<Value> = (0..10)
        .map(|i| request(&format!("r{i}"), json!({})))
        .collect();
    let never = request("never", json!({"count": 25}));
    let with_never = [requests.clone(), vec![never]].concat();
    let devices = json!({"requests": with_never});
    world.steps = Some(10_000);
    let told = world.told(&node("n1", "a"), &[claim_of("c", devices)]);
    assert_eq!(
        told,
        "error: claim x/c, request never: adding 25 devices exceeds the claim limit of 32, with 10 already accounted for"
    );
    let same = json!({"matchAttribute": "gpu.example.com/a", "requests": ["r9", "r8"]});
    let devices = json!({"requests": requests, "constraints": [same]});
    let told = world.told(&node("n1", "a"), &[claim_of("c", devices)]);
    assert_eq!(told, "error: timed out trying to allocate devices");
}

#[test]
fn pods_want_no_more_than_can_be_looked_for() {
    let devices: Vec<Value> = (0..200).map(|i| json!({"name": format!("d{i}")})).collect();
    let world = World::new(vec![slice(
        "s",
        "p",
        json!(devices),
        json!({"allNodes": true}),
    )]);
    let claims = |claims: usize, count: usize| -> Vec<_> {
        let of = |i| {
            let devices = json!({"requests": [request("r", json!({"count": count}))]});
            claim_of(&format!("c{i}"), devices)
        };
        (0..claims).map(of).collect()
    };
    let on = node("n1", "a");
    assert!(world.allocate(&on, &claims(4, 32)).unwrap().is_some());
    let cases = [
        (
            5,
            32,
            "error: the pod needs 160 devices allocated, of which 128 can be at once",
        ),
        (
            33,
            1,
            "error: the pod needs 33 claims allocated, of which 32 can be at once",
        ),
    ];
    for (count, each, wanted) in cases {
        assert_eq!(world.told(&on, &claims(count, each)), wanted);
    }
}

/// Requests that cannot be satisfied, beside others that can be in more ways than anybody waits for.
#[test]
fn what_cannot_be_had_is_found_out_at_once() {
    let many = |count: usize| {
        let devices =
            (0..count).map(|n| json!({"name": format!("d{n}"), "attributes": {"n": {"int": n}}}));
        let devices: Vec<Value> = devices.collect();
        World {
            // Of the millions of steps of trying all.
            steps: Some(20_000),
            ..World::new(vec![slice(
                "s",
                "n1",
                json!(devices),
                json!({"nodeName": "n1"}),
            )])
        }
    };
    let even = "device.attributes['gpu.example.com'].n % 2 == 0";
    let small = "device.attributes['gpu.example.com'].n < 3";
    let cases: Vec<(&str, Vec<Value>, &str)> = vec![
        (
            "none of a kind",
            vec![
                request("r", json!({"count": 10})),
                request("s", json!({"selectors": select("false")})),
            ],
            "none",
        ),
        (
            "one too many of all",
            vec![
                request("r", json!({"count": 16})),
                request("s", json!({"count": 15})),
            ],
            "none",
        ),
        (
            "one too many of a kind",
            vec![
                request("q", json!({"count": 4})),
                request("r", json!({"count": 9, "selectors": select(even)})),
                request("s", json!({"count": 7, "selectors": select(even)})),
            ],
            "none",
        ),
        (
            "one alternative is of no use",
            vec![
                request("r", json!({"count": 12})),
                json!({"name": "s", "firstAvailable": [
                    {"name": "a", "deviceClassName": "gpu", "selectors": select("false")},
                    {"name": "b", "deviceClassName": "gpu", "selectors": select("1 > 2")},
                ]}),
            ],
            "none",
        ),
        (
            "another order helps",
            vec![
                request("r", json!({"count": 2})),
                request("s", json!({"count": 2, "selectors": select(small)})),
            ],
            "r=d0 r=d3 s=d1 s=d2",
        ),
    ];
    for (what, requests, wanted) in cases {
        let claim = claim_of("c", json!({"requests": requests}));
        assert_eq!(many(30).told(&node("n1", "a"), &[claim]), wanted, "{what}");
    }
}

/// Time that is over ends a search that has something to evaluate, and not one that knows all answers.
#[test]
fn answers_are_kept_from_one_attempt_to_the_next() {
    let mut slice = (*slice("s", "n1", four(), json!({"nodeName": "n1"}))).clone();
    slice.metadata.uid = Some("u".to_owned());
    slice.metadata.resource_version = Some("1".to_owned());
    let mut world = World::new(vec![slice.clone().into()]);
    let claim = || {
        claim_of(
            "c",
            json!({"requests": [request("r", json!({"selectors": select(MODEL_B)}))]}),
        )
    };
    let failing = || {
        let size = "device.attributes['gpu.example.com'].size == 1";
        claim_of(
            "f",
            json!({"requests": [request("r", json!({"selectors": select(size)}))]}),
        )
    };
    let node = node("n1", "a");
    let late = "error: timed out trying to allocate devices";
    world.until = Some(std::time::Instant::now());
    assert_eq!(world.told(&node, &[claim()]), late, "nothing is compiled");
    world.until = None;
    assert_eq!(world.told(&node, &[claim()]), "r=b1");
    let failed = world.told(&node, &[failing()]);
    assert!(failed.contains("no such key: size"), "{failed}");
    world.until = Some(std::time::Instant::now());
    assert_eq!(world.told(&node, &[claim()]), "r=b1");
    assert_eq!(world.told(&node, &[failing()]), failed);
    // What has changed is asked about again.
    slice.metadata.resource_version = Some("2".to_owned());
    world.slices = vec![slice.into()];
    assert_eq!(world.told(&node, &[claim()]), late);
}

#[test]
fn a_pod_has_so_many_selectors_and_no_more() {
    let claim = |name: &str, from: usize| {
        let selectors = |of: usize| {
            let one = move |n: usize| json!({"cel": {"expression": format!("{} >= 0", from + of * 32 + n)}});
            Value::Array((0..32).map(one).collect())
        };
        let requests =
            (0..4).map(|of| request(&format!("r{of}"), json!({"selectors": selectors(of)})));
        claim_of(name, json!({"requests": requests.collect::<Vec<_>>()}))
    };
    let world = world();
    let node = node("n1", "a");
    let within = [claim("a", 0), claim("b", 0)];
    assert_eq!(world.told(&node, &within[..1]), "r0=a1 r1=a2 r2=b1 r3=b2");
    assert_eq!(world.told(&node, &within), "none", "the same ones");
    let beyond = [claim("a", 0), claim("b", 1_000)];
    let told = world.told(&node, &beyond);
    assert!(
        told.contains("different selectors allocated, of which 256 can be at once"),
        "{told}"
    );
}
