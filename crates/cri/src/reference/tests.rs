use super::Reference;

#[test]
fn references_are_normalized() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let cases = [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("me/app", "docker.io/me/app:latest"),
        ("index.docker.io/me/app", "docker.io/me/app:latest"),
        ("a.b_c__d--e", "docker.io/library/a.b_c__d--e:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/app:x", "localhost/app:x"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
    ];
    for (text, wanted) in cases {
        assert_eq!(
            Reference::parse(text).map(|parsed| parsed.to_string()),
            Ok(wanted.to_owned()),
            "{text}"
        );
    }
    let both = Reference::parse(&format!("quay.io/a/b:1@{digest}")).unwrap();
    assert_eq!(both.key(), format!("quay.io/a/b@{digest}"));
    assert_eq!(both.tag.as_deref(), Some("1"));
    assert_eq!(Reference::parse(&format!("b@{digest}")).unwrap().tag, None);
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "",
        "Busybox",
        "a//b",
        "a:",
        "a:-x",
        "a@sha256:12",
        "a@b",
        "../x",
        "x y",
        "-a",
        "a..b",
        "a._b",
        "a___b",
        "UPPER/bad::x",
    ] {
        assert!(Reference::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn errors_are_dockers() {
    let identifier = "a".repeat(64);
    for (text, expected) in [
        ("a::b", "invalid reference format"),
        ("UPPER/bad::x", "invalid reference format"),
        (
            "team/App:1",
            "invalid reference format: repository name (team/App) must be lowercase",
        ),
        (
            &identifier,
            &format!(
                "invalid repository name ({identifier}), cannot specify 64-byte hexadecimal strings"
            ),
        ),
    ] {
        let error = Reference::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}
