//! Questions, from a seed.

use fastrand::Rng;
use serde_json::{Map, Value, json};

const WORDS: [&str; 5] = ["a", "b", "c", "d", "<e&\">"];
const VERSIONS: [&str; 2] = ["v1", "v2"];

pub struct Cases(Rng);

impl Cases {
    pub fn new(seed: u64) -> Cases {
        Cases(Rng::with_seed(seed))
    }

    fn word(&mut self) -> Value {
        json!(self.0.choice(WORDS))
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.0.u32(0..n) == 0
    }

    fn map(&mut self) -> Value {
        if self.one_in(12) {
            return Value::Null;
        }
        let count = self.0.usize(0..3);
        let pairs =
            (0..count).map(|_| (self.0.choice(WORDS).unwrap_or("a").to_owned(), self.word()));
        // Two closures cannot borrow at once.
        let pairs: Vec<_> = pairs.collect();
        Value::Object(pairs.into_iter().collect())
    }

    /// A list of what `make` makes; each once unless `again`.
    fn list(
        &mut self,
        again: bool,
        make: fn(&mut Cases) -> Value,
        key: fn(&Value) -> Value,
    ) -> Value {
        if self.one_in(15) {
            return Value::Null;
        }
        let count = self.0.usize(0..5);
        let mut out: Vec<Value> = Vec::new();
        for _ in 0..count {
            let item = make(self);
            let there = out.iter().any(|other| key(other) == key(&item));
            if !there || (again && self.one_in(4)) {
                out.push(item);
            }
        }
        Value::Array(out)
    }

    fn number(&mut self) -> Value {
        match self.one_in(6) {
            true => json!(self.0.choice([0.5, 1.5, 2.0]).unwrap_or(0.5)),
            false => json!(self.0.i64(0..4)),
        }
    }

    fn port(&mut self) -> Value {
        let mut port = json!({"port": self.0.i64(8..13)});
        if self.0.bool() {
            port["protocol"] = json!(self.0.choice(["TCP", "UDP"]));
        }
        if self.0.bool() {
            port["note"] = self.word();
        }
        port
    }

    fn item(&mut self) -> Value {
        let mut item = json!({"name": self.word()});
        if self.0.bool() {
            item["value"] = self.word();
        }
        if self.one_in(3) {
            let key = |port: &Value| {
                let protocol = port.get("protocol").cloned().unwrap_or(json!("TCP"));
                json!([port["port"], protocol])
            };
            item["ports"] = self.list(false, Cases::port, key);
        }
        if self.one_in(4) {
            item["args"] = self.list(true, Cases::word, Value::clone);
        }
        if self.one_in(4) {
            item["env"] = self.map();
        }
        item
    }

    fn nested(&mut self, again: bool) -> Value {
        let mut nested = json!({});
        if self.0.bool() {
            nested["text"] = self.word();
        }
        if self.0.bool() {
            nested["labels"] = self.map();
        }
        if self.0.bool() {
            nested["items"] = self.list(again, Cases::item, |item| item["name"].clone());
        }
        nested
    }

    /// Something of no type, at most this deep.
    fn anything(&mut self, depth: u32) -> Value {
        match self.0.u32(0..7) {
            0 => Value::Null,
            1 => json!(self.0.bool()),
            2 => self.number(),
            3 if depth > 0 => {
                let count = self.0.usize(0..3);
                (0..count).map(|_| self.anything(depth - 1)).collect()
            }
            4 | 5 if depth > 0 => {
                let count = self.0.usize(0..3);
                let mut map = Map::new();
                for _ in 0..count {
                    let name = self.0.choice(WORDS).unwrap_or("a").to_owned();
                    map.insert(name, self.anything(depth - 1));
                }
                Value::Object(map)
            }
            _ => self.word(),
        }
    }

    /// An object of a version; with elements more than once if `again`.
    fn object(&mut self, version: &str, again: bool) -> Value {
        let renamed = if version == "v1" { "alpha" } else { "beta" };
        let fields = [
            "name", "count", "flag", "any", "raw", renamed, "fixed", "words", "tags", "numbers",
            "items", "nested", "whole", "status",
        ];
        let mut object = Map::new();
        for field in fields {
            if !self.one_in(3) {
                continue;
            }
            let value = match field {
                "name" => self.word(),
                "count" => self.number(),
                "flag" => json!(self.0.bool()),
                "any" => self.anything(3),
                "raw" => self.anything(2),
                "words" => self.list(true, Cases::word, Value::clone),
                "tags" => self.list(again, Cases::word, Value::clone),
                "numbers" => self.list(again, Cases::whole_number, Value::clone),
                "items" => self.list(again, Cases::item, |item| item["name"].clone()),
                "nested" | "whole" | "status" => self.nested(again),
                _ => self.map(),
            };
            object.insert(field.to_owned(), value);
        }
        Value::Object(object)
    }

    fn whole_number(&mut self) -> Value {
        json!(self.0.i64(0..6))
    }

    /// An object that changes a little: steps that share nothing meet no conflicts.
    fn variant(&mut self, of: &Value, version: &str, again: bool) -> Value {
        let mut object = self.object(version, again);
        let other = if version == "v1" { "beta" } else { "alpha" };
        for (name, value) in of.as_object().into_iter().flatten() {
            if name != other && !self.one_in(4) {
                object[name] = value.clone();
            }
        }
        object
    }

    pub fn steps(&mut self) -> Value {
        let version = self.0.choice(VERSIONS).unwrap_or("v1");
        let again = self.one_in(4);
        let live = match self.0.bool() {
            true => json!({}),
            false => self.object(version, again),
        };
        let mut managers = json!({});
        if self.one_in(3) {
            let version = self.0.choice(["v1", "v2", "v3"]);
            managers["m0"] = json!({
                "version": version,
                "applied": self.0.bool(),
                "set": self.set(3),
            });
            let set = managers["m0"]["set"].as_object_mut();
            set.and_then(|set| set.remove("."));
        }
        // What is applied has no element twice.
        let mut last = if again { json!({}) } else { live.clone() };
        let count = self.0.usize(1..7);
        let steps: Vec<Value> = (0..count)
            .map(|_| {
                let apply = !self.one_in(3);
                let version = match self.one_in(4) {
                    true => self.0.choice(VERSIONS).unwrap_or("v1"),
                    false => version,
                };
                let again = !apply && self.one_in(3);
                let object = self.variant(&last, version, again);
                // Appliers have other names than updaters: the program knows managers by nothing else.
                let who = self.0.u32(1..4);
                let manager = format!("{}{who}", if apply { "a" } else { "u" });
                if !again {
                    last = object.clone();
                }
                let reset = if self.one_in(5) {
                    vec!["status"]
                } else {
                    Vec::new()
                };
                json!({
                    "manager": manager,
                    "apply": apply,
                    "force": self.one_in(3),
                    "reset": reset,
                    "object": {"version": version, "value": object},
                })
            })
            .collect();
        json!({
            "live": {"version": version, "value": live},
            "managers": managers,
            "steps": steps,
        })
    }

    /// fieldsV1: with paths that fit the schema, and with others.
    fn set(&mut self, depth: u32) -> Value {
        const FIELDS: [&str; 12] = [
            "f:name", "f:alpha", "f:beta", "f:items", "f:nested", "f:whole", "f:fixed", "f:labels",
            "f:tags", "f:any", "f:words", "f:status",
        ];
        const OTHERS: [&str; 9] = [
            "k:{\"name\":\"a\"}",
            "k:{\"port\":9,\"protocol\":\"TCP\"}",
            "k:{\"port\":10,\"protocol\":\"TCP\"}",
            "v:\"a\"",
            "v:1",
            "v:10",
            "v:true",
            "i:2",
            "x:later",
        ];
        let count = self.0.usize(0..4);
        let mut set = Map::new();
        if self.0.bool() {
            set.insert(".".to_owned(), json!({}));
        }
        for _ in 0..count {
            let name = match self.one_in(3) {
                true => self.0.choice(OTHERS),
                false => self.0.choice(FIELDS),
            };
            let below = match depth > 0 && self.0.bool() {
                true => self.set(depth - 1),
                false => json!({}),
            };
            set.insert(name.unwrap_or("f:name").to_owned(), below);
        }
        Value::Object(set)
    }

    pub fn sets(&mut self) -> Value {
        let (mut a, b) = (self.set(4), self.set(4));
        if self.one_in(40) {
            let name = self.0.choice(["", "f", "f:a", "k:[]", "v:", "i:x", "fx:a"]);
            a[name.unwrap_or("f")] = json!(1);
        }
        json!({"sets": [a, b]})
    }

    /// An object with at most one thing that is wrong with it: upstream tells of them in no order.
    pub fn validation(&mut self) -> Value {
        let version = self.0.choice(VERSIONS).unwrap_or("v1");
        let mut value = self.object(version, false);
        let wrong = [
            ("name", json!(1)),
            ("name", json!(1.5)),
            ("name", json!(["a", {"b": null}])),
            ("name", json!({"a": "b", "c": [1, true]})),
            ("count", json!("1")),
            ("count", json!(true)),
            ("count", json!([])),
            ("flag", json!("true")),
            ("flag", json!({"a": 1})),
            ("tags", json!({"a": 1})),
            ("tags", json!(["a", "b", "a"])),
            ("tags", json!([null])),
            ("tags", json!([{}])),
            ("tags", json!([[]])),
            ("items", json!([{"value": "a"}])),
            ("items", json!([{"name": "a"}, {"name": "a"}])),
            ("items", json!([null])),
            ("items", json!(["a"])),
            (
                "items",
                json!([{"name": "a", "ports": [{"port": 8}, {"port": 8, "protocol": "TCP"}]}]),
            ),
            ("items", json!([{"name": "a", "unknown": 1}])),
            ("nested", json!("a")),
            ("nested", json!({"text": 3})),
            ("nested", json!({"other": 3})),
            ("fixed", json!({"a": 3})),
            ("words", json!([1])),
            ("other", json!(1)),
        ];
        if !self.one_in(4)
            && let Some((field, wrong)) = self.0.choice(wrong)
        {
            value[field] = wrong;
        }
        json!({"validate": {"version": version, "value": value}})
    }
}
