//! ClusterIPs and the IP family fields, for a cluster of one family.

use std::net::IpAddr;

use knarr_meta::{
    GroupKind,
    field::{self, ErrorList, Path},
    object,
    status::Status,
};
use serde_json::{Value, json};

use super::{
    cidr::{Cidr, family},
    pool::Refused,
    service,
    taking::Taking,
};

fn invalid(service: &Value, errors: ErrorList) -> Status {
    Status::invalid(GroupKind::new("", "Service"), object::name(service), errors)
}

fn strings(service: &Value, field: &str) -> Vec<String> {
    object::list_at(service, &["spec", field])
        .iter()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect()
}

/// Fills `ipFamilyPolicy` and `ipFamilies`, and refuses families that the cluster does not have.
pub(super) fn init_families(
    new: &mut Value,
    old: Option<&Value>,
    cidr: &Cidr,
) -> Result<(), Status> {
    if service::is_external_name(new) {
        return Ok(());
    }
    let headless_without_selector = service::is_headless(new) && !service::has_selector(new);
    let policy = match object::str_at(new, &["spec", "ipFamilyPolicy"]) {
        "" => match old.map_or("", |old| object::str_at(old, &["spec", "ipFamilyPolicy"])) {
            "" if headless_without_selector => "RequireDualStack",
            "" => "SingleStack",
            kept => kept,
        },
        given => given,
    }
    .to_owned();
    let single = policy == "SingleStack";
    let mut families = strings(new, "ipFamilies");
    let ips = strings(new, "clusterIPs");
    let mut errors = check_single(&policy, &ips, &families);
    for (at, ip) in ips
        .iter()
        .enumerate()
        .filter_map(|(at, ip)| Some((at, ip.parse::<IpAddr>().ok()?)))
    {
        if at >= families.len() {
            if ip.is_ipv6() == cidr.is_v6() {
                families.push(family(ip.is_ipv6()).into());
            } else {
                let path = Path::new("spec").child("clusterIPs").index(at);
                let detail = format!("{} is not configured on this cluster", family(ip.is_ipv6()));
                errors.push(field::Error::invalid(&path, json!(ips), detail));
            }
        }
    }
    if !errors.is_empty() {
        return Err(invalid(new, errors));
    }

    if families.is_empty() {
        families.push(cidr.family().into());
    }
    if headless_without_selector {
        if families.len() < 2 && !single {
            families.push(family(families[0] == "IPv4").into());
        }
    } else {
        check_configured(new, &policy, &families, cidr)?;
    }
    if let Some(spec) = service::spec(new) {
        spec.insert("ipFamilyPolicy".into(), policy.into());
        spec.insert("ipFamilies".into(), json!(families));
    }
    Ok(())
}

fn check_single(policy: &str, ips: &[String], families: &[String]) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy != "SingleStack" {
        return errors;
    }
    let path = Path::new("spec").child("ipFamilyPolicy");
    for (count, what) in [(ips.len(), "cluster IPs"), (families.len(), "IP families")] {
        if count == 2 {
            let detail = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(field::Error::invalid(&path, policy, detail));
        }
    }
    errors
}

fn check_configured(
    service: &Value,
    policy: &str,
    families: &[String],
    cidr: &Cidr,
) -> Result<(), Status> {
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(field::Error::invalid(
            &spec.child("ipFamilyPolicy"),
            policy,
            detail,
        ));
    }
    for (at, family) in families
        .iter()
        .enumerate()
        .filter(|(_, family)| *family != cidr.family())
    {
        let path = spec.child("ipFamilies").index(at);
        errors.push(field::Error::invalid(
            &path,
            family.as_str(),
            "not configured on this cluster",
        ));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(service, errors))
    }
}

/// True where this write takes an address: a new Service, or one that was an ExternalName. Any other change of an address is
/// for validation to refuse.
pub(super) fn takes(new: &Value, old: Option<&Value>) -> bool {
    !service::is_external_name(new)
        && !service::is_headless(new)
        && old.is_none_or(service::is_external_name)
}

/// Takes the address that the Service names, or chooses one.
pub(super) async fn take(new: &mut Value, taking: &mut Taking) -> Result<(), Status> {
    let ips = strings(new, "clusterIPs");
    let ip = match ips.first().map(String::as_str).unwrap_or_default() {
        "" => {
            let full = |_| Status::internal("failed to allocate a serviceIP: range is full");
            let ip = taking.any_ip().await.map_err(|denied| denied.or(full))?;
            ip.to_string()
        }
        // What is no address is for validation to refuse.
        given => match given.parse() {
            Ok(ip) => {
                take_given(new, ip, &ips, taking).await?;
                return Ok(());
            }
            Err(_) => return Ok(()),
        },
    };
    if let Some(spec) = service::spec(new) {
        spec.insert("clusterIP".into(), ip.as_str().into());
        spec.insert("clusterIPs".into(), json!([ip]));
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
