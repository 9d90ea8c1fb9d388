use super::*;

fn check(config: AuthConfig, registry: &str, expected: Result<Credentials, &str>) {
    let found = Credentials::of(Some(config), registry);
    assert!(
        found.as_ref().map_err(String::as_str) == expected.as_ref().map_err(|text| *text),
        "for {registry}"
    );
}

fn password() -> Credentials {
    Credentials::Password {
        username: "u".into(),
        password: "p:q".into(),
    }
}

#[test]
fn credentials() {
    let plain = AuthConfig {
        username: "u".into(),
        password: "p:q".into(),
        ..AuthConfig::default()
    };
    check(plain.clone(), "r.example", Ok(password()));
    let hub = AuthConfig {
        server_address: "https://index.docker.io/v1/".into(),
        ..plain.clone()
    };
    check(hub.clone(), "docker.io", Ok(password()));
    check(hub, "r.example", Ok(Credentials::Anonymous));
    let encoded = AuthConfig {
        auth: "dTpwOnE=".into(),
        ..AuthConfig::default()
    };
    check(encoded, "r.example", Ok(password()));
    let rubbish = AuthConfig {
        auth: "?".into(),
        ..AuthConfig::default()
    };
    check(rubbish, "r", Err("auth is not base64 of username:password"));
    let token = AuthConfig {
        registry_token: "t".into(),
        ..plain
    };
    check(token, "r", Ok(Credentials::Token("t".into())));
    check(AuthConfig::default(), "r", Ok(Credentials::Anonymous));
}
