//! Schemas of custom resources, and objects of them, one line each. Pruning and defaulting once is enough.

use knarr_meta::field::Path;
use knarr_schema::{Schema, check, default, embedded, lists, prune, rules::Rules, validate};
use serde_json::Value;

use crate::shape;

use super::{Target, texts, two_lines};

pub struct Schemas;

/// Metadata that may be anything: its type is another's.
pub(super) struct AnyMetadata;

impl knarr_schema::Metadata for AnyMetadata {
    fn coerce(&self, _metadata: &mut Value) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

impl Target for Schemas {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1,"default":3},"b":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string","maxLength":4,"pattern":"^a+$"}}}}
{"a":0,"b":["a","a","bbbbb"],"c":1}"#,
            r#"{"type":"object","properties":{"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"v":{"x-kubernetes-int-or-string":true,"nullable":true}}}}},"x-kubernetes-validations":[{"rule":"self.l.all(i, i.k != '')","message":"no"}]}
{"l":[{"k":"a","v":"5%"},{"k":"a","v":null}]}"#,
            r#"{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"e":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},"m":{"type":"object","additionalProperties":{"type":"string","format":"date-time","enum":["a"]},"maxProperties":2}}}
{"e":{"apiVersion":"v1","kind":"A","metadata":{"name":"x"}},"m":{"a":"b"}}"#,
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\"oneOf\":[{\"required\":[\"a\"]}]",
            "\"anyOf\":[{\"minimum\":1}]",
            "\"not\":{\"maxItems\":1}",
            "\"nullable\":true",
            "\"uniqueItems\":true",
            "\"multipleOf\":0.1",
            "\"format\":\"quantity\"",
            "\"x-kubernetes-map-type\":\"atomic\"",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some((props, object)) = two_lines(input) else {
            return Ok(0);
        };
        let (Ok(props), Ok(object)) = (
            serde_json::from_slice::<Value>(props),
            serde_json::from_slice::<Value>(object),
        ) else {
            return Ok(0);
        };
        through(&props, object)
    }
}

/// Takes an object through all that a schema does, where it is one.
pub(super) fn through(props: &Value, mut object: Value) -> Result<u64, String> {
    let options = check::Options {
        metadata: &AnyMetadata,
        status: false,
    };
    if let Some(error) = check::check(props, &Path::root(), &options).first() {
        return Ok(shape::of(&error.to_string()));
    }
    let schema = match Schema::parse(props) {
        Ok(schema) => schema,
        Err(error) => return Err(format!("it is valid, and cannot be parsed: {error}")),
    };
    prune::prune(&mut object, &schema);
    if default::default(&mut object, &schema).is_err() {
        return Ok(1);
    }
    let mut again = object.clone();
    let gone = prune::prune(&mut again, &schema);
    if !gone.is_empty() {
        return Err(format!("defaults are pruned: {gone:?} of {object}"));
    }
    if default::default(&mut again, &schema).is_err() || again != object {
        return Err(format!("defaults of defaults: {object} becomes {again}"));
    }
    let mut errors = validate::create(&object, &schema, "");
    errors.extend(lists::validate(&object, &schema));
    errors.extend(embedded::validate(&object, &schema));
    if let Some(rules) = Rules::new(&schema.as_root(), true) {
        errors.extend(rules.validate(&object, None));
        errors.extend(rules.validate(&object, Some(&object)));
    }
    let unchanged = validate::update(&object, &object, &schema, "");
    if let (true, Some(error)) = (errors.is_empty(), unchanged.first()) {
        return Err(format!("valid when it is new, not when it stays: {error}"));
    }
    Ok(match errors.first() {
        Some(error) => shape::of(&error.to_string()),
        None => shape::of_data(&object.to_string()),
    })
}
