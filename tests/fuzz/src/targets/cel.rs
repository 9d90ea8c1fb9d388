//! Rules in CEL, and the object that they are asked about, one line each.

use serde_json::{Value, json};

use super::{Target, schema::through, texts, two_lines};

pub struct Cel;

impl Target for Cel {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "self.n + 2 * 3 > 1 && self.s.startsWith('h') || !has(self.m)\n{\"n\":3,\"s\":\"hé\"}",
            "self.list.exists_one(i, i.n > 1) && self.list.map(i, i.n % 3 == 0, i.n / 2).sum() < 5\n{\"list\":[{\"n\":3}]}",
            "self.set == ['a', 'b'] && self.set.all(x, x in self.tags)\n{\"set\":[\"b\",\"a\"],\"tags\":{\"a\":\"1\"}}",
            "self.s.matches('^a+$') && self.s.split(',')[?0].orValue('') == '' && '%s %d'.format([self.s, self.n]) != ''\n{\"s\":\"aa\",\"n\":1}",
            "quantity(self.s).isGreaterThan(quantity('1Ki')) && ip('::1').family() == 6 && url('https://a/b').getHost() == 'a'\n{\"s\":\"2Ki\"}",
            "self.since < timestamp('2026-01-01T00:00:00Z') + duration('1h30m') && self.since.getHours('-08:00') == 1\n{\"since\":\"2026-01-02T03:04:05Z\"}",
            "type(self.any) == string ? self.any.endsWith('%') : int(self.any) - 9223372036854775807 < 0\n{\"any\":5}",
            "cidr('10.0.0.0/8').containsIP('10.1.1.1') && semver('1.2.3').major() == 1 && sets.contains([1, 2], [1])\n{}",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            ".filter(x, x != '')",
            ".findAll('[0-9]+')",
            ".substring(1, 2)",
            ".replace('a', 'b', 2)",
            ".join(',')",
            ".lowerAscii()",
            ".indexOf('l')",
            ".isSorted()",
            ".min()",
            "dyn(",
            "string(",
            "bytes(",
            "uint(",
            "double(",
            "optional.of(",
            ".optMap(x, x)",
            "size(",
            "-9223372036854775808",
            "1e308",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some((rule, object)) = two_lines(input) else {
            return Ok(0);
        };
        let (Ok(rule), Ok(object)) = (
            std::str::from_utf8(rule),
            serde_json::from_slice::<Value>(object),
        ) else {
            return Ok(0);
        };
        through(&props(rule), object)
    }
}

fn props(rule: &str) -> Value {
    json!({
        "type": "object",
        "x-kubernetes-validations": [{"rule": rule, "messageExpression": "'no: ' + string(self.n)"}],
        "properties": {
            "n": {"type": "integer"}, "m": {"type": "integer"}, "s": {"type": "string"}, "ratio": {"type": "number"},
            "any": {"x-kubernetes-int-or-string": true}, "since": {"type": "string", "format": "date-time"},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        },
    })
}
