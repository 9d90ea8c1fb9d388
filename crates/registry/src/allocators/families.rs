//! The families of a Service, and the policy by which they were chosen: upstream's `initIPFamilyFields`.

use std::net::IpAddr;

use knarr_api::core::service::address_errors;
use knarr_meta::{
    field::{self, ErrorList, Path},
    object,
    status::Status,
};
use serde_json::{Value, json};

use super::{
    cidr::Family,
    cluster_ip::{invalid, strings},
    service,
};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// What of a Service is about families.
struct Fields {
    policy: String,
    families: Vec<String>,
    ips: Vec<String>,
}

impl Fields {
    fn of(service: &Value) -> Fields {
        Fields {
            policy: object::str_at(service, &["spec", "ipFamilyPolicy"]).to_owned(),
            families: strings(service, "ipFamilies"),
            ips: strings(service, "clusterIPs"),
        }
    }

    fn is_single(&self) -> bool {
        self.policy == SINGLE
    }
}

/// Fills `ipFamilyPolicy` and `ipFamilies`, and refuses families that the cluster does not have. A Service changes between one and two
/// families only where its policy says so, whatever families the cluster has by now.
pub(super) fn init(new: &mut Value, old: Option<&Value>, cluster: &[Family]) -> Result<(), Status> {
    let before = old.map(Fields::of);
    if service::is_external_name(new) || old.is_some_and(|old| stays_as_it_is(new, old)) {
        return Ok(());
    }
    let mut fields = Fields::of(new);
    let loose = service::is_headless(new) && !service::has_selector(new);
    if fields.policy.is_empty() {
        let kept = before.as_ref().map(|before| before.policy.clone());
        let usual = if loose { REQUIRE } else { SINGLE };
        fields.policy = kept
            .filter(|kept| !kept.is_empty())
            .unwrap_or_else(|| usual.to_owned());
    }
    let errors = address_errors(new);
    if !errors.is_empty() {
        return Err(invalid(new, errors));
    }
    let mut errors = ErrorList::new();
    if let Some(before) = &before {
        reduce(&mut fields, before, &mut errors);
    }
    check_single(&fields, &mut errors);
    infer(&mut fields, cluster, &mut errors);
    if errors.is_empty() && !loose {
        check_configured(&fields, cluster, &mut errors);
    }
    if !errors.is_empty() {
        return Err(invalid(new, errors));
    }
    complete(&mut fields, loose, cluster);
    if let Some(spec) = service::spec(new) {
        if !fields.ips.is_empty() {
            spec.insert("clusterIPs".into(), json!(fields.ips));
        }
        spec.insert("ipFamilyPolicy".into(), fields.policy.into());
        spec.insert("ipFamilies".into(), json!(fields.families));
    }
    Ok(())
}

/// One that has what it prefers, as the cluster was when it got it, stays so.
fn stays_as_it_is(new: &Value, old: &Value) -> bool {
    let (now, before) = (Fields::of(new), Fields::of(old));
    service::kind(new) == service::kind(old)
        && now.policy == PREFER
        && (before.policy == PREFER || before.policy.is_empty())
        && now.ips == before.ips
        && now.families == before.families
}

/// To one family by the policy alone; by fewer addresses or families only where the policy says so.
fn reduce(fields: &mut Fields, before: &Fields, errors: &mut ErrorList) {
    if fields.is_single() {
        if fields.ips == before.ips {
            fields.ips.truncate(1);
        }
        if fields.families == before.families {
            fields.families.truncate(1);
        }
        return;
    }
    let path = Path::new("spec").child("ipFamilyPolicy");
    for (now, before, what) in [
        (&fields.ips, &before.ips, "cluster IP"),
        (&fields.families, &before.families, "IP family"),
    ] {
        if !now.is_empty() && now.len() < before.len() {
            let detail = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(field::Error::invalid(&path, fields.policy.as_str(), detail));
        }
    }
}

fn check_single(fields: &Fields, errors: &mut ErrorList) {
    if !fields.is_single() {
        return;
    }
    let path = Path::new("spec").child("ipFamilyPolicy");
    for (count, what) in [
        (fields.ips.len(), "cluster IPs"),
        (fields.families.len(), "IP families"),
    ] {
        if count == 2 {
            let detail = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(field::Error::invalid(&path, SINGLE, detail));
        }
    }
}

/// Families follow from addresses.
fn infer(fields: &mut Fields, cluster: &[Family], errors: &mut ErrorList) {
    for (at, ip) in fields.ips.iter().enumerate() {
        // None, which is no address.
        let Ok(ip) = ip.parse::<IpAddr>() else { break };
        let family = Family::of(ip.is_ipv6());
        if at < fields.families.len() {
            continue;
        }
        if cluster.contains(&family) {
            fields.families.push(family.to_string());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(at);
            let detail = format!("{family} is not configured on this cluster");
            errors.push(field::Error::invalid(&path, json!(fields.ips), detail));
        }
    }
}

fn check_configured(fields: &Fields, cluster: &[Family], errors: &mut ErrorList) {
    let spec = Path::new("spec");
    if fields.policy == REQUIRE && cluster.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        let path = spec.child("ipFamilyPolicy");
        errors.push(field::Error::invalid(&path, REQUIRE, detail));
    }
    for (at, family) in fields.families.iter().enumerate() {
        if !Family::parse(family).is_some_and(|family| cluster.contains(&family)) {
            let path = spec.child("ipFamilies").index(at);
            let detail = "not configured on this cluster";
            errors.push(field::Error::invalid(&path, family.as_str(), detail));
        }
    }
}

/// The cluster's primary family, and the other one where it is wanted and there. Of one without selector, whose endpoints are somebody
/// else's, it is there in any cluster.
fn complete(fields: &mut Fields, loose: bool, cluster: &[Family]) {
    if fields.families.is_empty() {
        let primary = cluster.first();
        fields.families.extend(primary.map(ToString::to_string));
    }
    if let [one] = fields.families.as_slice()
        && !fields.is_single()
        && (loose || cluster.len() == 2)
        && let Some(one) = Family::parse(one)
    {
        fields.families.push(one.other().to_string());
    }
}
