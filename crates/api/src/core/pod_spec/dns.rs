//! Validation of what a pod finds when it looks up names.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{bool_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate;

/// What a kernel keeps.
const MAX_HOSTNAME_BYTES: usize = 64;
const MAX_DNS_NAMESERVERS: usize = 3;
const MAX_DNS_SEARCH_PATHS: usize = 32;
const MAX_DNS_SEARCH_LIST_CHARS: usize = 2048;

/// `dnsConfig`. The policy `None` needs one.
pub(super) fn validate_config(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let policy = str_at(spec, &["dnsPolicy"]);
    let config = struct_at(spec, &["dnsConfig"]);
    let nameservers = list_at(spec, &["dnsConfig", "nameservers"]);
    if policy == "None" {
        if config.is_none() {
            errors.push(Error::required(
                path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ));
            return;
        }
        if nameservers.is_empty() {
            errors.push(Error::required(
                &path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            ));
            return;
        }
    }
    let Some(config) = config else { return };
    if nameservers.len() > MAX_DNS_NAMESERVERS {
        errors.push(Error::invalid(
            &path.child("nameservers"),
            nameservers.to_vec(),
            format!("must not have more than {MAX_DNS_NAMESERVERS} nameservers"),
        ));
    }
    for (index, server) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("nameservers").index(index);
        validate::each(errors, &path, server, names::ip(server));
    }
    validate_searches(list_at(config, &["searches"]), path, errors);
    for (index, option) in list_at(config, &["options"]).iter().enumerate() {
        if str_at(option, &["name"]).is_empty() {
            errors.push(Error::required(
                &path.child("options").index(index),
                "must not be empty",
            ));
        }
    }
}

fn validate_searches(searches: &[Value], path: &Path, errors: &mut ErrorList) {
    let path = path.child("searches");
    if searches.len() > MAX_DNS_SEARCH_PATHS {
        errors.push(Error::invalid(
            &path,
            searches.to_vec(),
            format!("must not have more than {MAX_DNS_SEARCH_PATHS} search paths"),
        ));
    }
    let mut length = searches.len().saturating_sub(1);
    for (index, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        length += search.len();
        if search == "." {
            continue;
        }
        let name = search.strip_suffix('.').unwrap_or(search);
        let messages = names::dns1123_subdomain_with_underscore(name);
        validate::each(errors, &path.index(index), name, messages);
    }
    if length > MAX_DNS_SEARCH_LIST_CHARS {
        errors.push(Error::invalid(
            &path,
            searches.to_vec(),
            format!(
                "must not have more than {MAX_DNS_SEARCH_LIST_CHARS} characters (including spaces) in the search list"
            ),
        ));
    }
}

/// The name that takes the place of a pod's own.
pub(super) fn validate_hostname_override(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else {
        return;
    };
    let path = path.child("hostnameOverride");
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if bool_at(spec, &[field]) {
            let why = format!("may not be specified when {field} is true");
            errors.push(Error::forbidden(&path, why));
        }
    }
    if name.len() > MAX_HOSTNAME_BYTES {
        errors.push(Error::too_long(&path, MAX_HOSTNAME_BYTES));
    }
    validate::each(errors, &path, name, names::dns1123_subdomain(name));
}

pub(super) fn validate_host_aliases(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(index);
        let ip = str_at(alias, &["ip"]);
        validate::each(errors, &path.child("ip"), ip, names::ip(ip));
        let names = list_at(alias, &["hostnames"]);
        for (index, name) in names.iter().filter_map(Value::as_str).enumerate() {
            validate::each(
                errors,
                &path.child("hostnames").index(index),
                name,
                names::dns1123_subdomain(name),
            );
        }
    }
}
