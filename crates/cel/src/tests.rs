//! Programs, from source to value.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::value::show;

mod costs;

fn object() -> Type {
    let field = |json: &str, ty| {
        (
            escape(json).expect("a name").into(),
            Field {
                json: json.into(),
                ty,
            },
        )
    };
    let item = Type::Object(Arc::new(Object {
        name: "object".into(),
        fields: [field("name", Type::String), field("n", Type::Int)].into(),
    }));
    Type::Object(Arc::new(Object {
        name: "object".into(),
        fields: [
            field("n", Type::Int),
            field("m", Type::Int),
            field("ratio", Type::Double),
            field("s", Type::String),
            field("x-y", Type::String),
            field("namespace", Type::String),
            field("any", Type::Dyn),
            field("since", Type::Timestamp),
            field("every", Type::Duration),
            field("tags", Type::map(Type::String, Type::String)),
            field(
                "set",
                Type::List(Arc::new(ListType {
                    element: Type::String,
                    kind: ListKind::Set,
                })),
            ),
            field("list", Type::list(item)),
        ]
        .into(),
    }))
}

fn env() -> Env {
    Env::default()
        .with("self", object())
        .with("oldSelf", object())
}

fn run(source: &str, value: &Value) -> String {
    let ty = object();
    let program = match Program::compile(source, &env()) {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let mut cost = Cost::new(100_000);
    match program.eval(&[("self", Val::object(value, &ty))], &mut cost) {
        Ok(value) => shown(&value),
        Err(error) => format!("error: {error}"),
    }
}

/// A value as a text, whatever that takes.
pub fn shown(value: &Val<'_>) -> String {
    show(value, &mut Cost::new(PER_CALL)).expect("a short text")
}

fn subject() -> Value {
    json!({
        "n": 3, "ratio": 1, "s": "héllo", "x-y": "dash", "namespace": "ns", "any": "5%", "since": "2026-01-02T03:04:05Z",
        "every": "90m", "tags": {"a": "1", "b": "2"}, "set": ["x", "y"], "list": [{"name": "a", "n": 1}, {"name": "b", "n": 2}],
    })
}

#[test]
fn values() {
    for (source, value) in [
        ("self.n + 2 * 3", "9"),
        ("self.n > 2 && self.s.startsWith('h')", "true"),
        ("self.ratio > 0", "true"),
        ("self.x__dash__y + self.__namespace__", "dashns"),
        ("has(self.m)", "false"),
        ("has(self.tags.a) && !has(self.tags.c)", "true"),
        ("self.m", "error: no such key: m"),
        ("dyn(null).metadata", "error: no such key: metadata"),
        ("dyn(null)['metadata']", "error: no such key: metadata"),
        ("has(dyn(null).metadata)", "false"),
        ("dyn(null).?metadata.hasValue()", "false"),
        ("dyn(null)[?'metadata'].hasValue()", "false"),
        ("dyn(1).foo", "error: no such key: foo"),
        (
            "dyn([1]).foo",
            "error: unsupported index type 'string' in list",
        ),
        (
            "dyn([1])[true]",
            "error: unsupported index type 'bool' in list",
        ),
        (
            "dyn([1])[1.5]",
            "error: unsupported index value 1.5 in list",
        ),
        ("self.list.all(i, i.n > 0)", "true"),
        ("self.list.exists(i, i.name == 'b')", "true"),
        ("self.list.exists_one(i, i.n > 1)", "true"),
        ("self.list.filter(i, i.n > 1).map(i, i.name)", "[b]"),
        ("self.list.map(i, i.n > 1, i.n * 10)", "[20]"),
        ("self.tags.map(k, k + self.tags[k]).join(',')", "a1,b2"),
        ("self.tags.all(k, v, k < 'c' && v != '')", "true"),
        ("self.list.transformList(i, v, v.n + i)", "[1, 3]"),
        ("self.list[5].n", "error: index out of bounds: 5"),
        ("self.list[?5].hasValue()", "false"),
        ("self.?m.orValue(7)", "7"),
        ("optional.of(3).optMap(x, x + 1).value()", "4"),
        ("self.set == ['y', 'x']", "true"),
        ("size(self.s)", "5"),
        ("self.s.substring(1, 3)", "él"),
        ("self.s.indexOf('l')", "2"),
        ("self.s.lastIndexOf('l')", "3"),
        ("'a,b,c'.split(',', 2)", "[a, b,c]"),
        ("self.s.replace('l', 'L', 1)", "héLlo"),
        ("'%s %d %.2f'.format(['a', 5, 1.5])", "a 5 1.50"),
        ("self.any.matches('^[0-9]+%$')", "true"),
        ("'a1b22'.findAll('[0-9]+')", "[1, 22]"),
        ("type(self.any) == string", "true"),
        ("self.since.getFullYear()", "2026"),
        (
            "self.since + duration('1h') > timestamp('2026-01-02T04:00:00Z')",
            "true",
        ),
        ("self.every == duration('1h30m')", "true"),
        ("string(self.every)", "5400s"),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        (
            "quantity('500m').add(quantity('0.5')).compareTo(quantity('1')) == 0",
            "true",
        ),
        (
            "url('https://a.example:8080/x?q=1').getHostname()",
            "a.example",
        ),
        ("url('https://a/x?q=1&q=2').getQuery()['q']", "[1, 2]"),
        ("isURL('nothing')", "false"),
        ("ip('10.0.0.1').family()", "4"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        (
            "cidr('10.1.2.3/8').masked().containsCIDR(cidr('10.9.0.0/16'))",
            "true",
        ),
        ("isIP('::ffff:1.2.3.4')", "false"),
        ("format.dns1123Label().validate('a').hasValue()", "false"),
        (
            "format.named('dns1123Label').value().validate('A').hasValue()",
            "true",
        ),
        ("sets.contains([1, 2, 3], [2])", "true"),
        ("[3, 1, 2].isSorted()", "false"),
        ("[3, 1, 2].sum() + [3, 1].min()", "7"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("semver('1.2.3').isLessThan(semver('1.10.0-rc.1'))", "true"),
        (
            "self.since.getHours('999999999:00')",
            "error: unknown time zone 999999999:00",
        ),
        ("1 / 0 == 1", "error: division by zero"),
        ("1u / 0u == 1u", "error: division by zero"),
        ("1u % 0u == 1u", "error: modulus by zero"),
        ("1 / 0 == 1 || true", "true"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("'2' in ['1', '2'] ? 'y' : 'n'", "y"),
        ("dyn(1) == dyn(1.0)", "true"),
        ("int('12') + int(2.9)", "14"),
        ("b'abc' == bytes('abc')", "true"),
        ("{'a': 1}['a']", "1"),
    ] {
        assert_eq!(run(source, &subject()), value, "{source}");
    }
}

fn refused(source: &str, expected: Expect) {
    let error = Program::compile(source, &env()).expect_err("is no program");
    expected.assert_eq(&error.to_string());
}

#[test]
fn what_is_no_program() {
    refused(
        "self.missing > 1",
        expect![[r#"
            ERROR: <input>:1:5: undefined field 'missing'
             | self.missing > 1
             | ....^"#]],
    );
    refused(
        "self.n + 'a'",
        expect![[r#"
            ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'
             | self.n + 'a'
             | .......^"#]],
    );
    refused(
        "other",
        expect![[r#"
            ERROR: <input>:1:1: undeclared reference to 'other' (in container '')
             | other
             | ^"#]],
    );
    refused(
        "self.list.nothing()",
        expect![[r#"
        ERROR: <input>:1:18: undeclared reference to 'nothing' (in container '')
         | self.list.nothing()
         | .................^"#]],
    );
    refused(
        "self.n.startsWith('a')",
        expect![[r#"
        ERROR: <input>:1:18: found no matching overload for 'startsWith' applied to 'int.(string)'
         | self.n.startsWith('a')
         | .................^"#]],
    );
    refused(
        "self.list.all(i, i.n)",
        expect![[r#"
        ERROR: <input>:1:14: found no matching overload for '_&&_' applied to '(bool, int)'
         | self.list.all(i, i.n)
         | .............^"#]],
    );
    refused(
        "self.",
        expect![[r#"
        ERROR: <input>:1:6: Syntax error: no viable alternative at input '.'
         | self.
         | .....^"#]],
    );
    refused(
        "10.0.0.1",
        expect![[r#"
        ERROR: <input>:1:5: Syntax error: mismatched input '.0' expecting <EOF>
         | 10.0.0.1
         | ....^"#]],
    );
    refused(
        "",
        expect![
            "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
        ],
    );
    refused(
        "[1, 'a'] == []",
        expect![[r#"
        ERROR: <input>:1:5: expected type 'int' but found 'string'
         | [1, 'a'] == []
         | ....^"#]],
    );
}

#[test]
fn clauses_that_do_not_fit_what_they_format() {
    for (source, place, message) in [
        (
            "'%z'.format([1]) == ''",
            12,
            "could not parse formatting clause: unrecognized formatting clause \"z\"",
        ),
        (
            "'%d'.format(['a']) == ''",
            14,
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%s %s'.format([1]) == ''", 15, "index 1 out of range"),
        (
            "'%%'.format([1]) == ''",
            12,
            "too many arguments supplied to string.format (expected 0, got 1)",
        ),
    ] {
        let error = Program::compile(source, &env())
            .expect_err(source)
            .to_string();
        let wanted = format!("ERROR: <input>:1:{place}: {message}");
        assert_eq!(error.lines().next(), Some(&*wanted), "{source}");
    }
    assert!(Program::compile("'%s %s %x %5'.format([self.s, [1], 5]) == ''", &env()).is_err());
    assert!(Program::compile("'%s %.2f %%'.format([[1, 'a'], 1.0]) == ''", &env()).is_ok());
}

#[test]
fn literals_that_no_function_takes() {
    refused(
        "self.s.matches('[')",
        expect![[r#"
            ERROR: <input>:1:16: invalid matches argument
             | self.s.matches('[')
             | ...............^"#]],
    );
    refused(
        "duration('1x') > duration('1s')",
        expect![[r#"
            ERROR: <input>:1:10: invalid duration argument
             | duration('1x') > duration('1s')
             | .........^"#]],
    );
    refused(
        "timestamp('x') == timestamp('2020-01-01T00:00:00Z')",
        expect![[r#"
            ERROR: <input>:1:11: invalid timestamp argument
             | timestamp('x') == timestamp('2020-01-01T00:00:00Z')
             | ..........^"#]],
    );
    // What types say comes first.
    refused(
        "self.s.matches('[') == 1",
        expect![[r#"
            ERROR: <input>:1:21: found no matching overload for '_==_' applied to '(bool, int)'
             | self.s.matches('[') == 1
             | ....................^"#]],
    );
}

#[test]
fn results_and_uses() {
    let program = Program::compile("self.n > oldSelf.n", &env()).expect("a program");
    assert!(program.result.is_bool() && program.uses("oldSelf"));
    let program = Program::compile("'n is ' + string(self.n)", &env()).expect("a program");
    assert!(program.result.is_string() && !program.uses("oldSelf"));
}

#[test]
fn the_cost_has_a_bound() {
    let numbers: Vec<Value> = (0..2000).map(|n| json!({"name": "a", "n": n})).collect();
    let value = json!({"list": numbers, "s": "a".repeat(1 << 20)});
    for source in [
        "self.list.all(a, self.list.all(b, a.n != b.n - 5000))",
        "self.list.map(a, self.s).join('').size() > 0",
        "self.list.all(a, self.s.matches('(a|b)*c'))",
        "self.list.all(a, self.s.replace('a', self.s).size() > 0)",
        "self.list.map(a, self.list.map(b, b)).size() > 0",
        "lists.range(100000000).size() > 0",
        "self.list.all(a, [self.list] == [self.list])",
    ] {
        let error = run(source, &value);
        assert!(
            error.contains("cost limit exceeded") || error.contains("cost budget"),
            "{source}: {error}"
        );
    }
}

#[test]
fn deep_and_long_sources_are_refused() {
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Program::compile(&deep, &env()).is_err());
    let long = format!("'{}'", "a".repeat(200_000));
    assert!(Program::compile(&long, &env()).is_err());
    let chain = vec!["true"; 1000].join(" && ");
    assert!(Program::compile(&chain, &env()).is_ok());
    // Deep without brackets.
    let sum = vec!["1"; 2000].join("+");
    assert!(Program::compile(&sum, &env()).is_err());
    let sum = vec!["1"; 100].join("+");
    assert!(Program::compile(&format!("{sum} == 100"), &env()).is_ok());
    assert!(Program::compile(&format!("{}true", "!".repeat(2999)), &env()).is_ok());
    let fields = format!("self{}", ".a".repeat(2500));
    assert!(Program::compile(&fields, &env()).is_err());
}

#[test]
fn names_are_escaped() {
    for (name, escaped) in [
        ("a", Some("a")),
        ("a-b", Some("a__dash__b")),
        ("a.b/c", Some("a__dot__b__slash__c")),
        ("a__b", Some("a__underscores__b")),
        ("namespace", Some("__namespace__")),
        ("1a", None),
        ("a b", None),
    ] {
        assert_eq!(escape(name).as_deref(), escaped);
    }
}
