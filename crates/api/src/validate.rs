//! Checks that validations of many kinds share, with upstream's wording.

mod conditions;
pub(crate) mod webhook;

use std::net::IpAddr;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, str_at, struct_at},
    object_meta,
};
use serde_json::{Map, Value};

use crate::tree;

pub(crate) use conditions::conditions;

pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// One `Invalid` for each message.
pub(crate) fn each(errors: &mut ErrorList, path: &Path, value: &str, messages: Vec<String>) {
    errors.extend(
        messages
            .into_iter()
            .map(|message| Error::invalid(path, value, message)),
    );
}

/// A rule for a text: what is wrong with it.
pub(crate) type Rule = fn(&str) -> Vec<String>;

/// A field of `owner` whose text follows a rule, where it is there.
pub(crate) fn optional(
    errors: &mut ErrorList,
    owner: &Value,
    field: &'static str,
    path: &Path,
    rule: Rule,
) {
    let text = str_at(owner, &[field]);
    if !text.is_empty() {
        each(errors, &path.child(field), text, rule(text));
    }
}

/// As [`optional`], of a field whose Go type is a pointer: who says "" has said something.
pub(crate) fn optional_pointer(
    errors: &mut ErrorList,
    owner: &Value,
    field: &'static str,
    path: &Path,
    rule: Rule,
) {
    if let Some(text) = owner.get(field).and_then(Value::as_str) {
        each(errors, &path.child(field), text, rule(text));
    }
}

/// A field of `owner` that must be there, and whose text follows a rule.
pub(crate) fn required(
    errors: &mut ErrorList,
    owner: &Value,
    field: &'static str,
    path: &Path,
    rule: Rule,
) {
    filled(errors, owner, &[field], path);
    optional(errors, owner, field, path, rule);
}

/// Fields of `owner` that must hold a text, whichever.
pub(crate) fn filled(errors: &mut ErrorList, owner: &Value, fields: &[&'static str], path: &Path) {
    for field in fields {
        if str_at(owner, &[field]).is_empty() {
            errors.push(Error::required(&path.child(*field), ""));
        }
    }
}

/// A required DNS-1123 label.
pub(crate) fn label(errors: &mut ErrorList, path: &Path, value: &str) {
    each(errors, path, value, names::dns1123_label(value));
}

/// An enumeration; `required` says whether the empty value is an error.
pub(crate) fn one_of(
    errors: &mut ErrorList,
    path: &Path,
    value: &str,
    supported: &[&str],
    required: bool,
) {
    if value.is_empty() {
        if required {
            errors.push(Error::required(path, ""));
        }
    } else if !supported.contains(&value) {
        errors.push(Error::not_supported(path, value, supported));
    }
}

/// A number that is not negative.
pub(crate) fn not_negative(errors: &mut ErrorList, path: &Path, value: Option<i64>) {
    if let Some(value) = value
        && value < 0
    {
        errors.push(Error::invalid(path, value, NOT_NEGATIVE));
    }
}

/// Number fields of `owner`, none of which may be negative.
pub(crate) fn none_negative(
    errors: &mut ErrorList,
    owner: &Value,
    fields: &[&'static str],
    path: &Path,
) {
    for field in fields {
        not_negative(errors, &path.child(*field), i64_at(owner, &[field]));
    }
}

/// The protocol of a port.
pub(crate) fn protocol(errors: &mut ErrorList, port: &Value, path: &Path) {
    one_of(
        errors,
        &path.child("protocol"),
        str_at(port, &["protocol"]),
        &["SCTP", "TCP", "UDP"],
        true,
    );
}

/// A union: `owner` has exactly one of these fields. What `validate` says of the first stands before what is wrong with the
/// others; `kind` is what upstream calls such a field.
pub(crate) fn one_field(
    errors: &mut ErrorList,
    owner: &Value,
    fields: &[&'static str],
    kind: &str,
    path: &Path,
    validate: impl Fn(&'static str, &Value, &Path, &mut ErrorList),
) {
    let mut found = false;
    for field in fields {
        let Some(value) = struct_at(owner, &[field]) else {
            continue;
        };
        let shown = match *field {
            // Upstream misspells sources of volumes where they are too many.
            "cephfs" if found => "cephFS",
            "downwardAPI" if found => "downwarAPI",
            field => field,
        };
        let path = path.child(shown);
        if found {
            errors.push(Error::forbidden(
                &path,
                format!("may not specify more than 1 {kind}"),
            ));
        } else {
            found = true;
            validate(field, value, &path, errors);
        }
    }
    if !found {
        errors.push(Error::required(path, format!("must specify a {kind}")));
    }
}

/// A port number; absent counts as 0 and is out of range.
pub(crate) fn port(errors: &mut ErrorList, path: &Path, value: Option<i64>) {
    let value = value.unwrap_or_default();
    for message in names::port_number(value) {
        errors.push(Error::invalid(path, value, message));
    }
}

/// A port number or the name of a port.
pub(crate) fn port_or_name(errors: &mut ErrorList, path: &Path, value: &Value) {
    match value {
        Value::String(name) => each(errors, path, name, names::port_name(name)),
        other => port(errors, path, other.as_i64()),
    }
}

/// A field that updates may not change. Empty and absent are the same.
pub(crate) fn immutable(
    errors: &mut ErrorList,
    path: &Path,
    new: Option<&Value>,
    old: Option<&Value>,
) {
    if !tree::same(new, old) {
        errors.push(Error::invalid(
            path,
            new.cloned().unwrap_or_default(),
            knarr_meta::object_meta::IMMUTABLE,
        ));
    }
}

/// As [`immutable`], of a field whose rule upstream has declared with its type: such an error shows no value.
pub(crate) fn declared_immutable(
    errors: &mut ErrorList,
    path: &Path,
    new: Option<&Value>,
    old: Option<&Value>,
) {
    if !tree::same(new, old) {
        errors.push(Error::invalid_nil(path, knarr_meta::object_meta::IMMUTABLE));
    }
}

/// What `immutable: true` of ConfigMaps and Secrets freezes.
pub(crate) fn frozen(errors: &mut ErrorList, new: &Value, old: &Value, fields: &[&'static str]) {
    const MESSAGE: &str = "field is immutable when `immutable` is set";
    if !knarr_meta::object::bool_at(old, &["immutable"]) {
        return;
    }
    if !knarr_meta::object::bool_at(new, &["immutable"]) {
        errors.push(Error::forbidden(&Path::new("immutable"), MESSAGE));
    }
    for field in fields {
        if !tree::same(new.get(field), old.get(field)) {
            errors.push(Error::forbidden(&Path::new(*field), MESSAGE));
        }
    }
}

/// An address that can be an endpoint's or an external address: no loopback, link-local or unspecified one.
pub(crate) fn non_special_ip(errors: &mut ErrorList, path: &Path, value: &str) {
    let Ok(ip) = value.parse::<IpAddr>() else {
        errors.push(Error::invalid(path, value, "must be a valid IP address"));
        return;
    };
    // One in IPv6's clothes is the same address.
    let ip = ip.to_canonical();
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.segments()[0] & 0xffc0 == 0xfe80,
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    let mut refuse = |message: String| errors.push(Error::invalid(path, value, message));
    if ip.is_unspecified() {
        refuse(format!("may not be unspecified ({value})"));
    }
    if ip.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if link_local_multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
}

/// Finalizers, for kinds whose updates upstream validates as it does new objects.
pub(crate) fn finalizers(errors: &mut ErrorList, object: &Value) {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    object_meta::validate_finalizers(metadata, &Path::new("metadata"), errors);
}

/// Length of what a base64 text decodes to.
pub(crate) fn base64_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// The data of a ConfigMap or a Secret: its keys follow their rule. Returns its size in bytes, of which `length` knows each
/// value's.
pub(crate) fn data(
    errors: &mut ErrorList,
    data: Option<&Value>,
    path: &Path,
    length: fn(&str) -> usize,
) -> usize {
    let mut total = 0;
    for (key, value) in entries(data) {
        each(errors, &path.key(key), key, names::config_map_key(key));
        total += length(value);
    }
    total
}

/// The entries of a map of strings.
pub(crate) fn entries(map: Option<&Value>) -> impl Iterator<Item = (&String, &str)> {
    map.and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}
