//! What a claim was given, by the scheduler, and how it is, by drivers.

use std::{collections::BTreeSet, net::IpAddr};

use knarr_meta::{
    field::{Error, ErrorList, Path, quote},
    object::{self, child_mut, list_at, str_at, struct_at},
};
use serde_json::{Value, json};

use crate::{
    core::pod_spec::validate_node_selector,
    resource::{bounded, claim_spec, names, selectors, taints},
    tree, validate,
};

const MAX_RESERVATIONS: usize = 256;
const MAX_RESULTS: usize = 32;
/// Those of the class and those of the claim.
const MAX_CONFIGS: usize = 2 * claim_spec::MAX_CONFIGS;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA_BYTES: usize = 10 * 1024;
const MAX_INTERFACE_NAME_BYTES: usize = 256;
const MAX_HARDWARE_ADDRESS_BYTES: usize = 128;
const MAX_IPS: usize = 16;

/// Driver, pool, device and share: what makes two devices the same.
type DeviceId<'o> = [&'o str; 4];

fn device_id(device: &Value) -> DeviceId<'_> {
    ["driver", "pool", "device", "shareID"].map(|field| str_at(device, &[field]))
}

/// As upstream shows it: a struct of Go's.
fn shown([driver, pool, device, share]: DeviceId<'_>) -> Value {
    json!({"Driver": driver, "Pool": pool, "Device": device, "ShareID": share})
}

fn allocated(object: &Value) -> BTreeSet<DeviceId<'_>> {
    let results = list_at(object, &["status", "allocation", "devices", "results"]);
    results.iter().map(device_id).collect()
}

/// Drops what is said of devices that the claim has no longer.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let now: BTreeSet<[String; 4]> = allocated(new).into_iter().map(owned).collect();
    let gone: BTreeSet<[String; 4]> = allocated(old)
        .into_iter()
        .map(owned)
        .filter(|id| !now.contains(id))
        .collect();
    let Some(status) = child_mut(new, "status") else {
        return;
    };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else {
        return;
    };
    devices.retain(|device| !gone.contains(&owned(device_id(device))));
    if devices.is_empty() {
        status.remove("devices");
    }
}

fn owned(id: DeviceId<'_>) -> [String; 4] {
    id.map(str::to_owned)
}

pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let reserved = list_at(new, &["status", "reservedFor"]);
    let reserved_path = path.child("reservedFor");
    bounded::set(
        reserved,
        MAX_RESERVATIONS,
        &reserved_path,
        &mut errors,
        |consumer| str_at(consumer, &["uid"]).to_owned(),
        |consumer, path, errors| {
            validate::filled(errors, consumer, &["resource", "name", "uid"], path);
        },
    );
    let known = allocated(new);
    bounded::set(
        list_at(new, &["status", "devices"]),
        usize::MAX,
        &path.child("devices"),
        &mut errors,
        |device| shown(device_id(device)).to_string(),
        |device, path, errors| {
            validate_device(device, &known, path, errors);
        },
    );
    let of = |object| struct_at(object, &["status", "allocation"]);
    let (allocation, before) = (of(new), of(old));
    if !reserved.is_empty() && allocation.is_none() {
        let why = "may not be specified when `allocated` is not set";
        errors.push(Error::forbidden(&reserved_path, why));
    } else if object::deletion_timestamp(new).is_some() {
        let old = list_at(old, &["status", "reservedFor"]);
        if reserved.iter().any(|consumer| !old.contains(consumer)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(Error::forbidden(&reserved_path, why));
        }
    }
    let path = path.child("allocation");
    match (allocation, before) {
        (Some(_), Some(_)) if !tree::same(allocation, before) => {
            // Upstream's is declared, and shows no value.
            let why = "field cannot be modified once set";
            errors.push(Error::invalid(&path, Value::Null, why));
        }
        (Some(_), Some(_)) => {}
        (Some(allocation), None) => validate_allocation(new, allocation, &path, &mut errors),
        (None, _) => {}
    }
    errors
}

fn validate_allocation(claim: &Value, allocation: &Value, path: &Path, errors: &mut ErrorList) {
    let asked = object::at(claim, &["spec", "devices"]).unwrap_or(&Value::Null);
    let known = selectors::request_names(asked);
    let at = path.child("devices");
    bounded::slice(
        list_at(allocation, &["devices", "results"]),
        MAX_RESULTS,
        &at.child("results"),
        errors,
        |result, path, errors| {
            let text = |field| str_at(result, &[field]);
            let request = text("request");
            let at = path.child("request");
            selectors::validate_request_name(request, &known, &at, errors);
            names::declared_driver(text("driver"), &path.child("driver"), errors);
            names::pool(text("pool"), &path.child("pool"), errors);
            names::label(text("device"), &path.child("device"), errors);
            bounded::binding_conditions(result, path, errors);
            let tolerations = list_at(result, &["tolerations"]).iter();
            for (index, toleration) in tolerations.enumerate() {
                let path = path.child("tolerations").index(index);
                taints::validate_toleration(toleration, &path, errors);
            }
            validate_share(result, path, errors);
        },
    );
    bounded::slice(
        list_at(allocation, &["devices", "config"]),
        MAX_CONFIGS,
        &at.child("config"),
        errors,
        |config, path, errors| {
            let source = str_at(config, &["source"]);
            let sources = ["FromClaim", "FromClass"];
            validate::one_of(errors, &path.child("source"), source, &sources, true);
            claim_spec::validate_request_names(config, &known, path, errors);
            selectors::validate_config(config, false, path, errors);
        },
    );
    if let Some(selector) = struct_at(allocation, &["nodeSelector"]) {
        validate_node_selector(selector, &path.child("nodeSelector"), errors);
    }
}

fn validate_share(device: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(share) = device.get("shareID").and_then(Value::as_str) {
        names::uid(share, &path.child("shareID"), errors);
    }
}

fn validate_device(
    device: &Value,
    known: &BTreeSet<DeviceId<'_>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let text = |field| str_at(device, &[field]);
    names::driver(text("driver"), &path.child("driver"), errors);
    names::pool(text("pool"), &path.child("pool"), errors);
    names::label(text("device"), &path.child("device"), errors);
    validate_share(device, path, errors);
    let id = device_id(device);
    if !known.contains(&id) {
        let why = "must be an allocated device in the claim";
        errors.push(Error::invalid(path, shown(id), why));
    }
    let conditions = list_at(device, &["conditions"]);
    let at = path.child("conditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&at, conditions.len(), MAX_CONDITIONS));
    }
    validate::conditions(conditions, &at, errors);
    let data = device.get("data").filter(|data| !data.is_null());
    if data.is_some() {
        selectors::validate_raw(data, Some(MAX_DATA_BYTES), &path.child("data"), errors);
    }
    if let Some(network) = struct_at(device, &["networkData"]) {
        validate_network(network, &path.child("networkData"), errors);
    }
}

fn validate_network(network: &Value, path: &Path, errors: &mut ErrorList) {
    for (field, max) in [
        ("interfaceName", MAX_INTERFACE_NAME_BYTES),
        ("hardwareAddress", MAX_HARDWARE_ADDRESS_BYTES),
    ] {
        if str_at(network, &[field]).len() > max {
            errors.push(Error::too_long(&path.child(field), max));
        }
    }
    bounded::set(
        list_at(network, &["ips"]),
        MAX_IPS,
        &path.child("ips"),
        errors,
        bounded::text,
        |address, path, errors| {
            validate_address(address.as_str().unwrap_or_default(), path, errors);
        },
    );
}

/// An address of an interface, with the length of its network's prefix, in the one form that is canonical.
fn validate_address(text: &str, path: &Path, errors: &mut ErrorList) {
    match canonical_address(text) {
        None => errors.push(Error::invalid(
            path,
            text,
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        )),
        Some(canonical) if canonical != text => {
            let why = format!("must be in canonical form ({})", quote(&canonical));
            errors.push(Error::invalid(path, text, why));
        }
        Some(_) => {}
    }
}

fn canonical_address(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let bits = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    if length > bits(&address) {
        return None;
    }
    let plain = address.to_canonical();
    let length = match address.is_ipv6() && plain.is_ipv4() && length > 32 {
        true => length.saturating_sub(96),
        false => length,
    };
    Some(format!("{plain}/{length}"))
}
