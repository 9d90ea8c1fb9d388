//! Statements as the kernel's expressions.

use std::net::IpAddr;

use super::{ConnectionState, Place, Reject, Rule, Selector, Statement, Target};
use crate::{
    kernel::{
        bitwise, compare, ct, data, dynset, expression, fib, icmpv6, immediate, lookup, meta, nat,
        numgen, payload, register, reject,
    },
    table::Family,
    value::{Value, concatenated},
    wire::Writer,
};

impl Rule {
    /// The list of expressions, for a table of `family`. `ids` are those of the rule's anonymous sets, in order.
    pub(crate) fn write(&self, writer: &mut Writer, family: Family, ids: &[u32]) {
        let mut encoder = Encoder {
            writer,
            family,
            ids: ids.iter().copied(),
        };
        for statement in &self.0 {
            encoder.statement(statement);
        }
    }
}

struct Encoder<'a, I> {
    writer: &'a mut Writer,
    family: Family,
    ids: I,
}

impl<I: Iterator<Item = u32>> Encoder<'_, I> {
    fn statement(&mut self, statement: &Statement) {
        const FIRST: u32 = register::FIRST;
        match statement {
            Statement::Compare {
                what,
                mask,
                value,
                inverted,
            } => {
                self.load(what, FIRST);
                if let Some(mask) = mask {
                    self.bits(&mask.to_ne_bytes(), &[0; 4]);
                }
                self.compare(value, *inverted);
            }
            Statement::Prefix {
                what,
                address,
                prefix,
                inverted,
            } => self.prefix(what, (*address, *prefix), *inverted),
            Statement::State(state) => self.state(*state),
            Statement::NeighbourDiscovery => self.neighbour_discovery(),
            Statement::Within {
                what,
                place,
                inverted,
            } => {
                self.load_all(what);
                self.lookup(place, None, *inverted);
            }
            Statement::Verdicts { what, place } => {
                self.load_all(what);
                self.lookup(place, Some(register::VERDICT), false);
            }
            Statement::Mark { and, xor } => {
                self.load(&Selector::Mark, FIRST);
                self.bits(&and.to_ne_bytes(), &xor.to_ne_bytes());
                self.expression("meta", |writer| {
                    writer.u32(meta::KEY, meta::MARK);
                    writer.u32(meta::SOURCE, FIRST);
                });
            }
            Statement::Update { set, key } => {
                self.load_all(key);
                self.expression("dynset", |writer| {
                    writer.text(dynset::SET, set);
                    writer.u32(dynset::OPERATION, dynset::UPDATE);
                    writer.u32(dynset::KEY, FIRST);
                });
            }
            Statement::Translate { family, target } => self.translate(*family, target),
            Statement::Masquerade { fully_random } => self.expression("masq", |writer| {
                if *fully_random {
                    writer.u32(nat::MASQUERADE_FLAGS, nat::FULLY_RANDOM);
                }
            }),
            Statement::Reject(how) => self.reject(*how),
            Statement::Verdict(verdict) => self.expression("immediate", |writer| {
                writer.u32(immediate::REGISTER, register::VERDICT);
                writer.nested(immediate::DATA, |writer| verdict.write(writer));
            }),
        }
    }

    fn state(&mut self, state: ConnectionState) {
        let state = match state {
            ConnectionState::Established => ct::ESTABLISHED,
            ConnectionState::Related => ct::RELATED,
        };
        self.load(&Selector::ConnectionState, register::FIRST);
        self.bits(&state.to_ne_bytes(), &[0; 4]);
        self.compare_bytes(&[0; 4], true);
    }

    fn neighbour_discovery(&mut self) {
        self.load(&Selector::Protocol, register::FIRST);
        self.compare_bytes(&[icmpv6::PROTOCOL], false);
        self.payload(payload::TRANSPORT, icmpv6::TYPE, register::FIRST);
        self.order(compare::AT_LEAST, &[icmpv6::NEIGHBOUR_SOLICITATION]);
        self.order(compare::AT_MOST, &[icmpv6::NEIGHBOUR_ADVERTISEMENT]);
    }

    fn expression(&mut self, name: &str, body: impl FnOnce(&mut Writer)) {
        self.writer.nested(crate::kernel::LIST_ELEMENT, |writer| {
            writer.text(expression::NAME, name);
            writer.nested(expression::DATA, body);
        });
    }

    /// A key, field by field.
    fn load_all(&mut self, what: &[Selector]) {
        let mut next: u32 = register::FIRST;
        for selector in what {
            next = next.saturating_add(self.load(selector, next));
        }
    }

    /// Loads into `register` and those after it; how many it takes.
    fn load(&mut self, what: &Selector, register: u32) -> u32 {
        let address = |family, source: bool| match (family, source) {
            (Family::Ip, true) => (12, 4),
            (Family::Ip, false) => (16, 4),
            (Family::Ip6, true) => (8, 16),
            (Family::Ip6, false) => (24, 16),
        };
        match what {
            Selector::Source(family) => {
                self.payload(payload::NETWORK, address(*family, true), register)
            }
            Selector::Destination(family) => {
                self.payload(payload::NETWORK, address(*family, false), register)
            }
            Selector::DestinationPort => self.payload(payload::TRANSPORT, (2, 2), register),
            Selector::Protocol => self.meta(meta::PROTOCOL, register, 1),
            Selector::Mark => self.meta(meta::MARK, register, 1),
            Selector::InputInterface => self.meta(meta::INPUT_NAME, register, 4),
            Selector::OutputInterface => self.meta(meta::OUTPUT_NAME, register, 4),
            Selector::SourceKind => self.fib(fib::SOURCE, fib::ADDRESS_KIND, register),
            Selector::DestinationKind => self.fib(fib::DESTINATION, fib::ADDRESS_KIND, register),
            Selector::WayBack => {
                let flags = fib::SOURCE | fib::BY_INPUT | fib::PRESENT;
                self.fib(flags, fib::OUTPUT, register)
            }
            Selector::ConnectionDirection => self.connection(ct::DIRECTION, register),
            Selector::ConnectionState => self.connection(ct::STATE, register),
            Selector::Random { modulus, offset } => {
                self.expression("numgen", |writer| {
                    writer.u32(numgen::REGISTER, register);
                    writer.u32(numgen::MODULUS, *modulus);
                    writer.u32(numgen::TYPE, numgen::RANDOM);
                    writer.u32(numgen::OFFSET, *offset);
                });
                1
            }
        }
    }

    fn payload(&mut self, base: u32, (offset, length): (u32, u32), register: u32) -> u32 {
        self.expression("payload", |writer| {
            writer.u32(payload::REGISTER, register);
            writer.u32(payload::BASE, base);
            writer.u32(payload::OFFSET, offset);
            writer.u32(payload::LENGTH, length);
        });
        length.div_ceil(register::BYTES)
    }

    fn meta(&mut self, key: u32, register: u32, registers: u32) -> u32 {
        self.expression("meta", |writer| {
            writer.u32(meta::KEY, key);
            writer.u32(meta::REGISTER, register);
        });
        registers
    }

    fn connection(&mut self, key: u32, register: u32) -> u32 {
        self.expression("ct", |writer| {
            writer.u32(ct::REGISTER, register);
            writer.u32(ct::KEY, key);
        });
        1
    }

    fn fib(&mut self, of: u32, result: u32, register: u32) -> u32 {
        self.expression("fib", |writer| {
            writer.u32(fib::FLAGS, of);
            writer.u32(fib::RESULT, result);
            writer.u32(fib::REGISTER, register);
        });
        1
    }

    /// The first register's bits of `mask`, with those of `xor` turned over.
    fn bits(&mut self, mask: &[u8], xor: &[u8]) {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        self.expression("bitwise", |writer| {
            writer.u32(bitwise::SOURCE, register::FIRST);
            writer.u32(bitwise::REGISTER, register::FIRST);
            writer.u32(bitwise::LENGTH, length);
            writer.nested(bitwise::MASK, |writer| writer.bytes(data::VALUE, mask));
            writer.nested(bitwise::XOR, |writer| writer.bytes(data::VALUE, xor));
        });
    }

    fn compare(&mut self, value: &Value, inverted: bool) {
        let mut bytes = Vec::new();
        value.push(&mut bytes);
        self.compare_bytes(&bytes, inverted);
    }

    fn compare_bytes(&mut self, bytes: &[u8], inverted: bool) {
        let operation = if inverted {
            compare::DIFFERENT
        } else {
            compare::EQUAL
        };
        self.order(operation, bytes);
    }

    fn order(&mut self, operation: u32, bytes: &[u8]) {
        self.expression("cmp", |writer| {
            writer.u32(compare::REGISTER, register::FIRST);
            writer.u32(compare::OPERATION, operation);
            writer.nested(compare::DATA, |writer| writer.bytes(data::VALUE, bytes));
        });
    }

    fn prefix(&mut self, what: &Selector, (address, prefix): (IpAddr, u8), inverted: bool) {
        self.load(what, register::FIRST);
        let bytes = concatenated(&[Value::Address(address)]);
        let mut mask = vec![0; bytes.len()];
        let mut left = u32::from(prefix);
        for byte in &mut mask {
            // A byte that the prefix covers has no bits of the host.
            *byte = !u8::MAX.checked_shr(left).unwrap_or_default();
            left = left.saturating_sub(u8::BITS);
        }
        if mask.iter().any(|byte| *byte != 0xff) {
            self.bits(&mask, &vec![0; mask.len()]);
        }
        let network: Vec<u8> = bytes.iter().zip(&mask).map(|(b, m)| b & m).collect();
        self.compare_bytes(&network, inverted);
    }

    fn lookup(&mut self, place: &Place, register: Option<u32>, inverted: bool) {
        let (name, id) = match place {
            Place::Named(name) => (&**name, None),
            Place::Anonymous(contents) => (contents.set.name.as_str(), self.ids.next()),
        };
        self.expression("lookup", |writer| {
            writer.text(lookup::SET, name);
            writer.u32(lookup::SOURCE, register::FIRST);
            if let Some(register) = register {
                writer.u32(lookup::REGISTER, register);
            }
            if let Some(id) = id {
                writer.u32(lookup::SET_ID, id);
            }
            if inverted {
                writer.u32(lookup::FLAGS, lookup::FLAG_INVERT);
            }
        });
    }

    fn translate(&mut self, family: Family, target: &Target) {
        let first = register::FIRST;
        let second = match family {
            Family::Ip => register::FIRST + 1,
            Family::Ip6 => register::FIRST + 4,
        };
        let port = match target {
            Target::Mapped(key, place) => {
                self.load_all(key);
                self.lookup(place, Some(first), false);
                true
            }
            Target::Address(address, port) => {
                self.immediate(first, &Value::Address(*address));
                if let Some(port) = port {
                    self.immediate(second, &Value::Port(*port));
                }
                port.is_some()
            }
        };
        self.expression("nat", |writer| {
            writer.u32(nat::TYPE, nat::DESTINATION);
            writer.u32(nat::FAMILY, family.number().into());
            writer.u32(nat::ADDRESS, first);
            if port {
                writer.u32(nat::PORT, second);
            }
        });
    }

    fn immediate(&mut self, register: u32, value: &Value) {
        let bytes = concatenated(std::slice::from_ref(value));
        self.expression("immediate", |writer| {
            writer.u32(immediate::REGISTER, register);
            writer.nested(immediate::DATA, |writer| writer.bytes(data::VALUE, &bytes));
        });
    }

    fn reject(&mut self, how: Reject) {
        let (kind, code) = match (how, self.family) {
            (Reject::Reset, _) => (reject::RESET, 0),
            (Reject::Port, Family::Ip) => (reject::UNREACHABLE, reject::PORT_V4),
            (Reject::Port, Family::Ip6) => (reject::UNREACHABLE, reject::PORT_V6),
        };
        self.expression("reject", |writer| {
            writer.u32(reject::TYPE, kind);
            writer.bytes(reject::CODE, &[code]);
        });
    }
}
