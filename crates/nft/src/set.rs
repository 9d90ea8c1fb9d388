//! Sets, maps and their elements.

use std::{fmt, net::IpAddr, time::Duration};

use crate::{
    kernel::{elements, set},
    table::{Family, Verdict},
    value::{Field, Value, concatenated, joined, length, type_number},
    wire::Writer,
};

impl Family {
    /// The kind of field that its addresses are.
    pub fn field(self) -> Field {
        match self {
            Self::Ip => Field::Ipv4,
            Self::Ip6 => Field::Ipv6,
        }
    }
}

/// What a set's elements lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it is no map.
    None,
    Fields(Vec<Field>),
    Verdict,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    /// More than one: their concatenation.
    pub key: Vec<Field>,
    pub data: Data,
    /// Elements are ranges; of a single field only.
    pub intervals: bool,
    /// Rules add elements, which live so long after they were added last, and at most so many.
    pub lifetime: Option<(Duration, u32)>,
}

impl Set {
    pub fn new(name: impl Into<String>, key: &[Field]) -> Self {
        Self {
            name: name.into(),
            key: key.to_vec(),
            data: Data::None,
            intervals: false,
            lifetime: None,
        }
    }

    pub fn map(name: impl Into<String>, key: &[Field], data: &[Field]) -> Self {
        Self {
            data: Data::Fields(data.to_vec()),
            ..Self::new(name, key)
        }
    }

    pub fn verdicts(name: impl Into<String>, key: &[Field]) -> Self {
        Self {
            data: Data::Verdict,
            ..Self::new(name, key)
        }
    }

    pub fn ranges(name: impl Into<String>, key: Field) -> Self {
        Self {
            intervals: true,
            ..Self::new(name, &[key])
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        self.data != Data::None
    }

    /// `id` is for those who mean it within the transaction; an anonymous one has no other name, and is part of its rule.
    pub(crate) fn write(&self, writer: &mut Writer, id: u32, anonymous: bool) {
        writer.text(set::NAME, &self.name);
        let flags = [
            (anonymous, set::FLAG_ANONYMOUS | set::FLAG_CONSTANT),
            (self.intervals, set::FLAG_INTERVAL),
            (self.is_map(), set::FLAG_MAP),
            (
                self.lifetime.is_some(),
                set::FLAG_TIMEOUT | set::FLAG_DYNAMIC,
            ),
        ];
        let flags = flags.iter().filter(|(set, _)| *set);
        writer.u32(set::FLAGS, flags.fold(0, |all, (_, flag)| all | flag));
        writer.u32(set::KEY_TYPE, type_number(&self.key));
        writer.u32(set::KEY_LENGTH, length(&self.key));
        let mut user_data = Vec::new();
        order(&mut user_data, set::KEY_ORDER, &self.key);
        match &self.data {
            Data::None => {}
            Data::Verdict => writer.u32(set::DATA_TYPE, set::DATA_IS_VERDICT),
            Data::Fields(fields) => {
                writer.u32(set::DATA_TYPE, type_number(fields));
                writer.u32(set::DATA_LENGTH, length(fields));
                order(&mut user_data, set::DATA_ORDER, fields);
            }
        }
        writer.u32(set::ID, id);
        if let Some((lifetime, limit)) = self.lifetime {
            writer.u64(set::TIMEOUT, millis(lifetime));
            writer.nested(set::DESCRIPTION, |writer| {
                writer.u32(set::DESCRIPTION_SIZE, limit);
            });
        }
        writer.bytes(set::USER_DATA, &user_data);
    }
}

/// Tells nft the byte order of a key or of data.
fn order(user_data: &mut Vec<u8>, kind: u8, fields: &[Field]) {
    let order = match fields {
        [field] => field.order(),
        _ => 0,
    };
    user_data.extend([kind, 4]);
    user_data.extend(order.to_ne_bytes());
}

/// The definition, between braces.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("type ")?;
        joined(f, &self.key, " . ")?;
        match &self.data {
            Data::None => {}
            Data::Verdict => f.write_str(" : verdict")?,
            Data::Fields(fields) => {
                f.write_str(" : ")?;
                joined(f, fields, " . ")?;
            }
        }
        f.write_str(";")?;
        if self.intervals {
            f.write_str(" flags interval;")?;
        }
        if let Some((lifetime, limit)) = self.lifetime {
            let seconds = lifetime.as_secs();
            write!(
                f,
                " size {limit}; flags dynamic,timeout; timeout {seconds}s;"
            )?;
        }
        Ok(())
    }
}

/// The key of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Values(Vec<Value>),
    /// The addresses that begin with so many of its bits.
    Range(IpAddr, u8),
    /// From the first to the last.
    Between(Value, Value),
}

/// What an element leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Payload {
    None,
    Values(Vec<Value>),
    Verdict(Verdict),
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    key: Key,
    payload: Payload,
    /// When it is removed, in a set whose elements do not live for ever.
    left: Option<Duration>,
}

impl Element {
    pub fn new(key: impl Into<Vec<Value>>) -> Self {
        Self {
            key: Key::Values(key.into()),
            payload: Payload::None,
            left: None,
        }
    }

    /// The addresses that have `prefix` bits in common with `address`.
    pub fn range(address: IpAddr, prefix: u8) -> Self {
        Self {
            key: Key::Range(address, prefix),
            payload: Payload::None,
            left: None,
        }
    }

    /// Everything from `first` to `last`, which are addresses or ports.
    pub fn between(first: Value, last: Value) -> Self {
        Self {
            key: Key::Between(first, last),
            payload: Payload::None,
            left: None,
        }
    }

    /// With data, of a map.
    pub fn to(self, data: impl Into<Vec<Value>>) -> Self {
        Self {
            payload: Payload::Values(data.into()),
            ..self
        }
    }

    pub fn verdict(self, verdict: Verdict) -> Self {
        Self {
            payload: Payload::Verdict(verdict),
            ..self
        }
    }

    /// Removed by the kernel after `left`, which is at most the set's [`Set::lifetime`]; until a rule adds it again.
    pub fn expires(self, left: Duration) -> Self {
        Self {
            left: Some(left),
            ..self
        }
    }

    /// Into a list of elements. Data do not matter to one that is deleted.
    pub(crate) fn write(&self, writer: &mut Writer, with_data: bool) {
        let key = match &self.key {
            Key::Values(values) => concatenated(values),
            Key::Range(address, prefix) => bounds(*address, *prefix).0,
            Key::Between(first, _) => concatenated(std::slice::from_ref(first)),
        };
        entry(writer, &key, false, |writer| {
            if with_data {
                self.write_data(writer);
            }
        });
        // A range is two elements: where it begins, and where none is again.
        let end = match &self.key {
            Key::Values(_) => None,
            Key::Range(address, prefix) => bounds(*address, *prefix).1,
            Key::Between(_, last) => after(last),
        };
        if let Some(end) = end {
            entry(writer, &end, true, |_| {});
        }
    }

    fn write_data(&self, writer: &mut Writer) {
        match &self.payload {
            Payload::None => {}
            Payload::Values(values) => writer.nested(elements::DATA, |writer| {
                writer.bytes(crate::kernel::data::VALUE, &concatenated(values));
            }),
            Payload::Verdict(verdict) => {
                writer.nested(elements::DATA, |writer| verdict.write(writer));
            }
        }
        if let Some(left) = self.left {
            writer.u64(elements::EXPIRATION, millis(left));
        }
    }
}

/// An address that rules have put into a set, and how long it stays unless they do it again.
pub type Member = (IpAddr, Duration);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn entry(writer: &mut Writer, key: &[u8], end: bool, data: impl FnOnce(&mut Writer)) {
    writer.nested(crate::kernel::LIST_ELEMENT, |writer| {
        writer.nested(elements::KEY, |writer| {
            writer.bytes(crate::kernel::data::VALUE, key);
        });
        if end {
            writer.u32(elements::FLAGS, elements::FLAG_END);
        }
        data(writer);
    });
}

/// The first address of a range, and the first after it if there is one.
fn bounds(address: IpAddr, prefix: u8) -> (Vec<u8>, Option<Vec<u8>>) {
    let (width, bits, last): (u32, _, _) = match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits()), u128::from(u32::MAX)),
        IpAddr::V6(address) => (128, address.to_bits(), u128::MAX),
    };
    // All of them with no prefix at all.
    let size = 1u128.checked_shl(width.saturating_sub(u32::from(prefix)));
    let first = bits & !size.map_or(u128::MAX, |size| size.saturating_sub(1));
    let next = size.and_then(|size| first.checked_add(size));
    let next = next.filter(|next| *next <= last);
    let shown = |bits: u128| match width {
        32 => u32::try_from(bits)
            .unwrap_or_default()
            .to_be_bytes()
            .to_vec(),
        _ => bits.to_be_bytes().to_vec(),
    };
    (shown(first), next.map(shown))
}

/// The first value after another, if there is one.
fn after(last: &Value) -> Option<Vec<u8>> {
    let mut bytes = concatenated(std::slice::from_ref(last));
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(bytes);
        }
    }
    None
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Key::Values(values) => joined(f, values, " . ")?,
            Key::Range(address, prefix) => write!(f, "{address}/{prefix}")?,
            Key::Between(first, last) if first == last => write!(f, "{first}")?,
            Key::Between(first, last) => write!(f, "{first}-{last}")?,
        }
        if let Some(left) = self.left {
            write!(f, " expires {}ms", millis(left))?;
        }
        match &self.payload {
            Payload::None => Ok(()),
            Payload::Values(values) => {
                f.write_str(" : ")?;
                joined(f, values, " . ")
            }
            Payload::Verdict(verdict) => write!(f, " : {verdict}"),
        }
    }
}

/// An anonymous set: part of the rule that looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub(crate) set: Set,
    pub(crate) elements: Vec<Element>,
}

impl Contents {
    /// A set's name does not matter.
    pub fn new(mut set: Set, elements: Vec<Element>) -> Self {
        // The kernel puts a number there.
        set.name = if set.is_map() { "__map%d" } else { "__set%d" }.to_owned();
        Self { set, elements }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ ")?;
        joined(f, &self.elements, ", ")?;
        f.write_str(" }")
    }
}
