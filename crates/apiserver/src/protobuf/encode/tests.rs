use bytes::BytesMut;
use fastrand::Rng;
use serde_json::json;

use super::super::{body, decode};
use super::*;

/// Messages within messages that are generated.
const DEPTH: usize = 7;

/// A tree as a Go program would write it in JSON: zero is left out where `omitempty` says so, structs are there.
fn generate(fields: &'static [Field], random: &mut Rng, depth: usize) -> Map<String, Value> {
    let mut tree = Map::new();
    for field in fields {
        if let ("~", Type::Message(inner)) = (field.name, field.ty) {
            let fields = message(inner).expect("it is in the table");
            tree.extend(generate(fields, random, depth));
            continue;
        }
        let optional = field.presence == Presence::Optional || field.omit_zero;
        if optional && (depth > DEPTH || random.u8(..4) == 0) {
            continue;
        }
        let count = 1 + random.usize(..2);
        let value = if field.map {
            let entries = (0..count).map(|n| (format!("key{n}"), value(field, random, depth)));
            Value::Object(entries.collect())
        } else if field.repeated {
            (0..count).map(|_| value(field, random, depth)).collect()
        } else {
            value(field, random, depth)
        };
        tree.insert(field.name.to_owned(), value);
    }
    tree
}

fn value(field: &Field, random: &mut Rng, depth: usize) -> Value {
    // Zero that is left out would not come back.
    let least = i64::from(field.omit_zero);
    let text = |random: &mut Rng| json!(format!("text {}\n\u{e9}", random.u16(..)));
    let props = |random: &mut Rng| {
        let fields = message("apiextensions.v1.JSONSchemaProps").expect("it is in the table");
        Value::Object(generate(fields, random, depth + 3))
    };
    let time = |random: &mut Rng| jiff::Timestamp::from_second(random.i64(-1 << 32..1 << 33));
    match field.ty {
        Type::String => text(random),
        Type::Integer => json!(random.i64(least..i64::MAX)),
        Type::Bool => json!(field.omit_zero || random.bool()),
        // Whole ones are written without a fraction.
        Type::Double if random.bool() => json!(random.i64(1..1 << 53)),
        Type::Double => json!(random.f64() + 1.5),
        Type::Bytes => json!(BASE64.encode([random.u8(..), 0, 255])),
        Type::Time => json!(knarr_meta::time::format_seconds(
            time(random).expect("a time")
        )),
        Type::MicroTime => {
            let micros = jiff::SignedDuration::from_micros(random.i64(0..1_000_000));
            let at = time(random).expect("a time") + micros;
            json!(knarr_meta::time::format_micro(at))
        }
        Type::Duration => json!(format!("{}s", random.u16(..))),
        Type::Quantity => json!(format!("{}Mi", random.u16(..))),
        Type::IntOrString if random.bool() => json!("50%"),
        Type::IntOrString => json!(random.u16(..)),
        Type::RawExtension | Type::Json => json!({"any": [random.u8(..), null, "text"]}),
        Type::Strings => json!([text(random), text(random)]),
        Type::SchemaOrList if random.bool() => json!([props(random), props(random)]),
        Type::SchemaOrNames if random.bool() => json!(["a", "b"]),
        Type::SchemaOrBool if random.bool() => json!(random.bool()),
        Type::SchemaOrList | Type::SchemaOrNames | Type::SchemaOrBool => props(random),
        Type::Message(inner) => {
            let fields = message(inner).expect("it is in the table");
            Value::Object(generate(fields, random, depth + 1))
        }
    }
}

/// Every version of every kind that the program serves.
fn kinds() -> Vec<(String, String)> {
    let mut kinds = Vec::new();
    for kind in knarr_api::built_in_kinds() {
        for served in knarr_api::Served::all(kind) {
            kinds.push((served.api_version(), kind.kind.to_string()));
        }
    }
    kinds
}

#[test]
fn every_kind_comes_back_as_it_was() {
    let mut random = Rng::with_seed(11);
    for (api_version, kind) in kinds() {
        for _ in 0..8 {
            let (_, fields) = fields_of(&api_version, &kind).expect("every kind has a message");
            let mut tree = generate(fields, &mut random, 0);
            tree.insert("apiVersion".into(), json!(api_version));
            tree.insert("kind".into(), json!(kind));
            let tree = Value::Object(tree);
            let body = body(&tree).expect("a body");
            let read = decode(&body, ("", "")).expect("what was written");
            assert_eq!(read, tree, "{api_version} {kind}");
        }
    }
}

#[test]
fn the_object_with_its_revision_is_the_whole_tree() {
    let mut random = Rng::with_seed(12);
    for (api_version, kind) in kinds() {
        let (_, fields) = fields_of(&api_version, &kind).expect("every kind has a message");
        if fields.first().is_none_or(|field| field.name != "metadata") {
            continue;
        }
        let mut tree = Value::Object(generate(fields, &mut random, 0));
        tree["metadata"]["resourceVersion"] = json!("123");
        tree["apiVersion"] = json!(api_version);
        tree["kind"] = json!(kind);
        let whole = content(&api_version, &kind, &tree).expect("a message");
        for made_at in [0, 7, 123] {
            let message = object(&api_version, &kind, &tree, made_at).expect("a message");
            let mut written = BytesMut::new();
            message.write(&mut written, 123);
            assert_eq!(written, whole, "{api_version} {kind}");
            assert_eq!(written.len(), message.size(123));
            let at_hand = message.body(123);
            let expected = (made_at == 123).then(|| body(&tree).expect("a body"));
            assert_eq!(at_hand, expected, "{api_version} {kind}");
        }
    }
}

#[test]
fn what_is_no_pointer_is_written_though_it_is_zero() {
    // As upstream's generated code writes `v1.Secret{}`, `v1.ServicePort{Name: "a"}` and `metav1.LabelSelector{}`.
    let zero_meta = b"\x0a\x00\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00";
    let secret = content("v1", "Secret", &json!({})).expect("a message");
    let expected = [&[0x0a, zero_meta.len() as u8], &zero_meta[..], b"\x1a\x00"].concat();
    assert_eq!(secret, expected);
    let service = json!({"spec": {"ports": [{"name": "a"}]}});
    let service = content("v1", "Service", &service).expect("a message");
    let port = b"\x0a\x01a\x12\x00\x18\x00\x22\x06\x08\x00\x10\x00\x1a\x00\x28\x00";
    assert!(service.windows(port.len()).any(|found| found == port));
}

#[test]
fn maps_are_in_the_order_of_their_keys() {
    let labels = json!({"metadata": {"labels": {"b": "1", "a": "2"}}});
    let written = content("v1", "ConfigMap", &labels).expect("a message");
    let sorted = b"\x5a\x06\x0a\x01a\x12\x012\x5a\x06\x0a\x01b\x12\x011";
    assert!(written.windows(sorted.len()).any(|found| found == sorted));
}

#[test]
fn a_value_of_another_type_is_an_error() {
    for tree in [
        json!({"data": {"a": 1}}),
        json!({"data": []}),
        json!({"immutable": "yes"}),
        json!({"binaryData": {"a": "?"}}),
        json!({"metadata": {"generation": 1.5}}),
        json!({"metadata": {"creationTimestamp": "yesterday"}}),
        json!({"metadata": {"finalizers": "a"}}),
    ] {
        let error = content("v1", "ConfigMap", &tree).expect_err("it is malformed");
        assert!(matches!(error, Error::Malformed(_)), "{tree}: {error}");
    }
}

#[test]
fn kinds_of_other_groups_have_no_message() {
    for (api_version, kind) in [
        ("apps.example.com/v1", "Deployment"),
        ("example.com/v1", "Pod"),
        ("v1", "Widget"),
        ("apps/v1beta1", "Deployment"),
    ] {
        assert!(!knows(api_version, kind), "{api_version} {kind}");
        let given = json!({"apiVersion": api_version, "kind": kind});
        assert!(matches!(body(&given), Err(Error::NotMarshalable { .. })));
    }
    let status = json!({"apiVersion": "v1", "kind": "Status", "code": 404});
    assert!(body(&status).is_ok());
}

#[test]
fn idle_bits_of_base64_do_not_count() {
    let secret = |data: &str| json!({"metadata": {"name": "a"}, "data": {"k": data}});
    let written = |data: &str| content("v1", "Secret", &secret(data)).expect("a message");
    assert_eq!(written("aGl="), written("aGk="));
    assert!(content("v1", "Secret", &secret("a*b=")).is_err());
}
