use serde_json::json;

use super::*;

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [
        MAGIC.to_vec(),
        field(1, &type_meta),
        field(2, raw),
        field(3, b""),
        field(4, b""),
    ]
    .concat()
}

#[test]
fn reads_what_go_writes() {
    // metadata: name, an empty generateName, a zero creationTimestamp, labels.
    let label = [field(1, b"app"), field(2, b"web")].concat();
    let meta = [
        field(1, b"a"),
        field(2, b""),
        vec![7 << 3, 0],
        field(8, b""),
        field(11, &label),
    ]
    .concat();
    let entry = [field(1, b"k"), field(2, b"v")].concat();
    let binary = [field(1, b"b"), field(2, &[0, 255])].concat();
    let raw = [field(1, &meta), field(2, &entry), field(3, &binary)].concat();
    assert_eq!(
        decode(&body("v1", "ConfigMap", &raw), ("v1", "ConfigMap")).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"app": "web"}},
            "data": {"k": "v"}, "binaryData": {"b": "AP8="},
        })
    );
}

#[test]
fn keeps_pointers_to_zero_and_flattens_embedded_structs() {
    // DeploymentSpec: replicas (a pointer) 0, minReadySeconds 0, maxSurge "25%", maxUnavailable 1, a volume from a Secret.
    let surge = [vec![1 << 3, 1, 2 << 3, 0], field(3, b"25%")].concat();
    let unavailable = [vec![1 << 3, 0, 2 << 3, 1], field(3, b"")].concat();
    let rolling = [field(1, &unavailable), field(2, &surge)].concat();
    let strategy = [field(1, b"RollingUpdate"), field(2, &rolling)].concat();
    let source = field(6, &field(1, b"s"));
    let volume = [field(1, b"v"), field(2, &source)].concat();
    let template = field(2, &field(1, &volume));
    let spec = [
        vec![1 << 3, 0],
        field(3, &template),
        field(4, &strategy),
        vec![5 << 3, 0],
    ]
    .concat();
    let got = decode(&body("apps/v1", "Deployment", &field(2, &spec)), ("", "")).unwrap();
    assert_eq!(
        got["spec"],
        json!({
            "replicas": 0,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
            "template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}},
        })
    );
}

#[test]
fn reads_times_and_options() {
    let time = [vec![1 << 3, 0xc0, 0xc4, 0x07, 2 << 3, 0]].concat();
    let lease = field(2, &[field(1, b"me"), field(4, &time)].concat());
    let got = decode(&body("coordination.k8s.io/v1", "Lease", &lease), ("", "")).unwrap();
    assert_eq!(
        got["spec"],
        json!({"holderIdentity": "me", "renewTime": "1970-01-02T10:17:36.000000Z"})
    );
    let options = [vec![1 << 3, 0], field(4, b"Background")].concat();
    let got = decode(&body("v1", "DeleteOptions", &options), ("", "")).unwrap();
    assert_eq!(
        (&got["gracePeriodSeconds"], &got["propagationPolicy"]),
        (&json!(0), &json!("Background"))
    );
}

#[test]
fn refuses_damage() {
    let decode = |bytes: &[u8]| decode(bytes, ("v1", "ConfigMap")).unwrap_err();
    assert_eq!(decode(b"{}"), Error::Magic);
    assert_eq!(decode(b"k8s\0\x0a\xff"), Error::Truncated);
    assert!(matches!(
        decode(&body("v1", "Nope", b"")),
        Error::UnknownType { .. }
    ));
    assert!(matches!(
        decode(&body("v1", "ConfigMap", &field(15, b"x"))),
        Error::UnknownField { number: 15, .. }
    ));
    // A struct of a later release that has nothing in it.
    let empty = super::decode(&body("v1", "ConfigMap", &field(15, b"")), ("", ""));
    assert!(empty.is_ok());
    assert!(matches!(
        decode(&body("v1", "ConfigMap", &[1 << 3, 1])),
        Error::Malformed(_)
    ));
    assert!(matches!(
        decode(&body("v1", "ConfigMap", &field(1, &field(1, b"\xff")))),
        Error::Malformed(_)
    ));
    let good = body("v1", "ConfigMap", &field(1, &field(1, b"a")));
    for cut in 5..good.len() {
        // A cut between fields is a shorter object; nothing may panic.
        let _ = super::decode(&good[..cut], ("v1", "ConfigMap"));
    }
}

#[test]
fn knows_every_served_kind() {
    for kind in knarr_api::built_in_kinds() {
        let name = message_name(&kind.api_version(), &kind.kind).expect("a group of its own");
        assert!(message(&name).is_some(), "{name}");
    }
    for name in [
        "policy.v1.Eviction",
        "autoscaling.v1.Scale",
        "authentication.v1.TokenRequest",
        "core.v1.Binding",
    ] {
        assert!(message(name).is_some(), "{name}");
    }
}

#[test]
fn embedded_json_is_no_deeper_than_what_is_stored() {
    let revision = |depth: usize| {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let data = field(2, &field(1, nested.as_bytes()));
        decode(&body("apps/v1", "ControllerRevision", &data), ("", ""))
    };
    let deepest = revision(patch::MAX_DEPTH - 1).unwrap();
    serde_json::from_str::<Value>(&deepest.to_string()).unwrap();
    // Each is JSON by itself.
    assert_eq!(revision(patch::MAX_DEPTH), Err(Error::Depth));
}

/// A length-delimited field with a number of two bytes.
fn far_field(number: u16, bytes: &[u8]) -> Vec<u8> {
    let near = field(0, bytes);
    let tag = number << 3 | 2;
    [&[(tag & 0x7f) as u8 | 0x80, (tag >> 7) as u8], &near[1..]].concat()
}

#[test]
fn schemas_are_as_in_json() {
    let string = field(5, b"string");
    let items = field(1, &string);
    let list = [field(5, b"array"), far_field(24, &items)].concat();
    let entry =
        |name: &[u8], props: &[u8]| far_field(29, &[field(1, name), field(2, props)].concat());
    let default = field(8, &field(1, b"{\"a\":1}"));
    let free = far_field(30, &[1 << 3, 1]);
    let typed = far_field(30, &[vec![1 << 3, 1], field(2, &string)].concat());
    let props = [
        field(5, b"object"),
        entry(b"list", &list),
        entry(b"free", &[field(5, b"object"), free, default].concat()),
        entry(b"typed", &[field(5, b"object"), typed].concat()),
    ]
    .concat();
    let version = [
        field(1, b"v1"),
        vec![2 << 3, 1],
        field(4, &field(1, &props)),
    ]
    .concat();
    let raw = field(2, &[field(1, b"example.com"), field(7, &version)].concat());
    let kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let object = super::decode(&body(kind.0, kind.1, &raw), kind).unwrap();
    assert_eq!(
        object["spec"]["versions"][0],
        json!({"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "free": {"type": "object", "additionalProperties": true, "default": {"a": 1}},
            "typed": {"type": "object", "additionalProperties": {"type": "string"}},
        }}}})
    );
}

#[test]
fn a_watch_event_is_a_length_and_a_bare_message() {
    let object = vec![7u8; 200];
    let frame = watch_event("ADDED", &object);
    let raw = field(1, &object);
    let event = [field(1, b"ADDED"), field(2, &raw)].concat();
    let length = (event.len() as u32).to_be_bytes();
    assert_eq!(&frame[..], [&length[..], &event].concat());
}

#[test]
fn an_envelope_takes_what_it_says() {
    for content in [0, 1, 127, 128, 70_000] {
        let envelope = Envelope::new("v1", "ConfigMap");
        let mut out = bytes::BytesMut::new();
        envelope.open(&mut out, content);
        out.extend_from_slice(&vec![0; content]);
        envelope.close(&mut out);
        assert_eq!(out.len(), envelope.size(content));
        assert_eq!(out[..], body("v1", "ConfigMap", &vec![0; content])[..]);
    }
}
