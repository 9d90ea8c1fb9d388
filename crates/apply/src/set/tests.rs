use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn set(fields: &Value) -> Set<'_> {
    Set::from_json(fields).expect("fieldsV1")
}

#[test]
fn fields_are_read_and_written_back() {
    let cases = [
        json!({}),
        json!({"f:spec": {"f:replicas": {}}}),
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:a.b/c": {}}}}),
        json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}),
        json!({"f:finalizers": {"v:\"a\"": {}, "v:1": {}, "v:1.5": {}, "v:true": {}, "v:\"\\u003c\"": {}}}),
        json!({"f:list": {"i:3": {}}}),
    ];
    for fields in cases {
        assert_eq!(set(&fields).to_json(), fields);
    }
}

#[test]
fn other_spellings_are_the_same_set() {
    let same = [
        (json!(null), json!({})),
        (json!({"f:a": null}), json!({"f:a": {}})),
        (json!({"f:a": {".": {}}}), json!({"f:a": {}})),
        (json!({"f:a": {".": 7}}), json!({"f:a": {}})),
        (json!({"f:a": {}, "x:later": {"y": 1}}), json!({"f:a": {}})),
        (
            json!({"k:{\"b\":2,\"a\":1.0}": {}}),
            json!({"k:{\"a\":1,\"b\":2}": {}}),
        ),
        (json!({"v:80.0": {}, "v:80": {}}), json!({"v:80": {}})),
    ];
    for (given, wanted) in same {
        assert_eq!(set(&given).to_json(), wanted, "{given}");
    }
}

#[test]
fn what_is_no_path_is_refused() {
    let wrong = [
        (json!([]), "expected an object of paths, got []"),
        (json!({"f:a": 1}), "expected an object of paths, got 1"),
        (json!({"": {}}), "key must be 2 characters long:"),
        (json!({"f": {}}), "key must be 2 characters long:"),
        (json!({"name": {}}), "missing colon: name"),
        (json!({"i:x": {}}), "no index: x"),
    ];
    for (given, why) in wrong {
        assert_eq!(Set::from_json(&given).unwrap_err().to_string(), why);
    }
    for given in ["k:[]", "k:{", "v:", "v:1 2", "k:{\"a\":1}}"] {
        assert!(Set::from_json(&json!({given: {}})).is_err(), "{given}");
    }
}

#[test]
fn paths_read_as_upstream_prints_them() {
    let fields = json!({
        "f:spec": {
            ".": {},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
            "f:zone": {},
        },
        "f:a": {"v:\"x\\\"y\"": {}, "v:1e21": {}, "v:false": {}, "i:0": {}},
    });
    expect_test::expect![[r#"
        .spec
        .a[=1e+21]
        .a[="x\"y"]
        .a[=false]
        .a[0]
        .spec.zone
        .spec.ports[port=80,protocol="TCP"]
        .spec.ports[port=80,protocol="TCP"].name"#]]
    .assert_eq(&set(&fields).paths().join("\n"));
}

#[test]
fn a_difference_keeps_what_is_below_and_a_recursive_one_does_not() {
    let a = json!({"f:a": {".": {}, "f:b": {"f:c": {}}}, "f:d": {}});
    let b = json!({"f:a": {"f:b": {}}, "f:d": {"f:e": {}}});
    let (a, b) = (set(&a), set(&b));
    assert_eq!(
        a.difference(&b).to_json(),
        json!({"f:a": {".": {}, "f:b": {"f:c": {}}}, "f:d": {}})
    );
    assert_eq!(
        a.recursive_difference(&b).to_json(),
        json!({"f:a": {}, "f:d": {}})
    );
}

fn fields() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "f:a",
        "f:b",
        "f:<",
        "k:{\"a\":1}",
        "k:{\"a\":\"x\",\"b\":2}",
        "v:1",
        "v:2.5",
        "v:\"a\"",
        "i:1",
    ]);
    let leaf = Just(json!({}));
    leaf.prop_recursive(5, 40, 5, move |below| {
        (
            prop::collection::vec((name.clone(), below), 1..5),
            any::<bool>(),
        )
            .prop_map(|(below, here)| {
                let mut map: serde_json::Map<String, Value> = below
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect();
                if here {
                    map.insert(".".to_owned(), json!({}));
                }
                Value::Object(map)
            })
    })
}

proptest! {
    #[test]
    fn writing_and_reading_is_the_identity(fields in fields()) {
        let once = set(&fields).to_json();
        prop_assert_eq!(set(&once).to_json(), once);
    }

    #[test]
    fn operations_are_those_of_sets(a in fields(), b in fields()) {
        let (a, b) = (set(&a), set(&b));
        let union = a.union(&b);
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        let mut subtracted = a.clone();
        subtracted.subtract(&b);
        prop_assert_eq!(subtracted, a.difference(&b));
        prop_assert_eq!(a.clone().and(b.clone()), union.clone());
        prop_assert_eq!(union.len(), a.len() + b.len() - a.intersection(&b).len());
        prop_assert_eq!(union.paths().len(), union.len());
        union.for_each(&mut |path| assert!(a.contains(path) || b.contains(path)));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[fkvix:]{0,3}.{0,12}") {
        let _ = Set::from_json(&json!({text: {}})).map(|set| set.to_json());
    }
}
