//! Changes that the kernel makes all at once, or none of them.

use std::{fmt, ops::Range};

use nix::libc::{AF_UNSPEC, NLM_F_APPEND, NLM_F_CREATE};

use crate::{
    kernel::{self, message},
    rule::Rule,
    set::{Contents, Element, Set},
    table::{Chain, Table},
    value::joined,
    wire::{Header, Writer},
};

/// Elements go into messages of about this size: the length of a list is a number of 16 bits.
const ELEMENTS_BYTES: usize = 32 << 10;

/// One line of nft's language.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    AddTable {
        comment: Option<String>,
    },
    DeleteTable,
    AddChain(Chain),
    FlushChain(String),
    DeleteChain(String),
    AddSet(Set),
    DeleteSet(String),
    AddRule(String, Rule),
    InsertRule {
        chain: String,
        rule: Rule,
        comment: String,
    },
    DeleteRule {
        chain: String,
        handle: u64,
    },
    AddElements(String, Vec<Element>),
    DeleteElements(String, Vec<Element>),
}

/// Operations in the order in which the kernel makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction(Vec<(Table, Operation)>);

impl Transaction {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a table unless it is there. A comment is for those who list it; one that is there keeps its own.
    pub fn add_table(&mut self, table: &Table, comment: Option<String>) {
        self.push(table, Operation::AddTable { comment });
    }

    /// Removes a table with all that is in it, whether it is there or not.
    pub fn remove_table(&mut self, table: &Table) {
        // Kernels before 6.3 have no deletion that does not mind.
        self.add_table(table, None);
        self.push(table, Operation::DeleteTable);
    }

    /// Makes a chain unless it is there.
    pub fn add_chain(&mut self, table: &Table, chain: Chain) {
        self.push(table, Operation::AddChain(chain));
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: impl Into<String>) {
        self.push(table, Operation::FlushChain(chain.into()));
    }

    pub fn delete_chain(&mut self, table: &Table, chain: impl Into<String>) {
        self.push(table, Operation::DeleteChain(chain.into()));
    }

    /// Makes a set or a map unless it is there; refused if another one is.
    pub fn add_set(&mut self, table: &Table, set: Set) {
        self.push(table, Operation::AddSet(set));
    }

    pub fn delete_set(&mut self, table: &Table, set: impl Into<String>) {
        self.push(table, Operation::DeleteSet(set.into()));
    }

    /// Adds a rule at a chain's end.
    pub fn add_rule(&mut self, table: &Table, chain: impl Into<String>, rule: Rule) {
        self.push(table, Operation::AddRule(chain.into(), rule));
    }

    /// Adds a rule before all others of a chain that somebody else may have made. By the comment it is known again; see
    /// [`Connection::rules`](crate::Connection::rules).
    pub fn insert_rule(
        &mut self,
        table: &Table,
        chain: impl Into<String>,
        rule: Rule,
        comment: impl Into<String>,
    ) {
        let (chain, comment) = (chain.into(), comment.into());
        let operation = Operation::InsertRule {
            chain,
            rule,
            comment,
        };
        self.push(table, operation);
    }

    /// Removes one rule; refused if it is not there.
    pub fn delete_rule(&mut self, table: &Table, chain: impl Into<String>, handle: u64) {
        let chain = chain.into();
        self.push(table, Operation::DeleteRule { chain, handle });
    }

    /// One that is there already is left alone; refused if it leads elsewhere.
    pub fn add_elements(&mut self, table: &Table, set: impl Into<String>, elements: Vec<Element>) {
        if !elements.is_empty() {
            self.push(table, Operation::AddElements(set.into(), elements));
        }
    }

    /// Refused if one of them is not there.
    pub fn delete_elements(
        &mut self,
        table: &Table,
        set: impl Into<String>,
        elements: Vec<Element>,
    ) {
        if !elements.is_empty() {
            self.push(table, Operation::DeleteElements(set.into(), elements));
        }
    }

    /// Adds another transaction's operations after these.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn push(&mut self, table: &Table, operation: Operation) {
        self.0.push((table.clone(), operation));
    }
}

/// A script that makes the same.
impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(table, operation)| writeln!(f, "{}", Line(table, operation)))
    }
}

struct Line<'a>(&'a Table, &'a Operation);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(table, operation) = self;
        match operation {
            Operation::AddTable { comment: None } => write!(f, "add table {table}"),
            Operation::AddTable {
                comment: Some(comment),
            } => write!(f, "add table {table} {{ comment \"{comment}\"; }}"),
            Operation::DeleteTable => write!(f, "delete table {table}"),
            Operation::AddChain(chain) => write!(f, "add chain {table} {chain}"),
            Operation::FlushChain(chain) => write!(f, "flush chain {table} {chain}"),
            Operation::DeleteChain(chain) => write!(f, "delete chain {table} {chain}"),
            Operation::AddSet(set) => {
                let kind = if set.is_map() { "map" } else { "set" };
                write!(f, "add {kind} {table} {} {{ {set} }}", set.name)
            }
            Operation::DeleteSet(set) => write!(f, "delete set {table} {set}"),
            Operation::AddRule(chain, rule) => write!(f, "add rule {table} {chain} {rule}"),
            Operation::InsertRule {
                chain,
                rule,
                comment,
            } => write!(
                f,
                "insert rule {table} {chain} {rule} comment \"{comment}\""
            ),
            Operation::DeleteRule { chain, handle } => {
                write!(f, "delete rule {table} {chain} handle {handle}")
            }
            Operation::AddElements(set, elements) => {
                write!(f, "add element {table} {set} {{ ")?;
                joined(f, elements, ", ")?;
                f.write_str(" }")
            }
            Operation::DeleteElements(set, elements) => {
                write!(f, "delete element {table} {set} {{ ")?;
                joined(f, elements, ", ")?;
                f.write_str(" }")
            }
        }
    }
}

/// What a message is about: an operation, and which of its elements.
struct Source {
    operation: usize,
    elements: Range<usize>,
}

/// A transaction as the kernel takes it.
pub(crate) struct Encoded<'a> {
    transaction: &'a Transaction,
    pub bytes: Vec<u8>,
    /// By the place of a message after the first.
    sources: Vec<Source>,
}

impl Encoded<'_> {
    /// With those that begin and end it.
    pub fn messages(&self) -> u32 {
        u32::try_from(self.sources.len().saturating_add(2)).unwrap_or(u32::MAX)
    }

    /// What the message at `place` was to do. `entry` is which of its elements.
    pub fn describe(&self, place: usize, entry: Option<usize>) -> String {
        let source = place
            .checked_sub(1)
            .and_then(|place| self.sources.get(place));
        let Some(source) = source else {
            return "take the transaction as a whole".to_owned();
        };
        let (table, operation) = &self.transaction.0[source.operation];
        let one = |elements: &Vec<Element>| {
            let entry = source.elements.start.checked_add(entry?)?;
            Some(vec![elements.get(entry)?.clone()])
        };
        let narrowed = match operation {
            Operation::AddElements(set, elements) => {
                one(elements).map(|one| Operation::AddElements(set.clone(), one))
            }
            Operation::DeleteElements(set, elements) => {
                one(elements).map(|one| Operation::DeleteElements(set.clone(), one))
            }
            _ => None,
        };
        Line(table, narrowed.as_ref().unwrap_or(operation)).to_string()
    }
}

impl Transaction {
    /// Messages numbered from `sequence` on. With a `generation`, the kernel takes them only if nobody has changed anything since.
    pub(crate) fn encode(&self, sequence: u32, generation: Option<u32>) -> Encoded<'_> {
        let mut encoder = Encoder {
            writer: Writer::default(),
            sequence,
            next_id: 0,
            operation: 0,
            last: 0,
            sources: Vec::with_capacity(self.0.len()),
        };
        encoder.boundary(message::BATCH_BEGIN, |writer| {
            if let Some(generation) = generation {
                writer.u32(kernel::BATCH_GENERATION, generation);
            }
        });
        for (index, (table, operation)) in self.0.iter().enumerate() {
            encoder.operation = index;
            encoder.operation(table, operation);
        }
        // One answer tells that all is well.
        let last = encoder.last;
        encoder.writer.acknowledge(last);
        encoder.boundary(message::BATCH_END, |_| {});
        Encoded {
            transaction: self,
            bytes: encoder.writer.into_bytes(),
            sources: encoder.sources,
        }
    }
}

struct Encoder {
    writer: Writer,
    sequence: u32,
    /// Of sets, within the transaction.
    next_id: u32,
    operation: usize,
    /// Where the last message begins.
    last: usize,
    sources: Vec<Source>,
}

impl Encoder {
    /// Where the kernel's transaction begins and ends.
    fn boundary(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let header = Header {
            kind,
            flags: 0,
            family: u8::try_from(AF_UNSPEC).unwrap_or_default(),
            resource: message::SUBSYSTEM >> 8,
            sequence: self.sequence,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.message(header, body);
    }

    fn message(
        &mut self,
        table: &Table,
        kind: u16,
        flags: i32,
        elements: Range<usize>,
        body: impl FnOnce(&mut Writer),
    ) {
        self.last = self.writer.len();
        self.sources.push(Source {
            operation: self.operation,
            elements,
        });
        let header = Header {
            kind,
            flags,
            family: table.family.number(),
            resource: 0,
            sequence: self.sequence,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.message(header, |writer| {
            writer.text(kernel::table::NAME, &table.name);
            body(writer);
        });
    }

    fn operation(&mut self, table: &Table, operation: &Operation) {
        match operation {
            Operation::AddTable { comment } => {
                self.message(table, message::NEW_TABLE, NLM_F_CREATE, 0..0, |writer| {
                    writer.u32(kernel::table::FLAGS, 0);
                    if let Some(comment) = comment {
                        writer.bytes(kernel::table::USER_DATA, &comment_data(comment));
                    }
                });
            }
            Operation::DeleteTable => self.message(table, message::DELETE_TABLE, 0, 0..0, |_| {}),
            Operation::AddChain(chain) => {
                self.message(table, message::NEW_CHAIN, NLM_F_CREATE, 0..0, |writer| {
                    chain.write(writer);
                });
            }
            Operation::FlushChain(chain) => {
                self.message(table, message::DELETE_RULE, 0, 0..0, |writer| {
                    writer.text(kernel::rule::CHAIN, chain);
                });
            }
            Operation::DeleteChain(chain) => {
                self.message(table, message::DELETE_CHAIN, 0, 0..0, |writer| {
                    writer.text(kernel::chain::NAME, chain);
                });
            }
            Operation::AddSet(set) => {
                self.set(table, set, false);
            }
            Operation::DeleteSet(set) => {
                self.message(table, message::DELETE_SET, 0, 0..0, |writer| {
                    writer.text(kernel::set::NAME, set);
                });
            }
            Operation::AddRule(chain, rule) => self.rule(table, chain, rule, None),
            Operation::InsertRule {
                chain,
                rule,
                comment,
            } => self.rule(table, chain, rule, Some(comment)),
            Operation::DeleteRule { chain, handle } => {
                self.message(table, message::DELETE_RULE, 0, 0..0, |writer| {
                    writer.text(kernel::rule::CHAIN, chain);
                    writer.u64(kernel::rule::HANDLE, *handle);
                });
            }
            Operation::AddElements(set, elements) => {
                self.elements(table, message::NEW_ELEMENTS, (set, None), elements);
            }
            Operation::DeleteElements(set, elements) => {
                self.elements(table, message::DELETE_ELEMENTS, (set, None), elements);
            }
        }
    }

    fn set(&mut self, table: &Table, set: &Set, anonymous: bool) -> u32 {
        // No more than there are operations in memory.
        self.next_id = self.next_id.saturating_add(1);
        let id = self.next_id;
        self.message(table, message::NEW_SET, NLM_F_CREATE, 0..0, |writer| {
            set.write(writer, id, anonymous);
        });
        id
    }

    /// At a chain's end, or with a comment at its start.
    fn rule(&mut self, table: &Table, chain: &str, rule: &Rule, comment: Option<&str>) {
        let mut ids = Vec::new();
        for Contents { set, elements } in rule.anonymous() {
            let id = self.set(table, set, true);
            let named = (set.name.as_str(), Some(id));
            self.elements(table, message::NEW_ELEMENTS, named, elements);
            ids.push(id);
        }
        let flags = match comment {
            Some(_) => NLM_F_CREATE,
            None => NLM_F_CREATE | NLM_F_APPEND,
        };
        self.message(table, message::NEW_RULE, flags, 0..0, |writer| {
            writer.text(kernel::rule::CHAIN, chain);
            writer.nested(kernel::rule::EXPRESSIONS, |writer| {
                rule.write(writer, table.family, &ids);
            });
            if let Some(comment) = comment {
                writer.bytes(kernel::rule::USER_DATA, &comment_data(comment));
            }
        });
    }

    /// In as many messages as it takes.
    fn elements(
        &mut self,
        table: &Table,
        kind: u16,
        (set, id): (&str, Option<u32>),
        elements: &[Element],
    ) {
        let adding = kind == message::NEW_ELEMENTS;
        let flags = if adding { NLM_F_CREATE } else { 0 };
        let mut done = 0;
        while let Some(rest @ [_, ..]) = elements.get(done..) {
            let mut end = done;
            // The range is known once the message is written.
            self.message(table, kind, flags, done..done, |writer| {
                writer.text(kernel::elements::SET, set);
                if let Some(id) = id {
                    writer.u32(kernel::elements::SET_ID, id);
                }
                writer.nested(kernel::elements::LIST, |writer| {
                    let start = writer.len();
                    for element in rest {
                        if writer.len().saturating_sub(start) >= ELEMENTS_BYTES {
                            break;
                        }
                        element.write(writer, adding);
                        end = end.saturating_add(1);
                    }
                });
            });
            if let Some(source) = self.sources.last_mut() {
                source.elements = done..end;
            }
            done = end;
        }
    }
}

/// nft's own record of a comment: a kind, a length, a text with a NUL.
fn comment_data(comment: &str) -> Vec<u8> {
    const LONGEST: u8 = u8::MAX - 1;
    let length = u8::try_from(comment.len()).unwrap_or(LONGEST).min(LONGEST);
    let mut bytes = vec![kernel::table::COMMENT, length.saturating_add(1)];
    bytes.extend(comment.bytes().take(usize::from(length)));
    bytes.push(0);
    bytes
}
