//! Validation of probes and lifecycle hooks.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate;

/// `grace`: how many seconds the pod may take to end.
pub(super) fn validate_lifecycle(
    container: &Value,
    grace: Option<i64>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = struct_at(container, &["lifecycle", hook]) {
            validate_handler(
                handler,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                grace,
                &path.child(hook),
                errors,
            );
        }
    }
}

pub(super) fn validate_probes(container: &Value, path: &Path, errors: &mut ErrorList) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = struct_at(container, &[kind]) else {
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
        None,
        path,
        errors,
    );
    validate::none_negative(
        errors,
        probe,
        &[
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ],
        path,
    );
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

fn validate_handler(
    handler: &Value,
    kinds: &[&'static str],
    grace: Option<i64>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate::one_field(
        errors,
        handler,
        kinds,
        "handler type",
        path,
        |kind, action, path, errors| match kind {
            "exec" if list_at(action, &["command"]).is_empty() => {
                errors.push(Error::required(&path.child("command"), ""));
            }
            "exec" => {}
            "httpGet" => validate_http_get(action, path, errors),
            "sleep" => validate_sleep(action, grace, path, errors),
            _ => {
                let port = action.get("port").unwrap_or(&Value::Null);
                validate::port_or_name(errors, &path.child("port"), port);
            }
        },
    );
}

fn validate_sleep(action: &Value, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    let seconds = i64_at(action, &["seconds"]).unwrap_or_default();
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        errors.push(Error::invalid(
            path,
            seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        ));
    }
}

fn validate_http_get(action: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, action, &["path"], path);
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
