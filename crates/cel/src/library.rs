//! The functions themselves, a file a library.

pub mod authz;
mod convert;
mod formats;
mod lists;
mod net;
mod operators;
mod optional;
mod patch;
mod patterns;
mod prices;
mod quantities;
mod semver;
mod strings;
pub mod time;
mod urls;

use crate::{cost::Cost, eval::Error, value::Val};

pub(crate) use crate::cost::tenth;
pub use formats::Format;
pub use net::Cidr;
pub use operators::{append, of_list};
pub use patterns::{forget as forget_patterns, keep as keep_pattern};
pub use semver::Semver;
pub use urls::Url;

/// What a function gives.
pub type Result<'a> = std::result::Result<Val<'a>, Error>;

/// A value of a library's own type.
#[derive(Debug)]
pub enum Other {
    /// An authorizer, and what it is asked so far.
    Asking(authz::Asking),
    Cidr(Cidr),
    Decision(authz::Decision),
    Format(Format),
    Ip(std::net::IpAddr),
    Quantity(knarr_meta::Quantity),
    Semver(Semver),
    Url(Url),
}

impl Other {
    pub fn type_name(&self) -> &'static str {
        match self {
            Other::Asking(asking) => asking.type_name(),
            Other::Cidr(_) => "net.CIDR",
            Other::Decision(_) => "kubernetes.authorization.Decision",
            Other::Format(_) => "kubernetes.NamedFormat",
            Other::Ip(_) => "net.IP",
            Other::Quantity(_) => "kubernetes.Quantity",
            Other::Semver(_) => "kubernetes.Semver",
            Other::Url(_) => "kubernetes.URL",
        }
    }

    /// Bytes that are read to compare or copy it.
    pub fn bytes(&self) -> usize {
        match self {
            Other::Asking(asking) => asking.bytes(),
            Other::Decision(decision) => decision.bytes(),
            Other::Semver(version) => version.bytes(),
            Other::Url(url) => url.bytes(),
            Other::Cidr(_) | Other::Format(_) | Other::Ip(_) | Other::Quantity(_) => 0,
        }
    }

    pub fn same(&self, other: &Other) -> bool {
        match (self, other) {
            (Other::Asking(a), Other::Asking(b)) => a.same(b),
            (Other::Cidr(a), Other::Cidr(b)) => a == b,
            (Other::Decision(a), Other::Decision(b)) => a == b,
            (Other::Format(a), Other::Format(b)) => a == b,
            (Other::Ip(a), Other::Ip(b)) => a == b,
            (Other::Quantity(a), Other::Quantity(b)) => a == b,
            (Other::Semver(a), Other::Semver(b)) => a == b,
            (Other::Url(a), Other::Url(b)) => a == b,
            _ => false,
        }
    }

    pub fn show(&self) -> String {
        match self {
            Other::Asking(_) | Other::Decision(_) => self.type_name().to_owned(),
            Other::Cidr(cidr) => cidr.to_string(),
            Other::Format(format) => format.name().to_owned(),
            Other::Ip(ip) => ip.to_string(),
            Other::Quantity(quantity) => quantity.to_string(),
            Other::Semver(version) => version.to_string(),
            Other::Url(url) => url.to_string(),
        }
    }
}

/// Calls a function. Of a method, the first value is what it is called on.
pub fn call<'a>(name: &str, member: bool, values: Vec<Val<'a>>, cost: &mut Cost) -> Result<'a> {
    prices::charge(name, &values, cost)?;
    let found = operators::call(name, &values, cost)
        .or_else(|| convert::call(name, &values, cost))
        .or_else(|| strings::call(name, &values, cost))
        .or_else(|| patterns::call(name, &values, cost))
        .or_else(|| lists::call(name, &values, cost))
        .or_else(|| optional::call(name, &values))
        .or_else(|| time::call(name, &values, cost))
        .or_else(|| quantities::call(name, &values))
        .or_else(|| net::call(name, member, &values))
        .or_else(|| urls::call(name, &values, cost))
        .or_else(|| formats::call(name, &values, cost))
        .or_else(|| semver::call(name, &values))
        .or_else(|| patch::call(name, &values, cost))
        .or_else(|| authz::call(name, &values, cost));
    found.unwrap_or_else(|| Err(Error::no_such_overload()))
}

/// A value of a library.
fn other<'a>(value: Other) -> Val<'a> {
    Val::Other(std::sync::Arc::new(value))
}
