//! ClusterIPs, one of each of a Service's families.

use std::net::IpAddr;

use knarr_meta::{
    GroupKind,
    field::{self, ErrorList, Path},
    object,
    status::Status,
};
use serde_json::{Value, json};

use super::{cidr::Family, pool::Refused, service, taking::Taking};

pub(super) fn invalid(service: &Value, errors: ErrorList) -> Status {
    Status::invalid(GroupKind::new("", "Service"), object::name(service), errors)
}

pub(super) fn strings(service: &Value, field: &str) -> Vec<String> {
    object::list_at(service, &["spec", field])
        .iter()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect()
}

/// From which of its families on this write takes an address: of all for a new Service, or one that was an ExternalName; of the second
/// one for a Service that gets it. Any other change of an address is for validation to refuse.
pub(super) fn takes_from(new: &Value, old: Option<&Value>) -> Option<usize> {
    if service::is_external_name(new) || service::is_headless(new) {
        return None;
    }
    let Some(old) = old.filter(|old| !service::is_external_name(old)) else {
        return Some(0);
    };
    let families = |service: &Value| strings(service, "ipFamilies").len();
    let upgrades = !service::is_headless(old) && families(old) == 1 && families(new) == 2;
    upgrades.then_some(1)
}

/// Takes the addresses that the Service names, or chooses them.
pub(super) async fn take(new: &mut Value, from: usize, taking: &mut Taking) -> Result<(), Status> {
    let families = strings(new, "ipFamilies");
    let mut ips = strings(new, "clusterIPs");
    ips.resize(families.len().max(ips.len()), String::new());
    for at in from..families.len() {
        // What is no family or no address is for validation to refuse.
        let Some(family) = Family::parse(&families[at]) else {
            return Ok(());
        };
        if ips[at].is_empty() {
            let full = |_| {
                Status::internal(format_args!(
                    "failed to allocate a serviceIP for Service {:?}: range is full",
                    object::name(new)
                ))
            };
            let ip = taking.any_ip(family).await;
            ips[at] = ip.map_err(|denied| denied.or(full))?.to_string();
            continue;
        }
        match ips[at].parse() {
            Ok(ip) => take_given(new, ip, &ips, taking).await?,
            Err(_) => return Ok(()),
        }
    }
    if let Some(spec) = service::spec(new) {
        if from == 0 {
            spec.insert("clusterIP".into(), json!(ips.first()));
        }
        spec.insert("clusterIPs".into(), json!(ips));
    }
    Ok(())
}

async fn take_given(
    service: &Value,
    ip: IpAddr,
    all: &[String],
    taking: &mut Taking,
) -> Result<(), Status> {
    let taken = taking.ip(ip).await;
    let around = taking.range_around(ip);
    let told = |refused| {
        let why = match refused {
            Refused::Taken | Refused::Full => "provided IP is already allocated".to_owned(),
            Refused::OutOfRange => match around {
                Some(range) => format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                ),
                None => "the provided network does not match the current range".to_owned(),
            },
        };
        let path = Path::new("spec").child("clusterIPs");
        invalid(
            service,
            vec![field::Error::invalid(
                &path,
                json!(all),
                format!("failed to allocate IP {ip}: {why}"),
            )],
        )
    };
    taken.map_err(|denied| denied.or(told))
}
