//! ClusterIPs and the IP family fields, for a cluster of one family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knarr_meta::{
    GroupKind,
    field::{self, ErrorList, Path},
    object,
    status::Status,
};
use serde_json::{Value, json};

use super::{Error, pool::Refused, service, taking::Taking};

/// Larger ranges are used in part only.
const MAX_ADDRESSES: u64 = 1 << 20;

/// The size of the band for addresses that people choose, as upstream computes it: a sixteenth, within 16 and 256.
pub(super) fn band(size: u64) -> u64 {
    if size < 16 {
        0
    } else {
        (size / 16).clamp(16, 256).min(size)
    }
}

/// The addresses of a range that Services may have: all but the first and, with IPv4, the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    text: String,
    /// The first usable address.
    base: u128,
    size: u64,
    mask: u128,
    v6: bool,
}

impl Cidr {
    /// The range of a cluster.
    pub(super) fn parse(text: &str) -> Result<Cidr, Error> {
        Cidr::with_bits(text, 3)
    }

    /// The range of a ServiceCIDR, which may be of any size.
    pub(super) fn of_object(text: &str) -> Result<Cidr, Error> {
        Cidr::with_bits(text, 0)
    }

    fn with_bits(text: &str, least: u32) -> Result<Cidr, Error> {
        let bad = || Error::Cidr(text.to_owned());
        let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        let width = if ip.is_ipv6() { 128 } else { 32 };
        let bits = u32::checked_sub(width, prefix).ok_or_else(bad)?;
        if bits < least {
            return Err(Error::CidrTooSmall(text.to_owned()));
        }
        let all: u128 = if bits >= 64 {
            u128::from(u64::MAX)
        } else {
            1 << bits
        };
        let mask = if bits == 128 { 0 } else { u128::MAX << bits };
        let usable = all.saturating_sub(if ip.is_ipv6() { 1 } else { 2 });
        Ok(Cidr {
            text: text.to_owned(),
            base: (number(ip) & mask).saturating_add(1),
            size: u64::try_from(usable).unwrap_or(u64::MAX).min(MAX_ADDRESSES),
            mask,
            v6: ip.is_ipv6(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_v6(&self) -> bool {
        self.v6
    }

    /// Whether both are the same addresses, however they are written.
    pub(super) fn is_same(&self, other: &Cidr) -> bool {
        (self.base, self.mask, self.v6) == (other.base, other.mask, other.v6)
    }

    /// Whether an address is within, also one that no Service may have.
    pub(super) fn is_around(&self, ip: IpAddr) -> bool {
        let network = self.base.saturating_sub(1);
        ip.is_ipv6() == self.v6 && number(ip) & self.mask == network
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn address(&self, offset: u64) -> IpAddr {
        let address = self.base.saturating_add(u128::from(offset));
        match self.v6 {
            true => Ipv6Addr::from(address).into(),
            // Within 32 bits: base and offset come from an IPv4 range.
            false => Ipv4Addr::from(address as u32).into(),
        }
    }

    /// `None` outside the range.
    pub(super) fn offset(&self, ip: IpAddr) -> Option<u64> {
        if ip.is_ipv6() != self.v6 {
            return None;
        }
        let offset = u64::try_from(number(ip).checked_sub(self.base)?).ok()?;
        (offset < self.size).then_some(offset)
    }

    fn family(&self) -> &'static str {
        family(self.v6)
    }
}

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

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
            if ip.is_ipv6() == cidr.v6 {
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
