//! What kinds warn of: texts for `Warning: 299` headers, upstream's `WarningsOnCreate` and `WarningsOnUpdate`.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use knarr_meta::{
    Quantity,
    field::{Path, quote},
    names,
    object::{self, list_at, map_at, str_at},
};
use serde_json::Value;

/// Most bytes of an object's warnings: more than an answer carries. What is found beyond is left out, since an object may give reason
/// for more warnings than it has bytes.
const MAX_BYTES: usize = 16 << 10;

/// The warnings of one object, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    list: Vec<String>,
    bytes: usize,
}

impl Warnings {
    pub(crate) fn add(&mut self, text: impl Into<String>) {
        if !self.is_full() {
            let text = text.into();
            self.bytes += text.len();
            self.list.push(text);
        }
    }

    /// A warning about a field.
    pub(crate) fn at(&mut self, path: &Path, text: impl Display) {
        if !self.is_full() {
            self.add(format!("{path}: {text}"));
        }
    }

    /// No more are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES
    }
}

impl From<Warnings> for Vec<String> {
    fn from(warnings: Warnings) -> Vec<String> {
        warnings.list
    }
}

/// The name of an object that is part of its pods' names: one that is no DNS label surprises.
pub(crate) fn workload_name(object: &Value, out: &mut Warnings) {
    label_name(object, "Pod names and hostnames", out);
}

/// As [`workload_name`], for what is named by it.
pub(crate) fn label_name(object: &Value, what: &str, out: &mut Warnings) {
    let odd = names::dns1123_label(object::name(object));
    if !odd.is_empty() {
        out.add(format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            odd.join(" ")
        ));
    }
}

/// An amount of bytes that is no integer.
pub(crate) fn fractional(amounts: &Value, name: &str, path: &Path, out: &mut Warnings) {
    let amount = Quantity::parse(str_at(amounts, &[name]));
    if let Ok(amount) = amount.as_ref()
        && !amount.is_integer()
    {
        let text =
            format_args!("fractional byte value \"{amount}\" is invalid, must be an integer");
        out.at(&path.key(name), text);
    }
}

/// Annotations that have lost their meaning, with what to use instead.
pub(crate) fn annotations(
    metadata: &Value,
    deprecated: &[(&str, &str)],
    path: &Path,
    out: &mut Warnings,
) {
    let annotations = map_at(metadata, &["annotations"]);
    for (key, text) in deprecated {
        if annotations.is_some_and(|annotations| annotations.contains_key(*key)) {
            out.at(&path.child("annotations").key(*key), text);
        }
    }
}

/// What to say of a node label that is deprecated.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => {
            "deprecated since v1.22; use Taints and Tolerations instead"
        }
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Requirements of labels of nodes; `values`: whether they can be values of labels is looked at as well.
pub(crate) fn node_selector_term(term: &Value, values: bool, path: &Path, out: &mut Warnings) {
    for (index, expression) in list_at(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let key = str_at(expression, &["key"]);
        if let Some(text) = node_label(key) {
            out.at(&path.child("key"), format_args!("{key} is {text}"));
        }
        let given = list_at(expression, &["values"]).iter().enumerate();
        for (index, value) in given.filter(|_| values) {
            let value = value.as_str().unwrap_or_default();
            for problem in names::label_value(value) {
                let path = path.child("values").index(index);
                out.at(&path, format_args!("{value} is invalid, {problem}"));
            }
        }
    }
}

/// An IP address in a form that not every program reads as the same address.
pub(crate) fn ip(path: &Path, value: &str, out: &mut Warnings) {
    let Some(lenient) = names::lenient_ip(value) else {
        return;
    };
    let given = quote(value);
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => {}
        Ok(IpAddr::V6(address)) if mapped(address).is_none() => {
            let canonical = address.to_string();
            if canonical != value {
                out.at(
                    path,
                    format_args!(
                        "IPv6 address {given} should be in RFC 5952 canonical format (\"{canonical}\")"
                    ),
                );
            }
        }
        // One of IPv4 in the clothes of the other, or with zeros before its numbers.
        _ => {
            let plain = lenient.to_canonical();
            out.at(
                path,
                format_args!("non-standard IP address {given} is invalid: use \"{plain}\""),
            );
        }
    }
}

/// An IPv4 address that is written as one of IPv6.
fn mapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    address.to_ipv4_mapped()
}

/// A range of addresses that is ambiguous, or in a form that not every program reads as the same range.
pub(crate) fn cidr(path: &Path, value: &str, out: &mut Warnings) {
    let Some((text, digits)) = value.split_once('/') else {
        return;
    };
    let (Some(address), Ok(length)) = (names::lenient_ip(text), digits.parse::<u8>()) else {
        return;
    };
    let has_zeros = text.parse::<IpAddr>().is_err() || digits != length.to_string();
    // What is mapped is masked as the IPv4 address that it is.
    let (plain, bits, length, is_mapped) = match address {
        IpAddr::V4(_) => (address, 32, length, false),
        IpAddr::V6(six) => match mapped(six) {
            Some(four) => (IpAddr::V4(four), 32, length.saturating_sub(96), true),
            None => (address, 128, length, false),
        },
    };
    let network = masked(plain, length);
    let given = quote(value);
    let mut warned = false;
    if network != plain {
        warned = true;
        out.at(
            path,
            format_args!(
                "CIDR value {given} is ambiguous in this context (should be \"{network}/{length}\" or \"{plain}/{bits}\"?)"
            ),
        );
    }
    if is_mapped || has_zeros {
        warned = true;
        out.at(
            path,
            format_args!("non-standard CIDR value {given} is invalid: use \"{network}/{length}\""),
        );
    }
    let canonical = format!("{address}/{length}");
    if !warned && address.is_ipv6() && canonical != value {
        out.at(
            path,
            format_args!(
                "IPv6 CIDR value {given} should be in RFC 5952 canonical format (\"{canonical}\")"
            ),
        );
    }
}

/// The first address of the range.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(length))
                .unwrap_or(0);
            Ipv4Addr::from_bits(four.to_bits() & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(length))
                .unwrap_or(0);
            Ipv6Addr::from_bits(six.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests;
