//! What expressions cost, and that nobody gets more for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    Composed, Composition, Cost, Env, Error, Field, ListKind, ListType, Object, PER_CALL,
    PER_OBJECT, Program, Type, Val, escape, patch::Output,
};

fn object(fields: Vec<(&str, Type)>) -> Type {
    let fields: BTreeMap<Box<str>, Field> = fields
        .into_iter()
        .map(|(json, ty)| {
            let name = escape(json).expect("a name").into();
            let json = json.into();
            (name, Field { json, ty })
        })
        .collect();
    let name = "object".to_owned();
    Type::Object(Object { name, fields }.into())
}

fn list(element: Type, kind: ListKind) -> Type {
    Type::List(ListType { element, kind }.into())
}

/// The units that an expression costs.
fn units(source: &str, value: &Value, ty: &Type) -> u64 {
    let env = Env::default().with("self", ty.clone());
    let program = Program::compile(source, &env);
    let program = program.unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut cost = Cost::new(PER_CALL);
    let result = program.eval(&[("self", Val::object(value, ty))], &mut cost);
    assert!(result.is_ok(), "{source}: {result:?}");
    PER_CALL - cost.left()
}

fn cost(cases: &[(&str, u64)], value: &Value, ty: &Type) {
    let told = |(source, units): &(&str, u64)| format!("{units} {source}");
    let expected: Vec<String> = cases.iter().map(told).collect();
    let found: Vec<String> = cases
        .iter()
        .map(|(source, _)| told(&(source, units(source, value, ty))))
        .collect();
    assert_eq!(found, expected);
}

// The figures are those that upstream holds itself to: `TestCelCostStability` of apiextensions-apiserver.

#[test]
fn scalars_cost_what_upstream_says() {
    let ty = object(vec![
        ("n", Type::Int),
        ("s", Type::String),
        ("e", Type::String),
        ("b", Type::Bytes),
        ("d", Type::Duration),
        ("t", Type::Timestamp),
    ]);
    let value = json!({"n": 7, "s": "Rook takes it", "e": "Pending", "b": "QUI=", "d": "1h2m3s4ms", "t": "2011-08-18T19:03:37Z"});
    let cases = [
        ("self.n == self.n", 5),
        ("type(self.n) == int", 4),
        ("double(5) < 10.0", 1),
        ("double(self.n) < 10.0", 4),
        ("self.s.startsWith('Rook')", 4),
        ("!self.s.startsWith('knight')", 5),
        ("self.s.matches('^[^0-9]*$')", 8),
        ("size(self.s) == 13", 4),
        ("self.s.indexOf('o') == 1", 4),
        ("self.s.charAt(3) == 'k'", 4),
        ("self.s.split(' ') == ['Rook', 'takes', 'it']", 6),
        ("self.s.substring(5) == 'takes it'", 5),
        ("self.s.lowerAscii() == self.s.lowerAscii()", 10),
        ("self.s.replace(' ', 'x') == 'Rookxtakesxit'", 7),
        ("'%b %b %b'.format([7, 8, 9]) == '111 1000 1001'", 3),
        ("self.b == b'AB'", 3),
        ("size(self.b) == 2", 4),
        ("self.d == duration('1h2m') + duration('3s4ms')", 4),
        ("self.t.getDate('01:00') == 18", 4),
        ("self.e in ['Pending', 'Available']", 2),
        ("has(self.n) && has(self.e)", 2),
        ("isQuantity('200M')", 1),
        (
            "quantity('200M') == quantity('0.2G') && quantity('0.2G') == quantity('200M')",
            6,
        ),
        (
            "quantity('50k').add(quantity('20')) == quantity('50.02k')",
            5,
        ),
        (
            "['aa', 'bb', 'cc', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].join(' ')",
            5,
        ),
        ("ip('10.0.0.1') == ip('10.0.0.1')", 3),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", 3),
        ("optional.of('a').or(optional.of('a')).hasValue()", 2),
        ("optional.none().or(optional.of('a')).hasValue()", 3),
        ("optional.of('a').optMap(v, v == 'value').hasValue()", 7),
    ];
    cost(&cases, &value, &ty);
}

#[test]
fn lists_and_maps_cost_what_upstream_says() {
    let entry = object(vec![
        ("k", Type::String),
        ("v", Type::String),
        ("v2", Type::String),
    ]);
    let ty = object(vec![
        ("array", Type::list(Type::Int)),
        ("val", Type::map(Type::String, Type::Int)),
        ("set", list(Type::String, ListKind::Set)),
        ("listMap", list(entry, ListKind::Map(vec!["k".into()]))),
    ]);
    let value = json!({
        "array": [1, 1, 2, 2, 3, 3, 4, 5],
        "val": {"b": 1, "d": 2},
        "set": ["a", "b", "c"],
        "listMap": [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"}],
    });
    let cases = [
        ("2 in self.array", 10),
        ("self.array.all(e, e > 0)", 43),
        ("self.array.exists(e, e > 2)", 36),
        ("self.array.exists_one(e, e > 4)", 22),
        ("!self.array.all(e, e < 2)", 21),
        ("size(self.array.filter(e, e%2 == 0)) == 3", 68),
        (
            "self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)",
            194,
        ),
        ("self.array.all(i, e, e > 0)", 43),
        ("self.array.exists(i, e, e > 2)", 36),
        ("self.array.existsOne(i, e, e > 4)", 22),
        (
            "self.array.transformList(i, e, e > 2, e * 2).size() > 0",
            77,
        ),
        ("self.array.transformList(i, e, e * 2).size() > 0", 117),
        ("self.val.all(k, self.val[k] > 0)", 17),
        ("!self.val.exists(k, self.val[k] == 3)", 20),
        ("size(self.val.filter(k, self.val[k] > 1)) == 1", 26),
        ("self.val.all(k, v, v > 0)", 13),
        ("self.val.transformMap(k, v, v > 1, v + 1).size() == 1", 14),
        (
            "self.val.transformMapEntry(k, v, v > 1, {k + '2': v + 1}).size() == 1",
            45,
        ),
        ("'b' in self.val", 3),
        ("!has(self.val.a)", 3),
        ("self.set == ['c', 'b', 'a']", 3),
        ("self.set == self.set", 5),
        ("sets.contains(self.set, ['a'])", 6),
        ("sets.equivalent(self.set, ['a', 'b', 'c'])", 21),
        ("self.set + ['c', 'd'] == ['a', 'b', 'c', 'c', 'd']", 4),
        ("self.listMap.all(m, !has(m.v2) || m.v2 == 'z')", 21),
        ("self.listMap.exists(m, has(m.v2) && m.v2 == 'z')", 21),
        ("size(self.listMap.filter(m, m.k == 'a1')) == 1", 27),
        ("self.listMap.map(m, m.v).exists(v, v == 'b1')", 55),
        ("self.listMap[0] == self.listMap[1]", 7),
        ("lists.range(4) == [0,1,2,3]", 16),
        ("[5,1,2,3].reverse() == [3,2,1,5]", 16),
        ("[1,2,3,4].slice(1, 3) == [2, 3]", 14),
        ("dyn([1,2,3,4]).flatten() == [1,2,3,4]", 16),
        ("[4, 3, 2, 1].sort() == [1, 2, 3, 4]", 44),
        ("['d', 'a', 'b', 'c'].sort() == ['a', 'b', 'c', 'd']", 45),
        ("[-2, 5, -2, 1, 1, 5, -2, 1].distinct() == [-2, 5, 1]", 140),
    ];
    cost(&cases, &value, &ty);
}

/// Variables, each of which holds the one before it twice, or what an expression makes of that.
fn doubled(
    count: usize,
    first: &str,
    next: impl Fn(&str) -> String,
) -> (Vec<String>, Vec<Program>, Env) {
    let mut composed = Composed::default();
    let mut programs = Vec::new();
    let base = || Env::default().with("object", Type::Dyn).with_patch_types();
    let names: Vec<String> = (0..count).map(|n| format!("v{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let source = match n {
            0 => first.to_owned(),
            _ => next(&format!("variables.{}", names[n - 1])),
        };
        let env = base().with_composed(composed.clone());
        let program = Program::compile(&source, &env).expect("a program");
        composed.add(name, Some(&program.result));
        programs.push(program);
    }
    (names, programs, base().with_composed(composed))
}

/// Evaluates at a small part of what a policy may cost; it must have ended by then.
fn ends(names: &[String], programs: &[Program], env: &Env, source: &str) -> Result<(), Error> {
    let program = Program::compile(source, env);
    let program = program.unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut composition = Composition::new(vec![("object", Val::Null)]);
    for (name, program) in names.iter().zip(programs) {
        composition.add(name, Ok(program));
    }
    let began = Instant::now();
    let result = composition.eval(&program, &mut Cost::new(20_000));
    assert!(began.elapsed().as_secs() < 30, "{source}");
    result.map(drop)
}

/// What is small in memory may be a tree without an end. Every function that walks it pays for each step.
#[test]
fn values_that_share_their_parts_are_not_walked_for_free() {
    let lists = doubled(40, "[1]", |before| format!("[{before}, {before}]"));
    let dynamic = doubled(40, "dyn([1])", |before| {
        format!("dyn([{before}, {before}])")
    });
    let maps = doubled(40, "{'a': 1}", |before| {
        format!("dyn({{'a': {before}, 'b': {before}}})")
    });
    for source in [
        "variables.v39 == variables.v39",
        "variables.v39 != variables.v39",
        "variables.v39 in [variables.v39]",
        "[variables.v39, variables.v39].distinct().size() == 1",
        "[variables.v39].indexOf(variables.v39) == 0",
        "sets.contains([variables.v39], [variables.v39])",
        "sets.intersects([variables.v39], [variables.v39])",
        "sets.equivalent([variables.v39], [variables.v39])",
        "'%s'.format([variables.v39]) == ''",
        "optional.of(variables.v39) == optional.of(variables.v39)",
        "{'a': variables.v39} == {'a': variables.v39}",
        "Object{a: variables.v39} == Object{a: variables.v39}",
        "variables.v39 == variables.v39 || true",
    ] {
        for (names, programs, env) in [&lists, &dynamic, &maps] {
            let ended = ends(names, programs, env, source);
            let ended = ended.expect_err(source);
            assert!(
                matches!(ended, Error::Cost | Error::Budget),
                "{source}: {ended}"
            );
        }
    }
    // Nor for an error that names what is not there.
    let (names, programs, env) = &dynamic;
    let ended = ends(names, programs, env, "{dyn(1): 2}[variables.v39] == 1");
    assert!(ended.is_err());
    let ended = ends(names, programs, env, "variables.v39.flatten() == []");
    assert!(ended.is_ok(), "one level");
    let ended = ends(names, programs, env, "variables.v39.flatten(60) == []");
    assert_eq!(ended, Err(Error::Budget));
}

/// Values are as deep as composed variables may be, and walked on the stack of a request, of which this is a quarter.
#[test]
fn deep_values_are_walked_on_a_small_stack() {
    let walk = || {
        let (names, programs, env) = doubled(12, "dyn([1])", |before| {
            format!("dyn({}{before}{})", "[".repeat(39), "]".repeat(39))
        });
        for source in [
            "variables.v11 == variables.v11",
            "'%s'.format([variables.v11]) != ''",
            "variables.v11.flatten(1000) == [1]",
            "Object{a: variables.v11} == Object{a: variables.v11}",
        ] {
            assert_eq!(ends(&names, &programs, &env, source), Ok(()), "{source}");
        }
        let mut composition = Composition::new(Vec::new());
        for (name, program) in names.iter().zip(&programs) {
            composition.add(name, Ok(program));
        }
        let program = Program::compile("Object{a: variables.v11}", &env).expect("a program");
        let mut cost = Cost::new(PER_OBJECT);
        let value = composition.eval(&program, &mut cost).expect("a value");
        assert_eq!(Output::new(&mut cost).misplaced(&value), Ok(Vec::new()));
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let walked = thread.spawn(walk).expect("a thread");
    walked.join().expect("no overflow");
}

#[test]
fn mutations_do_not_write_out_what_is_shared() {
    let (names, programs, env) = doubled(40, "[1]", |before| format!("[{before}, {before}]"));
    let mut composition = Composition::new(vec![("object", Val::Null)]);
    for (name, program) in names.iter().zip(&programs) {
        composition.add(name, Ok(program));
    }
    let program = Program::compile("Object{data: variables.v39}", &env).expect("a program");
    let mut cost = Cost::new(PER_CALL);
    let value = composition.eval(&program, &mut cost).expect("a value");
    let mut made = Output::new(&mut cost);
    let json = made.json(&value).expect_err("too large");
    assert_eq!(json, "the result is larger than 3145728 bytes");
    assert!(made.misplaced(&value).is_err(), "too much work");
}

#[test]
fn mutations_are_no_deeper_than_objects() {
    let (names, programs, env) = doubled(5, "dyn([1])", |before| {
        format!("dyn({}{before}{})", "[".repeat(40), "]".repeat(40))
    });
    let mut composition = Composition::new(Vec::new());
    for (name, program) in names.iter().zip(&programs) {
        composition.add(name, Ok(program));
    }
    let program = Program::compile("Object{data: variables.v4}", &env).expect("a program");
    let mut cost = Cost::new(PER_OBJECT);
    let value = composition.eval(&program, &mut cost).expect("a value");
    let json = Output::new(&mut cost).json(&value).expect_err("too deep");
    assert_eq!(json, "the result is nested deeper than 127 levels");
}

/// Expressions that make or read much at little cost to them: each ends, or has made no more than what it was paid for.
#[test]
fn what_a_sender_makes_large_is_paid_for() {
    let ty = object(vec![
        ("s", Type::String),
        ("blob", Type::Bytes),
        ("list", Type::list(Type::Int)),
        ("texts", list(Type::String, ListKind::Set)),
    ]);
    let text = "a".repeat(1 << 18);
    let value = json!({
        "s": text, "blob": text, "list": (0..5000).collect::<Vec<_>>(),
        "texts": (0..5000).map(|n| format!("t{n}")).collect::<Vec<_>>(),
    });
    let env = Env::default().with("self", ty.clone());
    let ones = vec!["self.s"; 1000].join(", ");
    for source in [
        "self.list.all(i, self.list.all(k, size(self.s) > 0))",
        "self.list.map(i, self.blob).size() > 0",
        "self.list.map(i, self.s.charAt(200000)).size() > 0",
        "self.list.all(i, self.s.contains('aaaab') || true)",
        "self.s.split('').map(c, self.s.split('')).size() > 0",
        "self.list.map(i, self.list + self.list).size() > 0",
        &format!("self.list.map(i, [{ones}]).size() > 0"),
        "self.list.map(i, self.texts == self.texts.reverse()).size() > 0",
        "self.list.map(i, self.list == self.list).size() > 0",
        "self.list.all(i, isURL(self.s) || true)",
        "self.list.map(i, url('/' + self.s).getEscapedPath()).size() > 0",
        "self.list.all(i, self.s.findAll('a').size() > 0)",
        "self.list.all(i, self.s.findAll('a*b|a').size() > 0)",
        "self.list.map(i, self.s.replace('a', '')).size() == 0",
        "self.list.all(i, self.s.lastIndexOf('b') < 0)",
        "self.list.all(i, semver('1.0.0-' + self.s).major() == 1)",
    ] {
        let program = Program::compile(source, &env).expect("a program");
        let began = Instant::now();
        let result = program.eval(
            &[("self", Val::object(&value, &ty))],
            &mut Cost::new(100_000),
        );
        let took = began.elapsed();
        assert!(
            matches!(result, Err(Error::Cost | Error::Budget)),
            "{source}: {took:?}"
        );
        assert!(took.as_secs() < 30, "{source}: {took:?}");
    }
}

#[test]
fn variables_and_expressions_share_one_budget() {
    let (names, programs, env) = doubled(20, "lists.range(1000).map(i, i).size()", |before| {
        // 75 thousand each, of what those before it have left.
        format!("lists.range(5000).map(i, i).size() + {before}")
    });
    let mut composition = Composition::new(Vec::new());
    for (name, program) in names.iter().zip(&programs) {
        composition.add(name, Ok(program));
    }
    // All twenty are looked at, which a million does not pay for; upstream ends the policy then, whatever stands beside it.
    let program = Program::compile("variables.v19 == 0 || true", &env).expect("a program");
    let mut budget = Cost::new(1_000_000);
    let result = composition.eval(&program, &mut budget);
    assert!(matches!(result, Err(Error::Budget)), "{result:?}");
    assert_eq!(budget.left(), 0);
}

/// A large integer and its neighbour are equal to the same double: that is no order, and sorting may not rely on one.
#[test]
fn what_has_no_order_is_not_sorted() {
    let numbers: Vec<String> = (0..200)
        .map(|n| match n % 3 {
            0 => format!("dyn({})", 9_007_199_254_740_992_i64 + n % 7),
            1 => "dyn(9007199254740992.0)".to_owned(),
            _ => format!("dyn(uint({}))", 9_007_199_254_740_992_i64 + n % 5),
        })
        .collect();
    let source = format!("[{}].sort().size() > 0", numbers.join(", "));
    let program = Program::compile(&source, &Env::default()).expect("a program");
    let error = program
        .eval(&[], &mut Cost::new(PER_CALL))
        .expect_err("no order");
    assert_eq!(error.to_string(), "list elements must have the same type");
}

/// On a runtime of one thread, whose other work would have to wait for an expression of many kilobytes.
#[test]
fn compiling_makes_way_for_everything_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let source = format!("[{}]", ["[1, 2].exists(x, x > 1)"; 500].join(", "));
    let compiled = Arc::new(AtomicBool::new(false));
    let seen = compiled.clone();
    let (begun, begins) = std::sync::mpsc::channel();
    let compiling = runtime.spawn(async move {
        begun.send(()).expect("somebody listens");
        let program = Program::compile(&source, &Env::default());
        compiled.store(true, Ordering::SeqCst);
        assert!(program.is_ok(), "{program:?}");
    });
    begins.recv().expect("it begins");
    let meanwhile = runtime.spawn(async move { !seen.load(Ordering::SeqCst) });
    assert!(
        runtime.block_on(meanwhile).expect("it ends"),
        "others waited"
    );
    runtime.block_on(compiling).expect("it ends");
}
