//! What an Ingress' spec may say.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::{networking::validate_reference, validate};

/// What no path of a type that is understood contains, and how none ends.
const FORBIDDEN_PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const FORBIDDEN_ENDS: [&str; 2] = ["/..", "/."];

/// What stays allowed in an update because the old object has it.
struct Leave {
    secret_names: bool,
    wildcard_rules: bool,
}

/// The spec's errors. `old` is the object before an update.
pub fn validate(object: &Value, old: Option<&Value>) -> ErrorList {
    let leave = Leave {
        secret_names: old.is_some_and(|old| {
            let tls = list_at(old, &["spec", "tls"]);
            tls.iter().any(|tls| !secret_name(tls).is_empty())
        }),
        wildcard_rules: old.is_some_and(|old| {
            let rules = list_at(old, &["spec", "rules"]);
            let wildcards = rules.iter().filter(|rule| is_wildcard(rule));
            wildcards.into_iter().any(|rule| {
                let mut errors = ErrorList::new();
                validate_http(rule, &Path::new("http"), &mut errors);
                !errors.is_empty()
            })
        }),
    };
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let rules = list_at(object, &["spec", "rules"]);
    let backend = struct_at(object, &["spec", "defaultBackend"]);
    if rules.is_empty() && backend.is_none() {
        let given = at(object, &["spec", "rules"]).cloned().unwrap_or_default();
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(&path, given, why));
    }
    if let Some(backend) = backend {
        validate_backend(backend, &path.child("defaultBackend"), &mut errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, &leave, &path.child("rules").index(index), &mut errors);
    }
    for (index, tls) in list_at(object, &["spec", "tls"]).iter().enumerate() {
        validate_tls(tls, &leave, &path.child("tls").index(index), &mut errors);
    }
    if at(object, &["spec", "ingressClassName"]).is_some_and(Value::is_string) {
        let class = str_at(object, &["spec", "ingressClassName"]);
        let wrong = names::dns1123_subdomain(class);
        validate::each(&mut errors, &path.child("ingressClassName"), class, wrong);
    }
    errors
}

/// A host's name must not be an address.
pub fn validate_no_ip(host: &str, path: &Path, errors: &mut ErrorList) {
    if names::lenient_ip(host).is_some() {
        let why = "must be a DNS name, not an IP address";
        errors.push(Error::invalid(path, host, why));
    }
}

fn validate_host(host: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = match host.contains('*') {
        true => names::wildcard_dns1123_subdomain(host),
        false => names::dns1123_subdomain(host),
    };
    validate::each(errors, path, host, wrong);
}

fn is_wildcard(rule: &Value) -> bool {
    str_at(rule, &["host"]).contains('*')
}

fn validate_rule(rule: &Value, leave: &Leave, path: &Path, errors: &mut ErrorList) {
    let host = str_at(rule, &["host"]);
    if !host.is_empty() {
        validate_no_ip(host, &path.child("host"), errors);
        validate_host(host, &path.child("host"), errors);
    }
    if !(is_wildcard(rule) && leave.wildcard_rules) {
        validate_http(rule, &path.child("http"), errors);
    }
}

fn validate_http(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(http) = struct_at(rule, &["http"]) else {
        return;
    };
    let paths = list_at(http, &["paths"]);
    if paths.is_empty() {
        errors.push(Error::required(&path.child("paths"), ""));
    }
    for (index, entry) in paths.iter().enumerate() {
        validate_path(entry, &path.child("paths").index(index), errors);
    }
}

fn validate_path(entry: &Value, path: &Path, errors: &mut ErrorList) {
    let text = str_at(entry, &["path"]);
    let place = path.child("path");
    let absolute = text.starts_with('/');
    let not_absolute = || Error::invalid(&place, text, "must be an absolute path");
    match entry.get("pathType").and_then(Value::as_str) {
        None => {
            let why = "pathType must be specified";
            errors.push(Error::required(&path.child("pathType"), why));
            return;
        }
        Some("Exact" | "Prefix") => {
            if !absolute {
                errors.push(not_absolute());
            }
            for part in FORBIDDEN_PARTS.iter().filter(|part| text.contains(**part)) {
                errors.push(Error::invalid(
                    &place,
                    text,
                    format!("must not contain '{part}'"),
                ));
            }
            for end in FORBIDDEN_ENDS.iter().filter(|end| text.ends_with(**end)) {
                errors.push(Error::invalid(
                    &place,
                    text,
                    format!("cannot end with '{end}'"),
                ));
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !absolute {
                errors.push(not_absolute());
            }
        }
        Some(other) => errors.push(Error::not_supported(
            &path.child("pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    let backend = entry.get("backend").unwrap_or(&Value::Null);
    validate_backend(backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &Value, path: &Path, errors: &mut ErrorList) {
    let resource = struct_at(backend, &["resource"]);
    let service = struct_at(backend, &["service"]);
    match (resource, service) {
        (Some(_), Some(_)) => {
            let why = "cannot set both resource and service backends";
            errors.push(Error::invalid(path, "", why));
        }
        (Some(resource), None) => validate_reference(resource, &path.child("resource"), errors),
        (None, Some(service)) => validate_service(service, path, errors),
        (None, None) => {
            let why = "resource or service backend is required";
            errors.push(Error::invalid(path, "", why));
        }
    }
}

fn validate_service(service: &Value, path: &Path, errors: &mut ErrorList) {
    let of = path.child("service");
    let name = str_at(service, &["name"]);
    match name {
        "" => errors.push(Error::required(&of.child("name"), "")),
        _ => validate::each(errors, &of.child("name"), name, names::dns1123_label(name)),
    }
    let port = str_at(service, &["port", "name"]);
    let number = i64_at(service, &["port", "number"]).unwrap_or_default();
    let of = of.child("port");
    match (port.is_empty(), number) {
        (false, 0) => validate::each(errors, &of.child("name"), port, names::port_name(port)),
        (false, _) => {
            let why = "cannot set both port name & port number";
            errors.push(Error::invalid(path, "", why));
        }
        (true, 0) => errors.push(Error::required(path, "port name or number is required")),
        (true, number) => validate::port(errors, &of.child("number"), Some(number)),
    }
}

fn secret_name(tls: &Value) -> Vec<String> {
    match str_at(tls, &["secretName"]) {
        "" => Vec::new(),
        name => names::dns1123_subdomain(name),
    }
}

fn validate_tls(tls: &Value, leave: &Leave, path: &Path, errors: &mut ErrorList) {
    for (index, host) in list_at(tls, &["hosts"]).iter().enumerate() {
        let host = host.as_str().unwrap_or_default();
        validate_host(host, &path.child("hosts").index(index), errors);
    }
    if !leave.secret_names {
        let name = str_at(tls, &["secretName"]);
        validate::each(errors, &path.child("secretName"), name, secret_name(tls));
    }
}
