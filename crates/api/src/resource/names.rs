//! Names of drivers, pools, devices and their attributes.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
};

use crate::{
    core::pod_spec::{validate_csi_driver_name, validate_declared_driver_name},
    validate,
};

const MAX_POOL_BYTES: usize = 253;
const MAX_ID_BYTES: usize = 32;
const MAX_DOMAIN_BYTES: usize = 63;
/// A domain, a slash and an identifier.
pub(super) const MAX_QUALIFIED_BYTES: usize = MAX_DOMAIN_BYTES + 1 + MAX_ID_BYTES;

/// Drivers are named as CSI drivers are.
pub(super) fn driver(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    validate_csi_driver_name(name, path, errors);
}

/// The same, where the rule is declared with the type.
pub(super) fn declared_driver(name: &str, path: &Path, errors: &mut ErrorList) {
    validate_declared_driver_name(name, path, errors);
}

/// Subdomains with slashes between them.
pub(super) fn pool(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > MAX_POOL_BYTES {
        errors.push(Error::too_long(path, MAX_POOL_BYTES));
    }
    for part in name.split('/') {
        validate::each(errors, path, part, names::dns1123_subdomain(part));
    }
}

/// A device, a request or a counter.
pub(super) fn label(name: &str, path: &Path, errors: &mut ErrorList) {
    validate::each(errors, path, name, names::dns1123_label(name));
}

/// A label that must be there.
pub(super) fn required_label(name: &str, path: &Path, errors: &mut ErrorList) {
    match name {
        "" => errors.push(Error::required(path, "")),
        name => label(name, path, errors),
    }
}

/// A node.
pub(super) fn node(name: &str, path: &Path, errors: &mut ErrorList) {
    validate::each(errors, path, name, names::dns1123_subdomain(name));
}

/// `identifier` or `domain/identifier`. Upstream lets names with more slashes pass.
pub(super) fn qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            match domain {
                "" => errors.push(Error::invalid(path, "", "the domain must not be empty")),
                domain => driver(domain, path, errors),
            }
            match id {
                "" => errors.push(Error::invalid(path, "", "the name must not be empty")),
                id => identifier(id, path, errors),
            }
        }
        _ => {}
    }
}

/// `domain/identifier`, by a rule that is declared with the types, and has words of its own.
pub(super) fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            match domain {
                "" => errors.push(Error::invalid(path, "", "prefix must not be empty")),
                domain => prefix(domain, path, errors),
            }
            match id {
                "" => errors.push(Error::invalid(path, "", "name must not be empty")),
                id => identifier(id, path, errors),
            }
        }
        _ => {}
    }
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, name, why));
    }
}

fn prefix(domain: &str, path: &Path, errors: &mut ErrorList) {
    if domain.len() > MAX_DOMAIN_BYTES {
        errors.push(Error::too_long(path, MAX_DOMAIN_BYTES));
    }
    for message in names::long_name(domain) {
        errors.push(Error::invalid(path, domain, format!("prefix: {message}")));
    }
}

fn identifier(id: &str, path: &Path, errors: &mut ErrorList) {
    if id.len() > MAX_ID_BYTES {
        errors.push(Error::too_long(path, MAX_ID_BYTES));
    }
    validate::each(errors, path, id, names::c_identifier(id));
}

/// A UUID in the form that the API writes.
pub(super) fn uid(uid: &str, path: &Path, errors: &mut ErrorList) {
    let dashes = [8, 13, 18, 23];
    let normal = |(at, byte): (usize, u8)| match dashes.contains(&at) {
        true => byte == b'-',
        false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    if uid.len() != 36 || !uid.bytes().enumerate().all(normal) {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(Error::invalid(path, uid, why));
    }
}
