use super::*;

fn bases(text: &str, registry: &str) -> Vec<String> {
    let registries = Registries::parse(text).unwrap();
    let endpoints = registries.endpoints(registry).unwrap();
    endpoints
        .iter()
        .map(|endpoint| {
            format!(
                "{}{}",
                endpoint.base,
                if endpoint.mirror { " mirror" } else { "" }
            )
        })
        .collect()
}

#[test]
fn mirrors_come_before_the_registry() {
    let text = r#"
mirrors:
  docker.io:
    endpoint:
      - "https://mirror.example:5000"
      - "http://10.0.0.7/v2/hub/"
  quay.io:
  "*":
    endpoint: ["cache.example"]
"#;
    let hub = "https://registry-1.docker.io/v2";
    assert_eq!(
        bases(text, "docker.io"),
        [
            "https://mirror.example:5000/v2 mirror",
            "http://10.0.0.7/v2/hub mirror",
            hub
        ]
    );
    assert_eq!(bases(text, "quay.io"), ["https://quay.io/v2"]);
    assert_eq!(
        bases(text, "ghcr.io"),
        ["https://cache.example/v2 mirror", "https://ghcr.io/v2"]
    );
    for nothing in ["", "mirrors:\nconfigs:\n", "{}"] {
        assert_eq!(bases(nothing, "docker.io"), [hub]);
    }
}

#[test]
fn a_registry_that_is_its_own_mirror_is_asked_once() {
    let text = "mirrors: {r.example: {endpoint: ['https://r.example']}}";
    assert_eq!(bases(text, "r.example"), ["https://r.example/v2"]);
    let plain = "mirrors: {'10.0.0.1:5000': {endpoint: ['http://10.0.0.1:5000']}}";
    assert_eq!(bases(plain, "10.0.0.1:5000"), ["http://10.0.0.1:5000/v2"]);
}

#[test]
fn a_host_has_its_credentials() {
    let text = "
mirrors: {r.example: {endpoint: ['https://m.example:5000', 'https://n.example']}}
configs:
  m.example:5000: {auth: {username: m, password: p}}
  r.example: {auth: {username: r, password: p}, tls: {insecure_skip_verify: true}}
";
    let endpoints = Registries::parse(text)
        .unwrap()
        .endpoints("r.example")
        .unwrap();
    let users: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            endpoint
                .host
                .credentials
                .as_ref()
                .map(|login| login.username.as_str())
        })
        .collect();
    assert_eq!(users, [Some("m"), None, Some("r")]);
    assert!(endpoints[2].host.tls.unverified && !endpoints[0].host.tls.unverified);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, why) in [
        ("mirror: {}", "mirror"),
        ("mirrors: {a: {rewrite: {x: y}}}", "rewrite"),
        ("mirrors: {a: {endpoint: ['ftp://b']}}", "http or https"),
        ("mirrors: {a: {endpoint: ['https://u:p@b']}}", "configs"),
        ("mirrors: {a: {endpoint: ['https://b?c']}}", "query"),
        (
            "configs: {a: {auth: {identity_token: t}}}",
            "identity_token",
        ),
        ("configs: {a: {tls: {cert_file: /c}}}", "belong together"),
        (
            "configs: {a: {tls: {ca_file: /does/not/exist}}}",
            "/does/not/exist",
        ),
    ] {
        let error = Registries::parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn registries_of_this_machine() {
    for registry in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.9.9.9:5000",
        "[::1]:5000",
    ] {
        assert!(is_loopback(registry), "{registry}");
    }
    for registry in [
        "docker.io",
        "localhost.example",
        "128.0.0.1:5000",
        "[fe80::1]:5000",
        "10.0.0.1",
    ] {
        assert!(!is_loopback(registry), "{registry}");
    }
}
