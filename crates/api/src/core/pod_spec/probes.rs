//! Validation of probes and lifecycle hooks.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, i64_at, list_at, str_at},
};
use serde_json::Value;

use crate::validate;

pub(super) fn validate_lifecycle(container: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = at(container, &["lifecycle", hook]).filter(|v| v.is_object()) {
            validate_handler(
                handler,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                &path.child(hook),
                errors,
            );
        }
    }
}

pub(super) fn validate_probes(container: &Value, path: &Path, errors: &mut ErrorList) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(kind).filter(|v| v.is_object()) else {
            continue;
        };
        let path = path.child(kind);
        validate_probe(probe, &path, errors);
        let success = i64_at(probe, &["successThreshold"]).unwrap_or_default();
        if kind != "readinessProbe" && success != 1 {
            errors.push(Error::invalid(
                &path.child("successThreshold"),
                success,
                "must be 1",
            ));
        }
        let grace = i64_at(probe, &["terminationGracePeriodSeconds"]);
        if kind == "readinessProbe"
            && let Some(seconds) = grace
        {
            errors.push(Error::invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            ));
        }
    }
}

fn validate_probe(probe: &Value, path: &Path, errors: &mut ErrorList) {
    validate_handler(
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
        path,
        errors,
    );
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        validate::not_negative(errors, &path.child(field), i64_at(probe, &[field]));
    }
    if let Some(seconds) = i64_at(probe, &["terminationGracePeriodSeconds"])
        && seconds <= 0
    {
        errors.push(Error::invalid(
            &path.child("terminationGracePeriodSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
}

fn validate_handler(handler: &Value, kinds: &[&'static str], path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = handler.get(*kind).filter(|v| v.is_object()) else {
            continue;
        };
        let path = path.child(*kind);
        if found {
            errors.push(Error::forbidden(
                &path,
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        found = true;
        let port = action.get("port").unwrap_or(&Value::Null);
        match *kind {
            "exec" => {
                if list_at(action, &["command"]).is_empty() {
                    errors.push(Error::required(&path.child("command"), ""));
                }
            }
            "httpGet" => validate_http_get(action, &path, errors),
            "sleep" => {
                validate::not_negative(errors, &path.child("seconds"), i64_at(action, &["seconds"]))
            }
            _ => validate::port_or_name(errors, &path.child("port"), port),
        }
    }
    if !found {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}

fn validate_http_get(action: &Value, path: &Path, errors: &mut ErrorList) {
    if str_at(action, &["path"]).is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    let port = action.get("port").unwrap_or(&Value::Null);
    validate::port_or_name(errors, &path.child("port"), port);
    let scheme = str_at(action, &["scheme"]);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.push(Error::not_supported(
            &path.child("scheme"),
            scheme,
            &["HTTP", "HTTPS"],
        ));
    }
    for header in list_at(action, &["httpHeaders"]) {
        let name = str_at(header, &["name"]);
        validate::each(
            errors,
            &path.child("httpHeaders"),
            name,
            names::http_header_name(name),
        );
    }
}
