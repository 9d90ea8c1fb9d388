use expect_test::{Expect, expect};

use super::*;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
const GOOD: &str = "
jwt:
- issuer: {url: https://issuer.example, audiences: [knarr]}
  claimMappings:
    username: {claim: sub, prefix: ''}
";

fn parsed(text: &str) -> Result<Configured, String> {
    let file = file::parse(format!("{HEAD}{text}").as_bytes())?;
    configured(file, &["https://own".to_owned()])
}

fn refused(from: &str, to: &str, wanted: Expect) {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{from}");
    wanted.assert_eq(&parsed(&text).map(|_| ()).expect_err(to));
}

#[test]
fn a_file_names_issuers() {
    let found = parsed(GOOD).expect("a configuration");
    assert_eq!(found.issuers[0].url(), "https://issuer.example");
    assert_eq!(found.anonymous, None);
    assert!(parsed("").expect("nothing yet").issuers.is_empty());
}

#[test]
fn what_means_nothing_is_refused() {
    refused(
        "https://issuer.example",
        "http://issuer.example",
        expect![[
            r#"jwt[0].issuer.url: Invalid value: "http://issuer.example": URL scheme must be https"#
        ]],
    );
    refused(
        "https://issuer.example",
        "https://own",
        expect![[
            r#"jwt[0].issuer.url: Invalid value: "https://own": URL must not overlap with disallowed issuers: [https://own]"#
        ]],
    );
    refused(
        "https://issuer.example",
        "'https://a@b/?c#d'",
        expect![[
            r#"[jwt[0].issuer.url: Invalid value: "https://a@b/?c#d": URL must not contain a username or password, jwt[0].issuer.url: Invalid value: "https://a@b/?c#d": URL must not contain a query, jwt[0].issuer.url: Invalid value: "https://a@b/?c#d": URL must not contain a fragment]"#
        ]],
    );
    refused(
        "[knarr]",
        "[a, a]",
        expect![[
            r#"[jwt[0].issuer.audiences[1]: Duplicate value: "a", jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences]"#
        ]],
    );
    refused(
        "[knarr]",
        "[knarr], certificateAuthority: x",
        expect![[
            r#"jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates"#
        ]],
    );
    refused(
        ", prefix: ''",
        "",
        expect![
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing"
        ],
    );
    refused(
        "{claim: sub, prefix: ''}",
        "{}",
        expect!["jwt[0].claimMappings.username: Required value: claim or expression is required"],
    );
    refused(
        "{claim: sub, prefix: ''}",
        "{expression: claims.email}",
        expect![[
            r#"jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"#
        ]],
    );
    refused(
        "sub, prefix",
        "sub, prefixx",
        expect![
            "strict decoding error: unknown field `prefixx`, expected one of `claim`, `prefix`, `expression`"
        ],
    );
}

#[test]
fn rules_and_mappings_are_checked() {
    let with = |more: &str| format!("{}{more}", GOOD.trim_end());
    for (more, wanted) in [
        ("\n    groups: {claim: g}", "groups.prefix: Required value"),
        ("\n    uid: {claim: a, expression: b}", "uid: Invalid value"),
        (
            "\n    extra: [{key: foo, valueExpression: '1'}]",
            "must be a domain-prefixed path",
        ),
        (
            "\n    extra: [{key: a.k8s.io/b, valueExpression: \"'1'\"}]",
            "are reserved for Kubernetes use",
        ),
        (
            "\n    extra: [{key: A.io/b, valueExpression: \"'1'\"}]",
            "must be lowercase",
        ),
        (
            "\n  claimValidationRules: [{claim: a, message: b}]",
            "may not be specified when claim is set",
        ),
        (
            "\n  claimValidationRules: [{expression: claims.x == 1}, {expression: claims.x == 1}]",
            "Duplicate value",
        ),
        (
            "\n  claimValidationRules: [{expression: \"'a'\"}]",
            "must evaluate to bool",
        ),
        (
            "\n  claimValidationRules: [{}]",
            "claim or expression is required",
        ),
        (
            "\n  userValidationRules: [{expression: user.nothing}]",
            "undefined field 'nothing'",
        ),
        ("\n  userValidationRules: [{}]", "Required value"),
        (
            "\nanonymous: {enabled: false, conditions: [{path: /livez}]}",
            "enabled should be set to true",
        ),
    ] {
        let error = parsed(&with(more)).map(|_| ()).expect_err(more);
        assert!(error.contains(wanted), "{more}: {error}");
    }
    let good = "
    groups: {expression: 'claims.roles.split(\",\")'}
    uid: {claim: sub}
    extra: [{key: example.org/team, valueExpression: claims.team}]
  claimValidationRules:
  - {claim: hd, requiredValue: example.org}
  - {expression: 'claims.?email_verified.orValue(true) == true', message: x}
  userValidationRules:
  - {expression: \"!user.username.startsWith('system:') && user.groups.all(g, g != 'root')\"}
";
    parsed(&with(good)).expect("a configuration");
}

#[test]
fn anonymous_requests_have_conditions() {
    for (text, wanted) in [
        ("anonymous: {enabled: false}", [false, false]),
        ("anonymous: {enabled: true}", [true, true]),
        (
            "anonymous: {enabled: true, conditions: [{path: /livez}]}",
            [true, false],
        ),
    ] {
        let found = parsed(text).expect("a configuration").anonymous;
        let found = found.expect("it is said");
        assert_eq!(["/livez", "/api"].map(|path| found.allows(path)), wanted);
    }
}

#[test]
fn flags_make_an_issuer() {
    let flags = |prefix: &str, claim: &str| OidcFlags {
        issuer_url: "https://i".to_owned(),
        client_id: "knarr".to_owned(),
        username_claim: claim.to_owned(),
        username_prefix: prefix.to_owned(),
        ..OidcFlags::default()
    };
    for (prefix, claim, wanted) in [
        ("", "sub", "https://i#"),
        ("", "email", ""),
        ("-", "sub", ""),
        ("oidc:", "sub", "oidc:"),
    ] {
        let file = flags(prefix, claim).file().expect("a configuration");
        let username = &file.jwt[0].claim_mappings.username;
        assert_eq!(username.prefix.as_deref(), Some(wanted));
        assert!(of_flags(&flags(prefix, claim), &[]).is_ok());
    }
    let without = OidcFlags {
        client_id: String::new(),
        ..flags("", "sub")
    };
    assert!(of_flags(&without, &[]).is_err());
}
