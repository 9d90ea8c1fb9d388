//! The figures are those that upstream holds itself to: `TestCelEstimatedCostStability` of apiextensions-apiserver, for schemas
//! that give no bounds.

use super::*;
use crate::{Env, Field, ListKind, ListType, Object, Program};

const LONGEST: u64 = 3_145_726;

fn text() -> (Type, Sizes) {
    sized(Type::String, LONGEST)
}

fn sized(ty: Type, max: u64) -> (Type, Sizes) {
    let sizes = Sizes {
        max,
        ..Sizes::default()
    };
    (ty, sizes)
}

fn list((element, sizes): (Type, Sizes), kind: ListKind, max: u64) -> (Type, Sizes) {
    let sizes = Sizes {
        max,
        element: Some(Box::new(sizes)),
        ..Sizes::default()
    };
    (Type::List(ListType { element, kind }.into()), sizes)
}

fn map((value, sizes): (Type, Sizes), max: u64) -> (Type, Sizes) {
    let sizes = Sizes {
        max,
        element: Some(Box::new(sizes)),
        is_map: true,
        ..Sizes::default()
    };
    (Type::map(Type::String, value), sizes)
}

fn object(fields: Vec<(&str, (Type, Sizes))>) -> (Type, Sizes) {
    let mut types = BTreeMap::new();
    let mut sizes = Sizes::default();
    for (name, (ty, inner)) in fields {
        let json = name.into();
        types.insert(name.into(), Field { json, ty });
        sizes.fields.insert(name.into(), inner);
    }
    let object = Object {
        name: "object".to_owned(),
        fields: types,
    };
    (Type::Object(object.into()), sizes)
}

fn check(fields: Vec<(&str, (Type, Sizes))>, cases: &[(&str, u64)]) {
    let (ty, sizes) = object(fields);
    let env = Env::default().with("self", ty);
    let told = |source: &str, cost: u64| format!("{cost} {source}");
    let expected: Vec<String> = cases
        .iter()
        .map(|(source, cost)| told(source, *cost))
        .collect();
    let found: Vec<String> = cases
        .iter()
        .map(|(source, _)| {
            let program = Program::compile_sized(source, &env, Some(&sizes));
            let program = program.unwrap_or_else(|error| panic!("{source}: {error}"));
            told(source, program.max_cost().expect("sizes were given"))
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn scalars() {
    check(
        vec![
            ("n", sized(Type::Int, 0)),
            ("s", text()),
            ("e", sized(Type::String, 9)),
            ("b", sized(Type::Bytes, LONGEST)),
            ("d", sized(Type::Duration, 32)),
            ("t", sized(Type::Timestamp, 32)),
            ("any", sized(Type::Dyn, LONGEST)),
        ],
        &[
            ("self.n == self.n", 4),
            ("type(self.n) == int", 4),
            ("self.n + 1 == 7 + 1", 5),
            ("double(self.n) < 10.0", 4),
            ("double(5) < 10.0", 2),
            ("self.s.startsWith('Rook')", 3),
            ("!self.s.startsWith('knight')", 4),
            ("self.s.matches('^[^0-9]*$')", 943_721),
            ("!self.s.matches('^[0-9]*$')", 629_149),
            ("size(self.s) == 12", 4),
            ("self.s.charAt(3) == 'k'", 4),
            ("self.s.indexOf('o') == 1", 314_576),
            ("self.s.replace(' ', 'x') == 'Rookxtakesx'", 629_150),
            ("self.s.split(' ') == ['Rook', 'takes', 'x']", 629_159),
            ("self.s.split(' ', 2) == ['Rook', 'takes']", 629_159),
            ("self.s.substring(5) == 'takes x'", 314_576),
            ("self.s.substring(4, 10).trim() == 'takes'", 629_149),
            ("self.s.lowerAscii() == 'rook takes x'", 314_577),
            ("self.s.lowerAscii() == self.s.lowerAscii()", 943_723),
            ("self.b == self.b", 314_577),
            ("self.b == b'AB'", 3),
            ("self.d == duration('1h2m') + duration('3s4ms')", 6),
            ("type(self.d) == google.protobuf.Duration", 4),
            (
                "self.t == timestamp('2011-08-18T00:00:00.000+01:00') + duration('19h3m37s10ms')",
                6,
            ),
            ("self.e == 'Pending'", 3),
            ("self.e in ['Pending', 'Available']", 14),
            ("bytes(self.s) == self.b", 629_150),
            ("string(self.n) == self.s", 314_578),
            ("string(self.b) == self.s", 629_150),
            ("isQuantity(self.s)", 314_575),
            ("isQuantity('200M')", 1),
            ("self.any == 1 || self.any == '25%'", 6),
            (
                "type(self.any) == int ? self.any == 1 : self.any == '25%'",
                7,
            ),
            (
                "type(self.any) == string && self.any.matches(r'(\\d+(\\.\\d+)?%)')",
                1_258_298,
            ),
            (
                "optional.of('abcdefgabcdefg').optMap(v, v.size()).hasValue()",
                18,
            ),
        ],
    );
}

#[test]
fn lists_and_maps() {
    let entry = object(vec![("k", text()), ("v", text()), ("v2", text())]);
    let array = list(sized(Type::Int, 0), ListKind::Atomic, LONGEST / 2);
    let set = list(text(), ListKind::Set, LONGEST / 3);
    let list_map = list(entry, ListKind::Map(vec!["k".into()]), LONGEST / 3);
    check(
        vec![
            ("array", array),
            ("set", set),
            ("listMap", list_map),
            ("val", map(sized(Type::Int, 0), LONGEST / 7)),
        ],
        &[
            ("1 in self.array", 1_572_865),
            ("self.array + self.array == [1, 2, 3, 1, 2, 3]", 16),
            ("self.array + [4, 5] == [1, 2, 3, 4, 5]", 24),
            ("has(self.array) && has(self.array)", 2),
            ("self.array.all(k, size(self.array) > 0)", 11_010_044),
            ("self.array.exists_one(k, self.array == [2])", 23_592_949),
            (
                "size(self.array.filter(k, size(self.array) > 1)) == 1",
                26_738_686,
            ),
            ("self.array.all(e, e > 0)", 7_864_318),
            ("self.array.exists(e, e > 2)", 9_437_181),
            ("self.array.exists_one(e, e > 4)", 6_291_456),
            ("!self.array.exists_one(e, e == 2)", 4_718_594),
            ("size(self.array.filter(e, e%2 == 0)) == 3", 25_165_823),
            (
                "self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)",
                53_477_367,
            ),
            ("self.set == ['c', 'b', 'a']", 13),
            ("self.set == self.set", 104_862),
            ("self.set[0] in self.set", 1_048_580),
            ("self.set + ['c', 'd'] == ['a', 'b', 'c', 'd']", 24),
            ("self.val.all(k, self.val[k] > 0)", 3_595_115),
            ("self.val.exists_one(k, self.val[k] == 2)", 2_696_338),
            ("size(self.val.filter(k, self.val[k] > 1)) == 1", 8_089_017),
            ("'b' in self.val", 3),
            ("self.val == {'k1': 1, 'k2': 2}", 33),
            ("self.listMap.all(m, m.k.startsWith('a'))", 6_291_453),
            ("self.listMap.all(m, !has(m.v2) || m.v2 == 'z')", 8_388_603),
            (
                "self.listMap.exists(m, m.k == 'a1' && m.v == 'b1')",
                10_485_753,
            ),
            ("self.listMap.map(m, m.v).exists(v, v == 'b1')", 19_922_939),
            (
                "self.listMap.map(m, has(m.v2) && m.v2 == 'z', m.v2).size() == 1",
                18_874_365,
            ),
            ("self.listMap[0] == self.listMap[1]", 6),
            ("[4, 3, 2, 1].sort() == [1, 2, 3, 4]", 64),
        ],
    );
}

#[test]
fn what_has_no_bound_is_told() {
    let (ty, sizes) = object(vec![("list", list(text(), ListKind::Atomic, 1000))]);
    let env = Env::default().with("self", ty);
    let cost = |source: &str| {
        let program = Program::compile_sized(source, &env, Some(&sizes)).expect("a program");
        program.max_cost().expect("sizes were given")
    };
    assert!(cost("self.list.all(a, self.list.all(b, a == b))") > 1_000_000_000);
    assert_eq!(cost("self.list.map(a, [a]).sort() == []"), 2_023_034);
    assert_eq!(cost("lists.range(size(self.list)).all(i, i > 0)"), u64::MAX);
    assert!(
        Program::compile("true", &env)
            .expect("a program")
            .max_cost()
            .is_none()
    );
}
