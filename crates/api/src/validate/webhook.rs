//! Where a webhook is: the same for admission and for conversion, with upstream's wording (`apiserver/pkg/util/webhook`).

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, str_at},
};
use serde_json::Value;

/// A WebhookClientConfig.
pub(crate) fn client_config(config: &Value, path: &Path, errors: &mut ErrorList) {
    match (config.get("url"), config.get("service")) {
        (Some(url), None) => {
            self::url(url.as_str().unwrap_or_default(), &path.child("url"), errors)
        }
        (None, Some(service)) => self::service(service, &path.child("service"), errors),
        _ => errors.push(Error::required(
            path,
            "exactly one of url or service is required",
        )),
    }
}

fn url(url: &str, path: &Path, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, scheme, why));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() {
        ""
    } else {
        rest.split('/').next().unwrap_or_default()
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(Error::invalid(
            path,
            host,
            format!("host must be specified{FORM}"),
        ));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.push(Error::invalid(path, part, why));
        }
    }
}

/// Upstream tells a missing name as a missing namespace, and the other way round.
fn service(service: &Value, path: &Path, errors: &mut ErrorList) {
    for (field, told) in [("namespace", "name"), ("name", "namespace")] {
        if str_at(service, &[field]).is_empty() {
            errors.push(Error::required(&path.child(told), ""));
        }
    }
    let port = i64_at(service, &["port"]).unwrap_or_default();
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, why));
    }
    url_path(str_at(service, &["path"]), &path.child("path"), errors);
}

fn url_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        errors.push(Error::invalid(path, text, "segment[0] may not be empty"));
        return;
    }
    if !text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must start with a '/'"));
    }
    // Upstream leaves out the first byte, whether it is a slash or not: what is left of a letter of several is none.
    let first = text.chars().next().map_or(0, char::len_utf8);
    let rest = match first {
        0 | 1 => String::new(),
        _ => char::REPLACEMENT_CHARACTER.to_string(),
    };
    let steps = rest + &text[first..];
    let steps = steps.strip_suffix('/').unwrap_or(&steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.push(Error::invalid(path, text, why));
            continue;
        }
        for wrong in names::dns1123_subdomain(step) {
            errors.push(Error::invalid(
                path,
                text,
                format!("segment[{index}]: {wrong}"),
            ));
        }
    }
}
