use serde_json::json;

use super::*;
use crate::{Env, cost::PER_OBJECT, tests::shown};

/// Variables, each with what it is composed of, compiled in their order.
fn compile(variables: &[(&str, &str)]) -> (Env, Vec<Result<Program, String>>) {
    let base = || Env::default().with("object", Type::Dyn);
    let mut composed = Composed::default();
    let mut programs = Vec::new();
    for (name, source) in variables {
        let program = Program::compile(source, &base().with_composed(composed.clone()));
        composed.add(name, program.as_ref().ok().map(|program| &program.result));
        programs.push(program.map_err(|error| error.to_string()));
    }
    (base().with_composed(composed), programs)
}

fn run(variables: &[(&str, &str)], source: &str) -> (String, u64) {
    let (env, programs) = compile(variables);
    let object = json!({"replicas": 3, "name": "a"});
    let program = match Program::compile(source, &env) {
        Ok(program) => program,
        Err(error) => return (error.to_string(), 0),
    };
    let mut composition = Composition::new(vec![("object", Val::json(&object))]);
    for ((name, _), program) in variables.iter().zip(&programs) {
        composition.add(name, program.as_ref().map_err(String::as_str));
    }
    let mut budget = Cost::new(PER_OBJECT);
    let told = match composition.eval(&program, &mut budget) {
        Ok(value) => shown(&value),
        Err(error) => format!("error: {error}"),
    };
    (told, PER_OBJECT - budget.left())
}

#[test]
fn variables_use_those_before_them() {
    let variables = [
        ("replicas", "object.replicas"),
        ("twice", "variables.replicas * 2"),
        ("missing", "object.nothing"),
        ("list", "[1, 2]"),
    ];
    for (source, value) in [
        ("variables.twice + variables.replicas", "9"),
        ("has(variables.twice)", "true"),
        ("variables.list.all(i, i < 3)", "true"),
        ("variables.twice > 5 || variables.missing", "true"),
        (
            "variables.missing",
            "error: composited variable \"missing\" fails to evaluate: no such key: nothing",
        ),
        ("[{'a': 1}].exists(variables, variables.a == 1)", "true"),
    ] {
        assert_eq!(run(&variables, source).0, value, "{source}");
    }
}

#[test]
fn what_is_not_looked_at_costs_nothing() {
    let variables = [
        ("cheap", "1"),
        ("dear", "lists.range(1000).map(i, i * i)"),
        ("dearer", "variables.dear.map(i, i * 2)"),
    ];
    let (value, spent) = run(
        &variables,
        "variables.cheap == 1 || size(variables.dearer) == 1",
    );
    // The variable that was looked at is a constant.
    assert_eq!((&*value, spent), ("true", 3));
    let (value, once) = run(&variables, "size(variables.dear) == 1000");
    assert!(value == "true" && once > 1000, "{value} {once}");
    let (_, twice) = run(
        &variables,
        "size(variables.dear) + size(variables.dear) == 0",
    );
    // The second time it is a field like any other: the field, its size, the sum.
    assert_eq!(once + 4, twice);
}

#[test]
fn each_variable_has_a_bound_of_its_own() {
    let variables = [("dear", "lists.range(2000).map(i, lists.range(2000)).size()")];
    let (value, spent) = run(&variables, "variables.dear > 0");
    assert_eq!(
        value,
        "error: composited variable \"dear\" fails to evaluate: operation cancelled: actual cost limit exceeded"
    );
    assert!(spent >= PER_CALL);
}

#[test]
fn long_chains_need_no_stack() {
    let names: Vec<String> = (0..5000).map(|n| format!("v{n}")).collect();
    let sources: Vec<String> = (0..5000usize)
        .map(|n| match n.checked_sub(1) {
            None => "1".to_owned(),
            Some(before) => format!("variables.v{before} + 1"),
        })
        .collect();
    // One at a time: an environment a variable has a price.
    let types = names.iter().map(|name| (name.clone(), Type::Int));
    let composed = Composed {
        types: Arc::new(types.collect()),
    };
    let env = Env::default().with_composed(composed);
    let programs: Vec<Program> = sources
        .iter()
        .map(|source| Program::compile(source, &env).expect("a program"))
        .collect();
    let mut composition = Composition::new(Vec::new());
    for (name, program) in names.iter().zip(&programs) {
        composition.add(name, Ok(program));
    }
    let value = composition
        .get("v4999", &mut Cost::new(PER_CALL))
        .expect("a value");
    assert_eq!(shown(&value), "5000");
}

#[test]
fn what_is_wrong_with_a_variable_is_told_where_it_is_used() {
    let variables = [("bad", "object +"), ("self", "1")];
    let (value, _) = run(&variables, "variables.bad == 1");
    assert!(
        value.starts_with("error: composited variable \"bad\" fails to compile: ERROR: <input>:1:"),
        "{value}"
    );
    let (value, _) = run(&variables, "variables.nothing == 1");
    assert_eq!(
        value,
        "ERROR: <input>:1:10: undefined field 'nothing'\n | variables.nothing == 1\n | .........^"
    );
    let (value, _) = run(&variables, "dyn(variables).bad == 1");
    assert_eq!(
        value,
        "ERROR: <input>:1:5: undeclared reference to 'variables' (in container '')\n | dyn(variables).bad == 1\n | ....^"
    );
}

#[test]
fn a_variable_that_names_itself_ends() {
    let mut composed = Composed::default();
    composed.add("a", Some(&Type::Int));
    let env = Env::default().with_composed(composed);
    let program = Program::compile("variables.a + 1", &env).expect("a program");
    let mut composition = Composition::new(Vec::new());
    composition.add("a", Ok(&program));
    let error = composition
        .get("a", &mut Cost::new(PER_CALL))
        .expect_err("no value");
    assert_eq!(
        error.to_string(),
        "composited variable \"a\" fails to evaluate: composited variable \"a\" refers to itself"
    );
}

/// Each expression is harmless; the value of the last one would be 20 000 levels deep, and its type as well.
#[test]
fn values_do_not_nest_without_end() {
    for (before, behind) in [("dyn(", ")"), ("", "")] {
        let open = format!("{before}{}", "[".repeat(40));
        let close = format!("{}{behind}", "]".repeat(40));
        let mut composed = Composed::default();
        let mut programs = Vec::new();
        let names: Vec<String> = (0..500).map(|n| format!("v{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let before = match n.checked_sub(1) {
                None => "1".to_owned(),
                Some(before) => format!("variables.v{before}"),
            };
            let env = Env::default().with_composed(composed.clone());
            let source = format!("{open}{before}{close}");
            let program = Program::compile(&source, &env).expect("a program");
            composed.add(name, Some(&program.result));
            programs.push(program);
        }
        let mut composition = Composition::new(Vec::new());
        for (name, program) in names.iter().zip(&programs) {
            composition.add(name, Ok(program));
        }
        let error = composition
            .get("v499", &mut Cost::new(PER_CALL))
            .expect_err("too deep");
        assert!(
            error
                .to_string()
                .contains("is nested deeper than 500 levels"),
            "{error}"
        );
    }
}
