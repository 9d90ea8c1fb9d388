use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::{Cost, Env, Program};

fn env() -> Env {
    Env::default().with("object", Type::Dyn).with_patch_types()
}

fn made(source: &str) -> (Type, Result<Value, String>, Vec<String>) {
    let program = Program::compile(source, &env()).expect("a program");
    let object =
        json!({"spec": {"replicas": 3, "containers": [{"name": "a"}]}, "labels": {"x": "y"}});
    let variables = [("object", Val::json(&object))];
    let value = program
        .eval(&variables, &mut Cost::new(100_000))
        .expect("a value");
    let mut cost = Cost::new(100_000);
    let mut made = Output::new(&mut cost);
    let wrong = made.misplaced(&value).expect("little work");
    (program.result.clone(), made.json(&value), wrong)
}

#[test]
fn configurations() {
    let (ty, value, wrong) = made(
        "Object{metadata: Object.metadata{labels: {'a': 'b'}}, spec: Object.spec{replicas: object.spec.replicas + 1, \
         containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, env: [Object.spec.containers.env{name: 'E'}]})}}",
    );
    assert!(is_object(&ty) && wrong.is_empty(), "{ty} {wrong:?}");
    assert_eq!(
        value,
        Ok(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 4, "containers": [{"name": "a", "env": [{"name": "E"}]}]}})
        )
    );
    let (ty, _, wrong) = made("Object{spec: Object.wrong{}}");
    assert!(is_object(&ty));
    assert_eq!(
        wrong,
        [
            r#"unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type"#
        ]
    );
    let (_, value, _) = made("Object{?a: optional.none(), ?b: optional.of(1)}");
    assert_eq!(value, Ok(json!({"b": 1})));
}

#[test]
fn operations_of_a_patch() {
    let source = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: 'v'}, JSONPatch{op: 'remove', path: '/x'}]";
    let program = Program::compile(source, &env()).expect("a program");
    assert!(are_operations(&program.result));
    let value = program.eval(&[], &mut Cost::new(1000)).expect("a value");
    let mut cost = Cost::new(1000);
    let mut made_of = Output::new(&mut cost);
    let operations = made_of.operations(&value).expect("little work");
    let operations = operations.expect("operations");
    let told: Vec<String> = operations
        .iter()
        .map(|one| {
            let value = one.value.as_ref().map(|value| made_of.json(value));
            format!("{} {} {value:?}", one.op, one.path)
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"add /metadata/labels/a~1b~0c Some(Ok(String("v")))"#,
            "remove /x None"
        ]
    );
    let (_, value, _) = made("[{'a': 1.0}, {'a': 2.5}]");
    assert_eq!(value, Ok(json!([{"a": 1}, {"a": 2.5}])));
    let (_, value, _) = made(
        "[dyn(duration('90s')), dyn(timestamp('2026-01-02T03:04:05Z')), dyn(b'a'), dyn(object.labels)]",
    );
    assert_eq!(
        value,
        Ok(json!(["90s", "2026-01-02T03:04:05Z", "YQ==", {"x": "y"}]))
    );
}

fn refused(source: &str, env: &Env, expected: Expect) {
    let error = Program::compile(source, env).expect_err("is no program");
    expected.assert_eq(&error.to_string());
}

#[test]
fn what_is_no_patch() {
    refused(
        "JSONPatch{op: 1}",
        &env(),
        expect![[r#"
            ERROR: <input>:1:13: expected type of field 'op' is 'string' but provided type is 'int'
             | JSONPatch{op: 1}
             | ............^"#]],
    );
    refused(
        "JSONPatch{where: '/a'}",
        &env(),
        expect![[r#"
            ERROR: <input>:1:16: undefined field 'where'
             | JSONPatch{where: '/a'}
             | ...............^"#]],
    );
    refused(
        "Other{a: 1}",
        &env(),
        expect![[r#"
            ERROR: <input>:1:6: undeclared reference to 'Other' (in container '')
             | Other{a: 1}
             | .....^"#]],
    );
    refused(
        "Object{}",
        &Env::default(),
        expect![[r#"
            ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')
             | Object{}
             | ......^"#]],
    );
    refused(
        "jsonpatch.escapeKey('a')",
        &Env::default(),
        expect![[r#"
            ERROR: <input>:1:1: undeclared reference to 'jsonpatch' (in container '')
             | jsonpatch.escapeKey('a')
             | ^
            ERROR: <input>:1:20: undeclared reference to 'escapeKey' (in container '')
             | jsonpatch.escapeKey('a')
             | ...................^"#]],
    );
}
