//! What an AuthenticationConfiguration may say, with upstream's words for what it may not.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
};
use knarr_webhook::Trust;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    expressions,
    file::{
        AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, ExtraMapping, Issuer,
        JwtAuthenticator, PrefixedClaimOrExpression, UserValidationRule,
    },
};
use crate::{
    claims::{Mappings, Rule, Source},
    issuer::Settings,
};

const MAX_ISSUERS: usize = 64;
const MATCH_ANY: &str = "MatchAny";

/// What each issuer is, as far as nothing is wrong with it.
pub fn validate(file: &AuthenticationConfiguration, own: &[String]) -> (Vec<Settings>, ErrorList) {
    let root = Path::new("jwt");
    let (mut settings, mut errors) = (Vec::new(), Vec::new());
    if file.jwt.len() > MAX_ISSUERS {
        errors.push(Error::too_many(&root, file.jwt.len(), MAX_ISSUERS));
        return (settings, errors);
    }
    for (at, one) in file.jwt.iter().enumerate() {
        let path = root.index(at);
        let issuer = path.child("issuer");
        settings.extend(authenticator(one, own, &path, &mut errors));
        let before = &file.jwt[..at];
        if before
            .iter()
            .any(|other| other.issuer.url == one.issuer.url)
        {
            errors.push(Error::duplicate(&issuer.child("url"), &*one.issuer.url));
        }
        let discovery = &one.issuer.discovery_url;
        let is_twice = before
            .iter()
            .any(|other| other.issuer.discovery_url == *discovery);
        if !discovery.is_empty() && is_twice {
            errors.push(Error::duplicate(
                &issuer.child("discoveryURL"),
                &**discovery,
            ));
        }
    }
    if let Some(anonymous) = &file.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let path = Path::new("anonymous").child("conditions");
        let why = "enabled should be set to true when conditions are defined";
        errors.push(Error::invalid_whole(&path, why));
    }
    (settings, errors)
}

fn authenticator(
    one: &JwtAuthenticator,
    own: &[String],
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Settings> {
    issuer(&one.issuer, own, &path.child("issuer"), errors);
    let rules = path.child("claimValidationRules");
    let (required, claim_rules) = claim_rules(&one.claim_validation_rules, &rules, errors);
    let mappings_path = path.child("claimMappings");
    let mappings = &one.claim_mappings;
    let username = prefixed(&mappings.username, &mappings_path.child("username"), errors);
    if username.is_none() && is_empty(&mappings.username) {
        let why = "claim or expression is required";
        errors.push(Error::required(&mappings_path.child("username"), why));
    }
    let groups = prefixed(&mappings.groups, &mappings_path.child("groups"), errors);
    let uid = uid(mappings, &mappings_path.child("uid"), errors);
    let extra = extra(&mappings.extra, &mappings_path.child("extra"), errors);
    email(one, &mappings_path.child("username"), errors);
    let rules = path.child("userValidationRules");
    let user_rules = user_rules(&one.user_validation_rules, &rules, errors);
    let authority = &one.issuer.certificate_authority;
    Some(Settings {
        url: one.issuer.url.clone(),
        discovery_url: one.issuer.discovery_url.clone(),
        trust: Trust::Bundle(authority.clone().into_bytes()),
        audiences: one.issuer.audiences.clone(),
        mappings: Mappings {
            username: username?,
            groups,
            uid,
            extra,
            required,
            claim_rules,
            user_rules,
        },
    })
}

fn issuer(issuer: &Issuer, own: &[String], path: &Path, errors: &mut ErrorList) {
    let (url_path, discovery_path) = (path.child("url"), path.child("discoveryURL"));
    if issuer.url.is_empty() {
        errors.push(Error::required(&url_path, ""));
    } else {
        if own.contains(&issuer.url) {
            let why = format!(
                "URL must not overlap with disallowed issuers: [{}]",
                own.join(" ")
            );
            errors.push(Error::invalid(&url_path, &*issuer.url, why));
        }
        url(&issuer.url, &url_path, errors);
    }
    let discovery = &issuer.discovery_url;
    if !discovery.is_empty() {
        if discovery.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
            let why = "discoveryURL must be different from URL";
            errors.push(Error::invalid(&discovery_path, &**discovery, why));
        }
        url(discovery, &discovery_path, errors);
    }
    audiences(issuer, path, errors);
    let authority = issuer.certificate_authority.as_bytes();
    if !authority.is_empty() && CertificateDer::from_pem_slice(authority).is_err() {
        let why = "data does not contain any valid RSA or ECDSA certificates";
        let path = path.child("certificateAuthority");
        errors.push(Error::invalid(&path, "<omitted>", why));
    }
    if !issuer.egress_selector_type.is_empty() {
        // There is one way out, and nobody selects it.
        let path = path.child("egressSelectorType");
        errors.push(Error::forbidden(
            &path,
            "this server has no egress selectors",
        ));
    }
}

fn url(url: &str, path: &Path, errors: &mut ErrorList) {
    let mut wrong = |why: &str| errors.push(Error::invalid(path, url, why));
    let Some(rest) = url.strip_prefix("https://") else {
        wrong("URL scheme must be https");
        return;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        wrong("URL must not contain a username or password");
    }
    if rest.contains('?') {
        wrong("URL must not contain a query");
    }
    if rest.contains('#') {
        wrong("URL must not contain a fragment");
    }
}

fn audiences(issuer: &Issuer, path: &Path, errors: &mut ErrorList) {
    let (all, audiences) = (&issuer.audiences, path.child("audiences"));
    if all.is_empty() {
        let why = format!("at least one {audiences} is required");
        errors.push(Error::required(&audiences, why));
        return;
    }
    for (at, audience) in all.iter().enumerate() {
        let path = audiences.index(at);
        if audience.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        if all[..at].contains(audience) {
            errors.push(Error::duplicate(&path, &**audience));
        }
    }
    let policy = &*issuer.audience_match_policy;
    let why = match (all.len(), policy) {
        (_, MATCH_ANY) | (1, "") => return,
        (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    let path = path.child("audienceMatchPolicy");
    errors.push(Error::invalid(&path, policy, why));
}

/// Claims with required values, and expressions.
fn claim_rules(
    rules: &[ClaimValidationRule],
    path: &Path,
    errors: &mut ErrorList,
) -> (Vec<(String, String)>, Vec<Rule>) {
    let (mut required, mut compiled) = (Vec::new(), Vec::new());
    for (at, rule) in rules.iter().enumerate() {
        let (path, before) = (path.index(at), &rules[..at]);
        let (claim, expression) = (&rule.claim, &rule.expression);
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => {
                let why = "claim and expression can't both be set";
                errors.push(Error::invalid(&path, &**claim, why));
            }
            (true, true) => {
                errors.push(Error::required(&path, "claim or expression is required"));
            }
            (false, true) => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(Error::invalid(&path.child("message"), &*rule.message, why));
                }
                if before.iter().any(|other| other.claim == *claim) {
                    errors.push(Error::duplicate(&path.child("claim"), &**claim));
                }
                required.push((claim.clone(), rule.required_value.clone()));
            }
            (true, false) => {
                let (path, value) = (path.child("expression"), &rule.required_value);
                if !value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.push(Error::invalid(&path, &**value, why));
                }
                if before.iter().any(|other| other.expression == *expression) {
                    errors.push(Error::duplicate(&path, &**expression));
                    continue;
                }
                let program = compile(expressions::of_claims, expression, &path, errors);
                compiled.extend(boolean(program, expression, &rule.message, &path, errors));
            }
        }
    }
    (required, compiled)
}

fn user_rules(rules: &[UserValidationRule], path: &Path, errors: &mut ErrorList) -> Vec<Rule> {
    let mut compiled = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let (path, expression) = (path.index(at).child("expression"), &rule.expression);
        if expression.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        if rules[..at]
            .iter()
            .any(|other| other.expression == *expression)
        {
            errors.push(Error::duplicate(&path, &**expression));
            continue;
        }
        let program = compile(expressions::of_user, expression, &path, errors);
        compiled.extend(boolean(program, expression, &rule.message, &path, errors));
    }
    compiled
}

fn is_empty(mapping: &PrefixedClaimOrExpression) -> bool {
    mapping.claim.is_empty() && mapping.expression.is_empty()
}

fn prefixed(
    mapping: &PrefixedClaimOrExpression,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Source> {
    let expression = &mapping.expression;
    match (mapping.claim.is_empty(), expression.is_empty()) {
        (true, true) => None,
        (false, false) => {
            let why = "claim and expression can't both be set";
            errors.push(Error::invalid(path, "", why));
            None
        }
        (true, false) => {
            if let Some(prefix) = &mapping.prefix {
                let why = "may not be specified when expression is set";
                errors.push(Error::invalid(&path.child("prefix"), &**prefix, why));
            }
            let path = path.child("expression");
            compile(expressions::of_claims, expression, &path, errors).map(Source::Expression)
        }
        (false, true) => {
            if mapping.prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(Error::required(&path.child("prefix"), why));
            }
            Some(Source::Claim {
                claim: mapping.claim.clone(),
                prefix: mapping.prefix.clone().unwrap_or_default(),
            })
        }
    }
}

fn uid(mappings: &ClaimMappings, path: &Path, errors: &mut ErrorList) -> Option<Source> {
    let uid = &mappings.uid;
    match (uid.claim.is_empty(), uid.expression.is_empty()) {
        (true, true) => None,
        (false, false) => {
            let why = "claim and expression can't both be set";
            errors.push(Error::invalid(path, "", why));
            None
        }
        (false, true) => Some(Source::Claim {
            claim: uid.claim.clone(),
            prefix: String::new(),
        }),
        (true, false) => {
            let path = path.child("expression");
            let program = compile(expressions::of_claims, &uid.expression, &path, errors);
            program.map(Source::Expression)
        }
    }
}

fn extra(
    mappings: &[ExtraMapping],
    path: &Path,
    errors: &mut ErrorList,
) -> Vec<(String, knarr_cel::Program)> {
    let mut compiled = Vec::new();
    for (at, mapping) in mappings.iter().enumerate() {
        let (path, key) = (path.index(at), &mapping.key);
        let key_path = path.child("key");
        extra_key(key, &key_path, errors);
        if mappings[..at].iter().any(|other| other.key == *key) {
            errors.push(Error::duplicate(&key_path, &**key));
            continue;
        }
        let (path, expression) = (path.child("valueExpression"), &mapping.value_expression);
        if expression.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let program = compile(expressions::of_claims, expression, &path, errors);
        compiled.extend(program.map(|program| (key.clone(), program)));
    }
    compiled
}

/// `example.org/foo`, of a domain that is not Kubernetes' own.
fn extra_key(key: &str, path: &Path, errors: &mut ErrorList) {
    let Some((domain, name)) = key.split_once('/').filter(|(domain, _)| !domain.is_empty()) else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        match key.is_empty() {
            true => errors.push(Error::required(path, "")),
            false => errors.push(Error::invalid(path, key, why)),
        }
        return;
    };
    for why in names::dns1123_subdomain(domain) {
        errors.push(Error::invalid(path, domain, why));
    }
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if name.is_empty() || !name.chars().all(is_path) {
        errors.push(Error::invalid(path, name, "Invalid path"));
    }
    if key.chars().any(char::is_uppercase) {
        errors.push(Error::invalid(path, key, "must be lowercase"));
    }
    let of = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
    if of("kubernetes.io") || of("k8s.io") {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.push(Error::invalid(path, key, why));
    }
}

/// Whoever is named by a mail address must have proved that it is theirs.
fn email(one: &JwtAuthenticator, path: &Path, errors: &mut ErrorList) {
    let mappings = &one.claim_mappings;
    let username = &mappings.username.expression;
    let rules = one
        .claim_validation_rules
        .iter()
        .map(|rule| &rule.expression);
    let extra = mappings.extra.iter().map(|extra| &extra.value_expression);
    let mut others = rules.chain(extra).chain([username]);
    if expressions::selects(username, "email")
        && !others.any(|source| expressions::selects(source, "email_verified"))
    {
        let why = "claims.email_verified must be used in claimMappings.username.expression or \
                   claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
                   claimMappings.username.expression";
        errors.push(Error::invalid(&path.child("expression"), &**username, why));
    }
}

fn compile(
    compile: fn(&str) -> Result<knarr_cel::Program, String>,
    expression: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<knarr_cel::Program> {
    match compile(expression) {
        Ok(program) => Some(program),
        Err(why) => {
            errors.push(Error::invalid(path, expression, why));
            None
        }
    }
}

/// A rule, where what was compiled can be true.
fn boolean(
    program: Option<knarr_cel::Program>,
    expression: &str,
    message: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Rule> {
    let program = program?;
    if !program.result.is_bool() {
        errors.push(Error::invalid(path, expression, "must evaluate to bool"));
        return None;
    }
    Some(Rule {
        expression: expression.to_owned(),
        program,
        message: message.to_owned(),
    })
}
