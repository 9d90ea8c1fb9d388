use super::*;

fn mappings(username: Source) -> Mappings {
    Mappings {
        username,
        groups: None,
        uid: None,
        extra: Vec::new(),
        required: Vec::new(),
        claim_rules: Vec::new(),
        user_rules: Vec::new(),
    }
}

fn claim(claim: &str, prefix: &str) -> Source {
    Source::Claim {
        claim: claim.to_owned(),
        prefix: prefix.to_owned(),
    }
}

fn program(source: &str) -> Program {
    expressions::of_claims(source).expect(source)
}

fn expression(source: &str) -> Source {
    Source::Expression(program(source))
}

fn rule(program: Program) -> Vec<Rule> {
    vec![Rule {
        expression: "x".to_owned(),
        program,
        message: "must not".to_owned(),
    }]
}

fn of(mappings: &Mappings, claims: Value) -> Result<UserInfo, String> {
    mappings.user(claims.as_object().expect("claims"))
}

#[test]
fn claims_name_a_user() {
    let mappings = Mappings {
        groups: Some(claim("groups", "oidc:")),
        uid: Some(claim("sub", "")),
        ..mappings(claim("name", "me#"))
    };
    for (groups, wanted) in [
        (json!(["a", "b"]), &["oidc:a", "oidc:b"][..]),
        (json!("a"), &["oidc:a"]),
    ] {
        let user = of(
            &mappings,
            json!({"name": "jane", "sub": "1", "groups": groups, "jti": "x"}),
        );
        let user = user.expect("a user");
        assert_eq!((&*user.name, &*user.uid), ("me#jane", "1"));
        assert_eq!(user.groups, wanted);
        assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=x"]);
    }
    for claims in [
        json!({"sub": "1"}),
        json!({"name": 1, "sub": "1"}),
        json!({"name": "jane"}),
        json!({"name": "jane", "sub": "1", "groups": [1]}),
    ] {
        assert!(of(&mappings, claims.clone()).is_err(), "{claims}");
    }
}

#[test]
fn a_mail_address_must_be_verified() {
    let mappings = mappings(claim("email", ""));
    for (verified, wanted) in [
        (json!({"email": "a@b"}), true),
        (json!({"email": "a@b", "email_verified": true}), true),
        (json!({"email": "a@b", "email_verified": false}), false),
        (json!({"email": "a@b", "email_verified": "true"}), false),
    ] {
        assert_eq!(
            of(&mappings, verified.clone()).is_ok(),
            wanted,
            "{verified}"
        );
    }
}

#[test]
fn expressions_name_a_user() {
    let mappings = Mappings {
        groups: Some(expression("claims.?roles.orValue([]).map(r, 'role:' + r)")),
        uid: Some(expression("string(claims.n)")),
        extra: vec![
            ("a.io/team".to_owned(), program("claims.team")),
            ("a.io/none".to_owned(), program("''")),
        ],
        ..mappings(expression("claims.first + '.' + claims.last"))
    };
    let user = of(
        &mappings,
        json!({"first": "jane", "last": "doe", "roles": ["a"], "n": 7, "team": ["x", ""]}),
    );
    let user = user.expect("a user");
    assert_eq!((&*user.name, &*user.uid), ("jane.doe", "7"));
    assert_eq!(user.groups, ["role:a"]);
    let wanted = BTreeMap::from([("a.io/team".to_owned(), vec!["x".to_owned()])]);
    assert_eq!(user.extra, wanted);
    let failed = of(&mappings, json!({"first": "jane"}));
    assert!(failed.is_err_and(|why| why.contains("no such key: last")));
}

#[test]
fn rules_keep_users_out() {
    let required = Mappings {
        required: vec![("hd".to_owned(), "example.org".to_owned())],
        ..mappings(claim("sub", ""))
    };
    let of_claims = Mappings {
        claim_rules: rule(program("claims.hd == 'example.org'")),
        ..mappings(claim("sub", ""))
    };
    let of_user = Mappings {
        user_rules: rule(
            expressions::of_user("!user.username.startsWith('system:')").expect("it compiles"),
        ),
        ..mappings(claim("sub", ""))
    };
    let good = json!({"sub": "a", "hd": "example.org"});
    for mappings in [&required, &of_claims, &of_user] {
        assert!(of(mappings, good.clone()).is_ok());
    }
    assert!(of(&required, json!({"sub": "a"})).is_err());
    assert!(of(&required, json!({"sub": "a", "hd": "other"})).is_err());
    let failed = of(&of_claims, json!({"sub": "a", "hd": "other"}));
    assert!(failed.is_err_and(|why| why.contains("'x' failed: must not")));
    assert!(of(&of_user, json!({"sub": "system:admin"})).is_err());
}
