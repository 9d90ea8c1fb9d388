use serde_json::{Value, json};

use super::*;

fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

fn descriptor(of: char, media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(of), "size": 7})
}

fn parse(value: &Value) -> Result<Manifest, String> {
    let bytes = value.to_string();
    Manifest::parse(bytes.as_bytes(), "").map_err(|failure| failure.to_string())
}

fn image(layer_type: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFESTS[0],
        "config": descriptor('a', "anything"), "layers": [descriptor('b', layer_type)],
    })
}

#[test]
fn layers_of_known_types() {
    for kind in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        assert!(
            matches!(parse(&image(kind)), Ok(Manifest::Image { .. })),
            "{kind}"
        );
    }
    for kind in [
        "",
        "application/vnd.oci.image.layer.v1.tar+encrypted",
        "text/html",
    ] {
        assert!(
            parse(&image(kind)).unwrap_err().contains("unknown type"),
            "{kind}"
        );
    }
}

#[test]
fn what_cannot_be_an_image() {
    let mut both = image(LAYERS[0]);
    both["manifests"] = json!([]);
    let mut index = image(LAYERS[0]);
    index["mediaType"] = INDEXES[0].into();
    let mut first = image(LAYERS[0]);
    first["schemaVersion"] = 1.into();
    let mut md5 = image(LAYERS[0]);
    md5["config"]["digest"] = "md5:00".into();
    let mut negative = image(LAYERS[0]);
    negative["layers"][0]["size"] = (-1).into();
    let mut many = image(LAYERS[0]);
    many["layers"] = vec![descriptor('b', LAYERS[0]); MAX_LAYERS + 1].into();
    for (value, why) in [
        (both, "not what its type"),
        (index, "not what its type"),
        (first, "schema version 1"),
        (md5, "no sha256 digest"),
        (negative, "invalid value"),
        (many, "501 layers"),
        (
            json!({"schemaVersion": 2, "mediaType": "text/html"}),
            "unknown type \"text/html\"",
        ),
        (json!("x"), "invalid type"),
        (json!({}), "missing field"),
    ] {
        let error = parse(&value).unwrap_err();
        assert!(error.contains(why), "{value}: {error}");
    }
}

#[test]
fn an_index_leads_to_this_platform() {
    let of = |letter: char, platform: Value| {
        let mut one = descriptor(letter, MANIFESTS[0]);
        one["platform"] = platform;
        one
    };
    let index = |manifests: &[Value]| json!({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": manifests});
    let ours = json!({"os": "linux", "architecture": architecture()});
    let other = json!({"os": "plan9", "architecture": architecture()});
    let found = |manifests: &[Value]| match parse(&index(manifests)) {
        Ok(Manifest::Elsewhere(descriptor)) => Ok(descriptor.digest),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let all = [
        of('1', other.clone()),
        of('2', Value::Null),
        of('3', ours.clone()),
        of('4', ours),
    ];
    assert_eq!(found(&all), Ok(digest('3')));
    assert_eq!(found(&all[..2]), Ok(digest('2')));
    for none in [&all[..1], &[]] {
        assert!(
            found(none)
                .unwrap_err()
                .starts_with("no match for platform"),
            "{none:?}"
        );
    }
}
