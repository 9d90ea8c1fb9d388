//! Policies that change objects.

use super::*;

fn apply(source: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}})
}

fn patch(source: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": source}})
}

/// What mutations make of a deployment with three replicas.
async fn mutated(mutations: Value) -> Result<Value, String> {
    let fake = cluster();
    mutating(
        &fake,
        "m",
        json!({"mutations": mutations, "reinvocationPolicy": "Never"}),
    );
    let result = create(3).run(&mutator(&fake)).await;
    result.map_err(|status| {
        format!(
            "{} {} {}",
            status.code,
            status.reason.as_str(),
            status.message
        )
    })
}

#[tokio::test]
async fn mutations_apply_in_their_order() {
    let object = mutated(json!([
        apply("Object{metadata: Object.metadata{labels: {'n': string(object.spec.replicas)}}, spec: Object.spec{replicas: object.spec.replicas + 1}}"),
        patch("[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'seen': string(object.spec.replicas)}}, JSONPatch{op: 'add', path: '/spec/template/spec/containers/-', value: Object.spec.template.spec.containers{name: 'side', image: 's'}}]"),
        apply("Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'c', image: 'j'}]}}}}"),
        patch("[JSONPatch{op: 'test', path: '/spec/replicas', value: 0}, JSONPatch{op: 'remove', path: '/spec/template'}]"),
    ]))
    .await
    .expect("an object");
    assert_eq!(object["metadata"]["labels"], json!({"n": "3"}));
    assert_eq!(object["metadata"]["annotations"], json!({"seen": "4"}));
    assert_eq!(object["spec"]["replicas"], 4);
    let containers = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("a list");
    let images: Vec<_> = containers
        .iter()
        .map(|c| (c["name"].as_str(), c["image"].as_str()))
        .collect();
    assert_eq!(images, [(Some("c"), Some("j")), (Some("side"), Some("s"))]);
    assert_eq!(
        containers[1]["terminationMessagePath"], "/dev/termination-log",
        "defaults are set again"
    );
}

#[tokio::test]
async fn what_cannot_be_mutated() {
    let mut told = String::new();
    for mutation in [
        apply("Object{spec: Object.spec{nothing: 1}}"),
        apply("Object{spec: Object.wrong{replicas: 1}}"),
        apply("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'c'}}}}"),
        apply("Object{spec: Object.spec{replicas: object.nothing}}"),
        patch("[JSONPatch{op: 'remove', path: '/spec/nothing'}]"),
        patch("[JSONPatch{op: 'replace', path: '/spec/replicas', value: 'many'}]"),
        patch("[JSONPatch{op: 'add', path: '/spec/nothing', value: 1}]"),
        apply("not compiled"),
    ] {
        let result = mutated(json!([mutation])).await;
        told.push_str(&result.expect_err("a refusal"));
        told.push('\n');
    }
    expect![[r#"
        403 Invalid policy 'm' with binding 'm-binding' denied request: error applying patch: failed to convert patch object to typed object: .spec.nothing: field not declared in schema
        403 Invalid policy 'm' with binding 'm-binding' denied request: type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type
        403 Invalid policy 'm' with binding 'm-binding' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector
        403 Invalid policy 'm' with binding 'm-binding' denied request: expression 'Object{spec: Object.spec{replicas: object.nothing}}' resulted in error: no such key: nothing
        403 Invalid policy 'm' with binding 'm-binding' denied request: JSON Patch: error in remove for path: '/spec/nothing': Unable to remove nonexistent key: nothing: missing value
        500 InternalError Internal error occurred: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32
        500 InternalError Internal error occurred: strict decoding error: unknown field "spec.nothing"
        403 Invalid policy 'm' with binding 'm-binding' denied request: compilation failed: ERROR: <input>:1:5: Syntax error: extraneous input 'compiled' expecting <EOF>
         | not compiled
         | ....^
    "#]].assert_eq(&told);
    let fake = cluster();
    mutating(
        &fake,
        "m",
        json!({"failurePolicy": "Ignore", "mutations": [apply("Object{spec: Object.spec{replicas: object.nothing}}")]}),
    );
    let object = create(3).run(&mutator(&fake)).await.expect("an object");
    assert_eq!(object["spec"]["replicas"], 3);
}

#[tokio::test]
async fn policies_run_again_where_they_ask_for_it() {
    let count = |label: &str| {
        patch(&format!(
            "[JSONPatch{{op: 'add', path: '/metadata/labels', value: {{'a-sees': has(object.metadata.labels) && 'b' in object.metadata.labels ? 'b' : 'nothing', '{label}': 'set'}}}}]"
        ))
    };
    let sets_b = apply("Object{metadata: Object.metadata{labels: {'b': 'set'}}}");
    for (policy, seen) in [("Never", "nothing"), ("IfNeeded", "b")] {
        let fake = cluster();
        mutating(
            &fake,
            "a",
            json!({"mutations": [count("a")], "reinvocationPolicy": policy}),
        );
        mutating(
            &fake,
            "b",
            json!({"mutations": [sets_b], "reinvocationPolicy": "Never"}),
        );
        let object = create(3).run(&mutator(&fake)).await.expect("an object");
        assert_eq!(object["metadata"]["labels"]["a-sees"], seen, "{policy}");
    }
}

#[tokio::test]
async fn mutations_end_where_objects_do() {
    let deep = format!("{}1{}", "[".repeat(45), "]".repeat(45));
    let deeper = |before: &str| format!("dyn({})", deep.replace('1', before));
    let nested = json!([
        {"name": "a", "expression": deeper("1")},
        {"name": "b", "expression": deeper("variables.a")},
        {"name": "c", "expression": deeper("variables.b")},
    ]);
    let apply = |value: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": format!("Object{{metadata: Object.metadata{{annotations: {value}}}}}")}});
    let patch = |value: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": format!("[JSONPatch{{op: 'add', path: '/metadata/annotations', value: {value}}}]")}});
    for (variables, mutation, why) in [
        (
            json!(doubled()),
            apply("variables.v29"),
            "the result is larger than 3145728 bytes",
        ),
        (
            json!(doubled()),
            patch("variables.v29"),
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: the result is larger than 3145728 bytes",
        ),
        (
            nested.clone(),
            apply("variables.c"),
            "the result is nested deeper than 127 levels",
        ),
        (
            nested.clone(),
            patch("variables.c"),
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: the result is nested deeper than 127 levels",
        ),
    ] {
        let fake = cluster();
        mutating(
            &fake,
            "p",
            json!({"variables": variables, "mutations": [mutation]}),
        );
        let status = match create(3).run(&mutator(&fake)).await {
            Ok(_) => panic!("was admitted"),
            Err(status) => status,
        };
        assert_eq!(
            status.message,
            format!("policy 'p' with binding 'p-binding' denied request: {why}")
        );
    }
}
