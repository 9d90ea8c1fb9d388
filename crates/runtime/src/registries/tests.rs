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
fn what_is_of_a_host_is_not_of_its_other_ports() {
    let text = "
mirrors: {m.example: {endpoint: ['https://r.example', 'https://r.example:5000', 'https://registry-1.docker.io', 'https://s.example']}}
configs:
  r.example: {auth: {username: r, password: p}}
  s.example:5000: {auth: {username: s, password: p}}
  docker.io: {auth: {username: d, password: p}}
";
    let registries = Registries::parse(text).unwrap();
    let users = |registry: &str| -> Vec<Option<String>> {
        let endpoints = registries.endpoints(registry).unwrap();
        let logins = endpoints.into_iter().map(|one| one.host.credentials);
        logins
            .map(|login| login.map(|login| login.username))
            .collect()
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(users("m.example"), [some("r"), None, some("d"), None, None]);
    for (registry, user) in [
        ("r.example", some("r")),
        ("r.example:5000", None),
        ("s.example", None),
        ("s.example:5000", some("s")),
        ("docker.io", some("d")),
    ] {
        assert_eq!(users(registry), [user], "{registry}");
    }
}

#[test]
fn a_host_that_is_not_named_is_as_all_are() {
    let text = "
mirrors: {'*': {endpoint: ['https://m.example']}}
configs:
  docker.io:
  '*': {tls: {insecure_skip_verify: true}}
";
    let registries = Registries::parse(text).unwrap();
    let unverified = |registry: &str| {
        let endpoints = registries.endpoints(registry).unwrap();
        let tls = endpoints
            .iter()
            .map(|endpoint| endpoint.host.tls.unverified);
        tls.collect::<Vec<_>>()
    };
    assert_eq!(unverified("docker.io"), [true, false]);
    assert_eq!(unverified("quay.io"), [true, true]);
}

#[test]
fn endpoints_are_found_by_the_names_that_people_use() {
    let hub = "https://registry-1.docker.io/v2";
    let text = "
mirrors: {docker.io: {endpoint: [docker.io, 'localhost:5000', 'localhost:443', 'localhost:5000']}}
configs: {docker.io: {auth: {auth: 'dTpw'}}}
";
    let places = [
        hub,
        "http://localhost:5000/v2 mirror",
        "https://localhost/v2 mirror",
    ];
    assert_eq!(bases(text, "docker.io"), places);
    let endpoints = Registries::parse(text)
        .unwrap()
        .endpoints("docker.io")
        .unwrap();
    let login = endpoints[0].host.credentials.as_ref().unwrap();
    assert_eq!(
        (login.username.as_str(), login.password.as_str()),
        ("u", "p")
    );
}

fn rewritten(text: &str, registry: &str, repository: &str) -> Vec<String> {
    let registries = Registries::parse(text).unwrap();
    let endpoints = registries.endpoints(registry).unwrap();
    let names = endpoints
        .iter()
        .map(|endpoint| endpoint.rewrites.apply(repository).into_owned());
    names.collect()
}

#[test]
fn mirrors_have_repositories_under_other_names() {
    let text = r#"
mirrors:
  docker.io:
    endpoint: ["https://m.example", "https://n.example/v2/cache"]
    rewrite:
      "^library/(.*)": "hub/$1"
      "^rancher/": "mirror/rancher-"
      "a": "b"
  "*":
    endpoint: ["https://m.example"]
    rewrite: {"(.*)": "all/$1"}
"#;
    for (repository, mirrored) in [
        ("library/nginx", "hub/nginx"),
        ("rancher/pause", "mirror/rancher-pause"),
        // The first that changes anything is the only one.
        ("library/banana", "hub/banana"),
        ("team/banana", "tebm/bbnbnb"),
        ("x/y", "x/y"),
    ] {
        let names = rewritten(text, "docker.io", repository);
        assert_eq!(names, [mirrored, mirrored, repository], "{repository}");
    }
    assert_eq!(rewritten(text, "quay.io", "x/y"), ["all/x/y", "x/y"]);
    let none = "mirrors:\n  a.example:\n    endpoint: [b.example]\n    rewrite:\n";
    assert_eq!(rewritten(none, "a.example", "x/y"), ["x/y", "x/y"]);
}

#[test]
fn a_registrys_own_address_has_its_own_names() {
    for (endpoint, wanted) in [
        ("https://r.example", &["x/y"][..]),
        ("r.example", &["x/y"]),
        ("https://r.example/v2/", &["x/y"]),
        ("https://r.example:443", &["z/y"]),
        ("http://r.example", &["z/y"]),
        ("https://r.example/v2/proxy", &["z/y"]),
    ] {
        let text =
            format!("mirrors: {{r.example: {{endpoint: ['{endpoint}'], rewrite: {{^x: z}}}}}}");
        assert_eq!(rewritten(&text, "r.example", "x/y"), wanted, "{endpoint}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, why) in [
        ("mirror: {}", "mirror"),
        ("mirrors: {a: {rewrite: {'(': y}}}", "rewrite"),
        ("mirrors: {a: {rewrite: [x]}}", "mapping"),
        ("mirrors: {'https://a:5000': {endpoint: [b]}}", "HOST:PORT"),
        ("configs: {a/v2: {auth: {auth: 'dTpw'}}}", "HOST:PORT"),
        ("mirrors: {a: {endpoint: ['ftp://b']}}", "http or https"),
        ("mirrors: {a: {endpoint: ['https://u:p@b']}}", "configs"),
        ("mirrors: {a: {endpoint: ['https://b?c']}}", "query"),
        (
            "configs: {a: {auth: {identity_token: t}}}",
            "identity_token",
        ),
        ("configs: {a: {auth: {username: u}}}", "a password"),
        ("configs: {a: {auth: {auth: '!'}}}", "base64"),
        (
            "configs: {'*': {auth: {username: u, password: p}}}",
            "by name",
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
