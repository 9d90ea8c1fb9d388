//! What calls cost, as upstream's `interpreter/runtimecost.go` and `apiserver/pkg/cel/library/cost.go` have it.
//!
//! Functions whose price depends on more than the sizes of what they are given pay for themselves: comparisons, `in`, those of
//! lists, `join`, checks of an authorizer.

use super::Other;
use crate::{
    cost::{Cost, tenth},
    eval::Error,
    value::Val,
};

/// The price of what upstream takes to be done in a constant time.
const CALL: u64 = 1;
/// What a selector costs for each of its characters: half a requirement, each a list and a structure.
const SELECTOR_BASE: u64 = 10;
const REQUIREMENT: u64 = 50;
/// Texts up to this length are read for the price of a call, longer ones for what reading them takes.
const SHORT_BYTES: usize = 64;

/// What looking for a pattern of a length in so many characters costs.
pub fn matching(size: u64, pattern: u64) -> u64 {
    tenth(size.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

/// Pays for a call, before it is done.
pub fn charge(name: &str, values: &[Val<'_>], cost: &mut Cost) -> Result<(), Error> {
    let sizes = (values.first(), values.get(1));
    let first = sizes.0.map_or(0, Val::size);
    let second = sizes.1.map_or(0, Val::size);
    let units = match (name, sizes) {
        ("_==_" | "_!=_" | "@in" | "join" | "check", _) => return Ok(()),
        ("_<_" | "_<=_" | "_>_" | "_>=_", (Some(Val::Text(_) | Val::Bytes(_)), _)) => {
            tenth(first.min(second))
        }
        ("_+_", (Some(Val::Text(_) | Val::Bytes(_)), _)) => tenth(first.saturating_add(second)),
        ("bytes", (Some(Val::Text(_)), _))
        | ("string", (Some(Val::Bytes(_)), _))
        | ("startsWith" | "endsWith" | "format" | "strings.quote", _)
        | ("lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey", _)
        | ("url" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity", _)
        | ("semver" | "isSemver", _)
        | ("ip", (Some(Val::Text(_)), _)) => tenth(first),
        ("replace" | "split" | "ip.isCanonical", _) => tenth(first.saturating_mul(2)),
        ("contains", _) => tenth(first).saturating_mul(tenth(second)),
        ("matches" | "find" | "findAll", _) => matching(first, second),
        ("indexOf" | "lastIndexOf", (Some(Val::Text(_)), _)) => first / 10,
        ("fieldSelector" | "labelSelector", _) => SELECTOR_BASE
            .saturating_add(tenth(second))
            .saturating_add(second.div_ceil(2).saturating_mul(REQUIREMENT)),
        ("containsIP" | "containsCIDR", (Some(Val::Other(cidr)), Some(other))) => {
            of_range(name, cidr, other)
        }
        ("validate", (Some(Val::Other(format)), _)) => match &**format {
            Other::Format(format) => matching(second, format.pattern_size()),
            _ => CALL,
        },
        (_, (Some(Val::List(_)), _)) if super::lists::is_paying(name) => return Ok(()),
        // These pay for what they look through, which takes less than reading.
        ("size" | "charAt", _) => CALL,
        _ => {
            // Upstream's price is the same for any length; what is done is not.
            for value in values {
                cost.make(value_bytes(value).saturating_sub(SHORT_BYTES))?;
            }
            CALL
        }
    };
    Ok(cost.pay(units)?)
}

/// Comparing addresses byte by byte, and reading one.
fn of_range(name: &str, cidr: &Other, other: &Val<'_>) -> u64 {
    let size = match cidr {
        Other::Cidr(cidr) => cidr.prefix_bytes(),
        _ => 0,
    };
    let masking = match name {
        "containsCIDR" => tenth(size).saturating_add(CALL),
        _ => 0,
    };
    let reading = match other {
        Val::Text(_) => tenth(other.size()),
        _ => 0,
    };
    let comparing = tenth(size.saturating_mul(2));
    comparing.saturating_add(masking).saturating_add(reading)
}

/// Bytes of a value that a function reads from one end to the other.
fn value_bytes(value: &Val<'_>) -> usize {
    match value {
        Val::Text(text) => text.as_str().len(),
        Val::Bytes(bytes) => bytes.len(),
        Val::Other(other) => other.bytes(),
        _ => 0,
    }
}
