//! Reads the generated table.
//!
//! `schema.txt`, tabs between columns:
//!
//! ```text
//! knarr-schema  1  v1.37.2
//! NAME  TYPE  DESCRIPTION  MARK...       a definition; definitions are sorted by name and numbered from 0
//!   <tab>FIELD  TYPE  DESCRIPTION  MARK...   its fields, sorted by name
//! ```
//!
//! TYPE: `s` string, `y` bytes, `i` int32, `l` int64, `n` double, `b` bool, `o` struct, `t` time, `u` micro time, `q` quantity,
//! `x` int or string, `a` any object, `*` anything, `rN` definition N, `[T` list of T, `{T` map to T. DESCRIPTION: a number in
//! `descriptions.txt`, whose texts are separated by U+001E. MARK: `!` required, `z` never absent from
//! upstream's objects, `o` absent from them where it is false, 0 or empty, `n` null in them
//! where it is nothing, `p=` patch strategies, `k=` merge key, `l=` list
//! type, `K=` list map keys, `m=` map type, `d=` default as JSON, `f=` feature gate that is switched off,
//! `e=` values that the field, or an element of it, may have, `t=` its type as Go names it, `i=` the embedded structs it is in, `g=` group/version/kind, `u=` unions as JSON.

use std::{io::Read, sync::OnceLock};

use flate2::read::GzDecoder;
use knarr_meta::patch::Strategy;

use super::{Definition, DefinitionRef, Field, ListType, MapType, Marks, Schema, Shape, Type};

static SCHEMA: &[u8] = include_bytes!("../../data/schema.txt.gz");
static DESCRIPTIONS: &[u8] = include_bytes!("../../data/descriptions.txt.gz");

/// A definition as it lies in the table, until it is decoded.
struct Entry {
    name: &'static str,
    /// Its line without the name, and the lines of its fields.
    text: &'static str,
    decoded: OnceLock<Box<Definition>>,
}

fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Box<[Entry]>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        // Kept for ever: every name in every definition is a slice of it.
        let text: &'static str = Box::leak(inflate(SCHEMA).into_boxed_str());
        let (header, mut rest) = text.split_once('\n').unwrap_or_default();
        assert!(
            header.starts_with("knarr-schema\t1\t"),
            "the embedded schema has another format"
        );
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let end = definition_end(rest);
            let (name, text) = rest[..end].split_once('\t').unwrap_or_default();
            entries.push(Entry {
                name,
                text,
                decoded: OnceLock::new(),
            });
            rest = &rest[end..];
        }
        entries.into_boxed_slice()
    })
}

/// Where the first line begins that is no field.
fn definition_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        match text[from..].find('\n') {
            None => return text.len(),
            Some(newline) if bytes.get(from + newline + 1) == Some(&b'\t') => from += newline + 1,
            Some(newline) => return from + newline + 1,
        }
    }
}

pub(super) fn find(name: &str) -> Option<DefinitionRef> {
    let place = entries()
        .binary_search_by(|entry| entry.name.cmp(name))
        .ok()?;
    u16::try_from(place).ok().map(DefinitionRef)
}

/// The definition with just this group, version and kind.
pub(super) fn find_kind(group: &str, version: &str, kind: &str) -> Option<DefinitionRef> {
    let mark = format!("g={group}/{version}/{kind}");
    let place = entries().iter().position(|entry| {
        let line = entry.text.split('\n').next().unwrap_or_default();
        line.split('\t').skip(2).any(|column| column == mark)
    })?;
    u16::try_from(place).ok().map(DefinitionRef)
}

pub(super) fn get(reference: DefinitionRef) -> &'static Definition {
    let entry = &entries()[usize::from(reference.0)];
    entry
        .decoded
        .get_or_init(|| Box::new(decode(reference, entry)))
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    entries().iter().map(|entry| entry.name)
}

fn decode(reference: DefinitionRef, entry: &Entry) -> Definition {
    let mut lines = entry.text.lines();
    let mut columns = lines.next().unwrap_or_default().split('\t');
    let letter = columns.next().unwrap_or_default();
    let description = number(columns.next());
    let mut gvks: &'static [_] = &[];
    let mut unions = None;
    let mut marks = Marks::default();
    let mut marked = false;
    for mark in columns {
        match mark.split_once('=') {
            Some(("g", list)) => gvks = Vec::leak(list.split(',').map(gvk).collect()),
            Some(("u", json)) => unions = Some(json),
            _ => {
                marks.add(mark);
                marked = true;
            }
        }
    }
    let shape = match letter {
        "t" => Shape::Time,
        "u" => Shape::MicroTime,
        "q" => Shape::Quantity,
        "x" => Shape::IntOrString,
        "a" => Shape::AnyObject,
        "*" => Shape::Any,
        _ => Shape::Struct(lines.map(field).collect()),
    };
    let schema = Schema {
        ty: Type::Ref(reference),
        marks: marked.then(|| Box::new(marks)),
    };
    Definition {
        name: entry.name,
        shape,
        gvks,
        unions,
        schema,
        description,
        disabled: OnceLock::new(),
        written: OnceLock::new(),
        empty: OnceLock::new(),
    }
}

fn field(line: &'static str) -> Field {
    let mut columns = line.trim_start_matches('\t').split('\t');
    let name = columns.next().unwrap_or_default();
    let ty = ty(columns.next().unwrap_or_default());
    let description = number(columns.next());
    let mut columns = columns.peekable();
    let required = columns.next_if_eq(&"!").is_some();
    let present = columns.next_if_eq(&"z").is_some();
    let omits_zero = columns.next_if_eq(&"o").is_some();
    let written_null = columns.next_if_eq(&"n").is_some();
    let mut marks: Option<Box<Marks>> = None;
    for mark in columns {
        marks.get_or_insert_default().add(mark);
    }
    Field {
        name,
        head: head(name),
        schema: Schema { ty, marks },
        required,
        present,
        omits_zero,
        written_null,
        description,
    }
}

/// The first bytes of a name, as a number: names are ordered as these are, and where these are equal as the whole.
pub fn head(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u64::from_be_bytes(bytes)
}

fn ty(text: &str) -> Type {
    let element = || {
        Box::new(Schema {
            ty: ty(&text[1..]),
            marks: None,
        })
    };
    match text.as_bytes().first() {
        Some(b'y') => Type::Bytes,
        Some(b'i') => Type::Int32,
        Some(b'l') => Type::Int64,
        Some(b'n') => Type::Double,
        Some(b'b') => Type::Bool,
        Some(b'[') => Type::List(element()),
        Some(b'{') => Type::Map(element()),
        Some(b'r') => Type::Ref(DefinitionRef(number(Some(&text[1..])).unwrap_or_default())),
        _ => Type::String,
    }
}

impl Marks {
    fn add(&mut self, mark: &'static str) {
        let Some((letter, value)) = mark.split_once('=') else {
            return;
        };
        match letter {
            "p" => {
                self.strategies = match value {
                    "merge" => &[Strategy::Merge],
                    "replace" => &[Strategy::Replace],
                    "retainKeys" => &[Strategy::RetainKeys],
                    _ => &[Strategy::Merge, Strategy::RetainKeys],
                }
            }
            "k" => self.merge_key = Some(value),
            "l" => {
                self.list_type = Some(match value {
                    "set" => ListType::Set,
                    "map" => ListType::Map,
                    _ => ListType::Atomic,
                });
            }
            "K" => self.list_map_keys = value.split(',').collect(),
            "m" => {
                self.map_type = Some(if value == "granular" {
                    MapType::Granular
                } else {
                    MapType::Atomic
                })
            }
            "d" => self.default = Some(value),
            "e" => self.values = value.split(',').collect(),
            "f" => self.gate = Some(value),
            "t" => self.go_type = Some(value),
            "i" => self.embedded = value,
            _ => {}
        }
    }
}

fn gvk(text: &'static str) -> (&'static str, &'static str, &'static str) {
    let mut parts = text.split('/');
    let mut part = || parts.next().unwrap_or_default();
    (part(), part(), part())
}

fn number(text: Option<&str>) -> Option<u16> {
    text?.parse().ok()
}

fn inflate(gz: &[u8]) -> String {
    // A gzip file ends with the size of what is in it; growing by doubling would leave as much garbage.
    let size = gz.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
    let mut text = String::with_capacity(size as usize + 1);
    GzDecoder::new(gz)
        .read_to_string(&mut text)
        .expect("the embedded schema is what the build put there");
    text
}

/// The documentation of all types.
pub(crate) struct Descriptions {
    text: String,
    /// Where each text begins, and the end of the last one plus one.
    starts: Vec<u32>,
}

impl Descriptions {
    pub(super) fn inflate() -> Self {
        let text = inflate(DESCRIPTIONS);
        let ends = text.match_indices('\u{1e}').map(|(place, _)| place + 1);
        let starts = std::iter::once(0)
            .chain(ends)
            .chain([text.len() + 1])
            .map(|place| u32::try_from(place).unwrap_or(u32::MAX))
            .collect();
        Descriptions { text, starts }
    }

    /// A description by its number.
    pub(crate) fn get(&self, number: u16) -> Option<&str> {
        let at = usize::from(number);
        let (from, to) = (*self.starts.get(at)?, *self.starts.get(at + 1)?);
        self.text.get(from as usize..to as usize - 1)
    }
}
