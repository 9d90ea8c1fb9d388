//! The table of messages and their fields, parsed at first use.

use std::{collections::HashMap, sync::OnceLock};

const MESSAGES: &str = include_str!("messages.txt");

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    Integer,
    Bool,
    Double,
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    RawExtension,
    Json,
    /// A message whose only field is a list of strings.
    Strings,
    /// A schema, or a list of them.
    SchemaOrList,
    /// A schema, or whether anything goes.
    SchemaOrBool,
    /// A schema, or a list of names.
    SchemaOrNames,
    Message(&'static str),
}

/// What the field's zero value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A value like others: the field is a pointer in Go, or a list.
    Optional,
    /// What stands in protobuf where nothing is set: the field is no pointer in Go.
    Always,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// JSON name, or `~` where the fields of this one are the parent's own.
    pub name: &'static str,
    /// JSON leaves zero out.
    pub omit_zero: bool,
    pub presence: Presence,
    pub repeated: bool,
    pub map: bool,
    pub ty: Type,
}

/// The fields of a message by number.
pub fn message(name: &str) -> Option<&'static [Field]> {
    find(name).map(|(_, fields)| fields)
}

/// A message's name, as the table has it, and its fields by number.
pub fn find(name: &str) -> Option<(&'static str, &'static [Field])> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Field>>> = OnceLock::new();
    let found = TABLE.get_or_init(parse).get_key_value(name);
    found.map(|(name, fields)| (*name, fields.as_slice()))
}

fn parse() -> HashMap<&'static str, Vec<Field>> {
    let mut table: HashMap<&'static str, Vec<Field>> = HashMap::new();
    let mut current = "";
    for line in MESSAGES.lines().filter(|l| !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('>') {
            current = name;
            table.insert(name, Vec::new());
        } else if let (Some(field), Some(fields)) = (parse_field(line), table.get_mut(current)) {
            fields.push(field);
        }
    }
    table
}

fn parse_field(line: &'static str) -> Option<Field> {
    let mut parts = line.split(' ');
    let number = parts.next()?.parse().ok()?;
    let (name, flags, ty) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Field {
        number,
        name,
        omit_zero: flags.contains('?'),
        presence: match flags {
            "?" | "!" => Presence::Always,
            _ => Presence::Optional,
        },
        repeated: flags.contains('['),
        map: flags.contains('{'),
        ty: match ty {
            "s" => Type::String,
            "i" => Type::Integer,
            "t" => Type::Bool,
            "f" => Type::Double,
            "b" => Type::Bytes,
            "T" => Type::Time,
            "U" => Type::MicroTime,
            "D" => Type::Duration,
            "Q" => Type::Quantity,
            "I" => Type::IntOrString,
            "R" => Type::RawExtension,
            "J" => Type::Json,
            "L" => Type::Strings,
            "A" => Type::SchemaOrList,
            "O" => Type::SchemaOrBool,
            "N" => Type::SchemaOrNames,
            message => Type::Message(message),
        },
    })
}
