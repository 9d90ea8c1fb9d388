//! What a registry can say, by the repository that is asked for, and what the pod is told.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use knarr_testkit::{
    image::Blob,
    registry::{Answer, Body, Request, of_manifest},
};
use serde_json::{Value, json};
use tar::EntryType;

use super::forge::{self, Forged, INDEX, MANIFEST, TAR, digest, gzip, tar};

/// What a registry says to a request, of which it knows its own address.
type Answering = Box<dyn Fn(&Request, &str) -> Answer + Send + Sync>;

/// What a repository answers, and a part of the error.
pub struct Case {
    pub name: &'static str,
    pub wanted: &'static str,
    answer: Answering,
}

/// Answers by repository.
pub struct Cases(BTreeMap<&'static str, Case>);

impl Cases {
    pub fn new(cases: Vec<Case>) -> Self {
        Self(cases.into_iter().map(|case| (case.name, case)).collect())
    }

    /// Names and errors.
    pub fn wanted(&self) -> Vec<(&'static str, &'static str)> {
        self.0
            .values()
            .map(|case| (case.name, case.wanted))
            .collect()
    }

    pub fn answer(&self, request: &Request) -> Answer {
        let path = request.path.strip_prefix("/v2/").unwrap_or_default();
        let (name, rest) = path.split_once('/').unwrap_or_default();
        match self.0.get(name) {
            Some(case) => (case.answer)(request, rest),
            None => Answer::new("404 Not Found", ""),
        }
    }
}

fn case(
    name: &'static str,
    wanted: &'static str,
    answer: impl Fn(&Request, &str) -> Answer + Send + Sync + 'static,
) -> Case {
    Case {
        name,
        wanted,
        answer: Box::new(answer),
    }
}

/// The same answer to whatever is asked.
fn always(name: &'static str, wanted: &'static str, answer: Answer) -> Case {
    case(name, wanted, move |_, _| answer.clone())
}

fn document(name: &'static str, wanted: &'static str, content: &Value) -> Case {
    always(
        name,
        wanted,
        of_manifest(&Blob::new(content.to_string().into_bytes())),
    )
}

/// An image as forged; `last` is what the registry gives for its last layer.
fn image(name: &'static str, wanted: &'static str, forged: &Forged, last: Option<Body>) -> Case {
    let mut answers = BTreeMap::new();
    let mut blob = |digest: &Value, body: Body| {
        answers.insert(
            format!("blobs/{}", digest.as_str().unwrap_or_default()),
            Answer::of("200 OK", body),
        );
    };
    blob(
        &forged.config_descriptor["digest"],
        Body::Whole(forged.config.clone().into()),
    );
    for (n, (bytes, descriptor)) in forged.layers.iter().enumerate() {
        let other = last.clone().filter(|_| n + 1 == forged.layers.len());
        blob(
            &descriptor["digest"],
            other.unwrap_or_else(|| Body::Whole(bytes.clone().into())),
        );
    }
    let manifest = of_manifest(&forged.manifest());
    case(name, wanted, move |_, rest| match answers.get(rest) {
        Some(answer) => answer.clone(),
        None if rest.starts_with("manifests/") => manifest.clone(),
        None => Answer::new("404 Not Found", ""),
    })
}

/// A registry that wants a token, from where `realm` says; the token's server is below the repository.
fn token(
    name: &'static str,
    wanted: &'static str,
    realm: Option<&'static str>,
    answer: Answer,
) -> Case {
    case(name, wanted, move |request, rest| {
        if rest == "token" {
            return answer.clone();
        }
        let own = format!("http://{}/v2/{name}/token", request.headers["host"]);
        let challenge = format!("Bearer realm=\"{}\",service=\"s\"", realm.unwrap_or(&own));
        Answer::new("401 Unauthorized", "").with("WWW-Authenticate", challenge)
    })
}

fn small() -> Result<Vec<u8>> {
    tar(&[(EntryType::Regular, "file", "")])
}

fn zeros() -> Arc<[u8]> {
    vec![b' '; 64 << 10].into()
}

/// Those that keep a pull waiting until it is given up.
pub fn stuck() -> Result<Vec<Case>> {
    let slow = "no progress for too long";
    let drip = Body::Drip(small()?.len() as u64);
    Ok(vec![
        always("silence", slow, Answer::of("200 OK", Body::Silence)),
        always(
            "drip-manifest",
            slow,
            Answer::of("200 OK", Body::Drip(100_000)),
        ),
        image("drip-layer", slow, &Forged::plain(small()?), Some(drip)),
        token(
            "drip-token",
            slow,
            None,
            Answer::of("200 OK", Body::Drip(1_000)),
        ),
    ])
}

/// Before any manifest. `secret` is a port of the node's loopback.
pub fn answers(secret: u16) -> Vec<Case> {
    let long = "it has more than 4194304 bytes";
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let to = |name, wanted, target: &str| {
        always(
            name,
            wanted,
            Answer::new("307 Temporary Redirect", "").with("Location", target),
        )
    };
    let own = "which only this node reaches";
    let loopback = leak(&format!("http://127.0.0.1:{secret}/secret"));
    let named = leak(&format!("http://localhost:{secret}/secret"));
    let denied = "pull access denied";
    let fine = Answer::new("200 OK", "");
    let rude = "{\"errors\":[{\"code\":\"\\u001b[2J\",\"message\":\"\\u0000\\r\\n\\u202e\"}]}";
    vec![
        always(
            "endless-manifest",
            long,
            Answer::of("200 OK", Body::Endless(zeros())),
        ),
        always(
            "huge-manifest",
            long,
            Answer::new("200 OK", vec![b' '; 100 << 20]),
        ),
        always(
            "endless-header",
            "message head is too large",
            Answer::of("200 OK", Body::EndlessHeader),
        ),
        to(
            "circle",
            "more than 10 redirects",
            "/v2/circle/manifests/latest",
        ),
        to("to-loopback", own, loopback),
        to("to-name", own, named),
        to("to-link", own, "http://169.254.169.254/latest/meta-data"),
        to("to-file", "307 Temporary Redirect", "file:///etc/passwd"),
        token(
            "token-endless",
            "more than 65536 bytes",
            None,
            Answer::of("200 OK", Body::Endless(zeros())),
        ),
        token(
            "token-huge",
            "more than 65536 bytes",
            None,
            Answer::new("200 OK", vec![b' '; 1 << 20]),
        ),
        token(
            "token-garbage",
            "its server's answer has none",
            None,
            Answer::new("200 OK", "\u{1b}[2J"),
        ),
        token(
            "token-split",
            "fits into no header",
            None,
            Answer::new("200 OK", r#"{"token":"a\r\nb: c"}"#),
        ),
        token("token-loopback", own, Some(loopback), fine.clone()),
        token(
            "token-link",
            own,
            Some("http://169.254.169.254/token"),
            fine.clone(),
        ),
        token("token-nowhere", "token: ", Some("nowhere"), fine),
        token(
            "token-loop",
            denied,
            None,
            Answer::new("200 OK", r#"{"token":"t"}"#),
        ),
        always(
            "unauthorized",
            denied,
            Answer::new("401 Unauthorized", "<html>"),
        ),
        always(
            "limited",
            "429 Too Many Requests",
            Answer::new("429 Too Many Requests", "").with("Retry-After", "31536000"),
        ),
        always(
            "broken",
            "500 Internal Server Error",
            Answer::new("500 Internal Server Error", rude),
        ),
        always(
            "missing",
            "not found",
            Answer::new("404 Not Found", vec![b'x'; 1 << 20]),
        ),
        always(
            "partial",
            "206 Partial Content",
            Answer::new("206 Partial Content", "{}"),
        ),
    ]
}

/// Manifests, indexes and configurations.
pub fn documents() -> Result<Vec<Case>> {
    let good = Forged::plain(small()?);
    let manifest = good.manifest();
    let other = of_manifest(&Blob {
        digest: digest(b"other"),
        ..manifest.clone()
    });
    let platform = json!([{"mediaType": MANIFEST, "digest": digest(b""), "size": 1, "platform": {"os": "plan9"}}]);
    let mut both: Value = serde_json::from_slice(&manifest.bytes)?;
    both["manifests"] = json!([]);
    let mut no_json = Forged::plain(small()?);
    no_json.set_config(b"{".to_vec());
    let mut huge = Forged::plain(small()?);
    huge.config_descriptor["size"] = (100 << 20).into();
    let mut contradicting = Forged::plain(small()?);
    contradicting.layers.push(contradicting.layers[0].clone());
    let itself = Blob::new(b"{}".to_vec());
    let itself = forge::index(&[(&itself.digest, 2)]);
    let mut nested = BTreeMap::new();
    let mut top = manifest.clone();
    for _ in 0..10 {
        nested.insert(format!("manifests/{}", top.digest), top.clone());
        top = forge::index(&[(&top.digest, top.bytes.len())]);
    }
    Ok(vec![
        always("other-digest", "the manifest's digest is", other),
        always(
            "no-json",
            "image manifest: ",
            Answer::new("200 OK", "<html>"),
        ),
        document(
            "schema-1",
            "schema version 1",
            &json!({"schemaVersion": 1, "fsLayers": []}),
        ),
        document(
            "unknown-type",
            "unknown type",
            &json!({"schemaVersion": 2, "mediaType": "text/html"}),
        ),
        document("ambiguous", "not what its type", &both),
        document(
            "platform",
            "no match for platform",
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": platform}),
        ),
        always("itself", "bytes", of_manifest(&itself)),
        case("nested", "more than 4 others", move |_, rest| {
            of_manifest(nested.get(rest).unwrap_or(&top))
        }),
        image("config-no-json", "image configuration: ", &no_json, None),
        image("config-huge", "its configuration is longer", &huge, None),
        image(
            "contradicting",
            "2 layers but 1 diff ids",
            &contradicting,
            None,
        ),
    ])
}

/// Layers, as they come and as they unpack.
pub fn layers(secret: u16) -> Result<Vec<Case>> {
    let layer = small()?;
    let good = Forged::plain(layer.clone());
    let longer = [layer.clone(), vec![0; 512]].concat();
    let mut same_length = layer.clone();
    same_length[0] ^= 1;
    let mut unknown = Forged::plain(layer.clone());
    unknown.layers[0].1["mediaType"] = "application/x-evil".into();
    let mut foreign = Forged::plain(layer.clone());
    foreign.layers[0].1["urls"] = json!([format!("http://127.0.0.1:{secret}/secret")]);
    foreign.layers[0].1["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    let bombs = |is_tar: bool| -> Result<Forged> {
        let bytes = forge::bomb(if is_tar { 256 } else { 64 }, is_tar)?;
        Ok(Forged::new(&[(
            bytes,
            b"",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )]))
    };
    let outside = tar(&[(EntryType::Link, "link", "../../../../etc/passwd")])?;
    let cut = Body::CutOff(layer[..100].into(), layer.len() as u64);
    Ok(vec![
        image("longer", "bytes", &good, Some(Body::Whole(longer.into()))),
        image(
            "shorter",
            "bytes",
            &good,
            Some(Body::Whole(layer[..512].into())),
        ),
        image(
            "other",
            "its digest is",
            &good,
            Some(Body::Whole(same_length.into())),
        ),
        image("endless", "bytes", &good, Some(Body::Endless(zeros()))),
        image("cut", "failed to copy layer", &good, Some(cut)),
        image(
            "unpacks-to-other",
            "layer has digest",
            &Forged::new(&[(gzip(&layer)?, b"other", TAR)]),
            None,
        ),
        image(
            "no-tar",
            "failed to unpack layer",
            &Forged::plain(vec![b'x'; 4096]),
            None,
        ),
        image("unknown-layer", "unknown type", &unknown, None),
        image(
            "foreign",
            "by its descriptor",
            &foreign,
            Some(Body::CutOff(Vec::new().into(), 0)),
        ),
        image("zeros", "follow the archive's end", &bombs(false)?, None),
        image("bomb", "layer has digest", &bombs(true)?, None),
        image(
            "link-outside",
            "failed to unpack layer",
            &Forged::plain(outside),
            None,
        ),
    ])
}

/// Odd, and yet images: beside what a container needs they have such a layer.
pub fn odd(program: &[u8], marker: &str) -> Result<Vec<Case>> {
    let base = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = forge::header()?;
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, "bin/busybox", program)?;
        builder.into_inner()?
    };
    let up = format!("../../../../../../../../tmp/{marker}");
    let (absolute, through) = (format!("/tmp/{marker}"), format!("out/{marker}"));
    let deep = "d/".repeat(40);
    let odd = [
        ("dots", tar(&[(EntryType::Regular, &up, "")])?),
        ("absolute", tar(&[(EntryType::Regular, &absolute, "")])?),
        (
            "through-link",
            tar(&[
                (EntryType::Directory, "tmp", ""),
                (EntryType::Symlink, "out", "/tmp"),
                (EntryType::Regular, &through, ""),
            ])?,
        ),
        (
            "devices",
            tar(&[
                (EntryType::Block, "disk", ""),
                (EntryType::Char, "memory", ""),
                (EntryType::Fifo, "pipe", ""),
            ])?,
        ),
        (
            "whiteouts",
            tar(&[
                (EntryType::Regular, "nothing/.wh.here", ""),
                (EntryType::Regular, ".wh..wh..opq", ""),
                (EntryType::Regular, ".wh...", ""),
                (EntryType::Regular, ".wh.", ""),
            ])?,
        ),
        (
            "deep",
            tar(&[(EntryType::Regular, &format!("{deep}end"), "")])?,
        ),
        ("many", forge::many_files(20_000)?),
    ];
    let mut cases = Vec::new();
    for (name, layer) in odd {
        // An opaque root hides what is below it, so the program is on top.
        let layers = [
            (layer.clone(), layer.as_slice(), TAR),
            (base.clone(), base.as_slice(), TAR),
        ];
        cases.push(image(name, "", &Forged::new(&layers), None));
    }
    let zstd = zstd::encode_all(base.as_slice(), 1)?;
    let kind = "application/vnd.oci.image.layer.v1.tar+zstd";
    cases.push(image(
        "zstd",
        "",
        &Forged::new(&[(zstd, &base, kind)]),
        None,
    ));
    Ok(cases)
}
