//! A structural schema as it is kept: JSONSchemaProps without what only its readers need.

use std::sync::OnceLock;

use knarr_meta::{
    object::{bool_at, i64_at, list_at, str_at},
    pattern,
};
use regex::Regex;
use serde_json::{Map, Value};

use crate::types::Type;

/// What a value must be, and what is inside it.
#[derive(Clone, Debug, std::default::Default)]
pub struct Schema {
    pub ty: Option<Type>,
    /// A type that no value has; `ty` is none then. Only in what [`Schema::draft`] reads.
    pub unknown_type: Option<Box<str>>,
    pub nullable: bool,
    pub int_or_string: bool,
    pub preserve_unknown: bool,
    /// This keeps unknown fields, or what it is inside of does.
    pub within_unknown: bool,
    pub embedded: bool,
    pub default: Option<Box<Default>>,
    /// Sorted by name.
    properties: Box<[(Box<str>, Schema)]>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub list_type: ListType,
    pub list_map_keys: Box<[Box<str>]>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    pub values: Option<Box<Values>>,
    pub rules: Box<[Rule]>,
}

/// A default, with what it costs to put it somewhere.
#[derive(Clone, Debug)]
pub struct Default {
    pub value: Value,
    /// Of its JSON.
    pub bytes: usize,
}

/// `additionalProperties`.
#[derive(Clone, Debug, std::default::Default)]
pub enum Additional {
    #[default]
    Unsaid,
    /// `true` or `false`.
    Any(bool),
    Of(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// Bounds and alternatives of a value. In `all_of` and its like only values, items, properties, types and rules count.
#[derive(Clone, Debug, std::default::Default)]
pub struct Values {
    /// Without formats that nobody checks.
    pub format: Box<str>,
    pub maximum: Option<Number>,
    pub exclusive_maximum: bool,
    pub minimum: Option<Number>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<Number>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Box<[Box<str>]>,
    pub one_of_values: Box<[Value]>,
    pub all_of: Box<[Schema]>,
    pub any_of: Box<[Schema]>,
    pub one_of: Box<[Schema]>,
    pub not: Option<Box<Schema>>,
}

/// A bound.
pub type Number = f64;

/// A regular expression, compiled when it is first needed: most of a definition's are not for a long time.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: Box<str>,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern {
            text: text.into(),
            compiled: OnceLock::new(),
        }
    }

    /// # Errors
    /// Why it is no pattern.
    pub fn regex(&self) -> Result<&Regex, &str> {
        let compile = || pattern::compile(&self.text);
        self.compiled
            .get_or_init(compile)
            .as_ref()
            .map_err(|why| &**why)
    }
}

/// An entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    /// `FieldValueInvalid` where it is not said.
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: bool,
}

/// Why JSONSchemaProps cannot be kept as a structural schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Schema {
    /// Reads JSONSchemaProps.
    ///
    /// # Errors
    /// Where it has a part that no structural schema has.
    pub fn parse(props: &Value) -> Result<Schema, Unsupported> {
        let schema = Schema::draft(props)?;
        match schema.first_unknown_type() {
            Some(name) => Err(Unsupported(format!("type {name:?} is not supported"))),
            None => Ok(schema),
        }
    }

    /// Reads JSONSchemaProps that are still to be checked: types may be any word.
    ///
    /// # Errors
    /// Where it has a part that no structural schema has.
    pub fn draft(props: &Value) -> Result<Schema, Unsupported> {
        let mut schema = Schema::read(props)?;
        schema.inherit(false);
        Ok(schema)
    }

    fn read(props: &Value) -> Result<Schema, Unsupported> {
        unsupported(props)?;
        let name = str_at(props, &["type"]);
        let ty = Type::parse(name);
        let mut properties = Vec::new();
        for (name, property) in map(props, "properties") {
            properties.push((name.as_str().into(), Schema::read(property)?));
        }
        properties.sort_unstable_by(|(a, _): &(Box<str>, _), (b, _)| a.cmp(b));
        let int_or_string = bool_at(props, &["x-kubernetes-int-or-string"]);
        Ok(Schema {
            ty,
            unknown_type: (ty.is_none() && !name.is_empty()).then(|| name.into()),
            nullable: bool_at(props, &["nullable"]),
            int_or_string,
            preserve_unknown: bool_at(props, &["x-kubernetes-preserve-unknown-fields"]),
            within_unknown: false,
            embedded: bool_at(props, &["x-kubernetes-embedded-resource"]),
            default: default(props),
            properties: properties.into(),
            additional: additional(props)?,
            items: match props.get("items") {
                Some(items) if items.is_object() => Some(Box::new(Schema::read(items)?)),
                _ => None,
            },
            list_type: match str_at(props, &["x-kubernetes-list-type"]) {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_map_keys: strings(props, "x-kubernetes-list-map-keys"),
            atomic_map: str_at(props, &["x-kubernetes-map-type"]) == "atomic",
            values: values(props, if int_or_string { None } else { ty })?,
            rules: list_at(props, &["x-kubernetes-validations"])
                .iter()
                .map(rule)
                .collect(),
        })
    }

    fn first_unknown_type(&self) -> Option<&str> {
        let mut inside: Vec<&Schema> = self.properties().map(|(_, schema)| schema).collect();
        inside.extend(self.items.as_deref());
        if let Additional::Of(schema) = &self.additional {
            inside.push(schema);
        }
        if let Some(values) = &self.values {
            let alternatives = [&values.all_of, &values.any_of, &values.one_of];
            inside.extend(alternatives.into_iter().flatten());
            inside.extend(values.not.as_deref());
        }
        let below = || inside.into_iter().find_map(Schema::first_unknown_type);
        self.unknown_type.as_deref().or_else(below)
    }

    /// Tells what is inside whether something around it keeps unknown fields.
    fn inherit(&mut self, above: bool) {
        let within = above || self.preserve_unknown;
        self.within_unknown = within;
        let properties = self.properties.iter_mut();
        properties.for_each(|(_, schema)| schema.inherit(within));
        if let Some(items) = &mut self.items {
            items.inherit(within);
        }
        if let Additional::Of(schema) = &mut self.additional {
            schema.inherit(within);
        }
    }

    /// Of an object of which nothing is known.
    pub fn anything() -> Schema {
        Schema {
            preserve_unknown: true,
            within_unknown: true,
            ..Schema::default()
        }
    }

    pub fn property(&self, name: &str) -> Option<&Schema> {
        let place = (self.properties)
            .binary_search_by(|(candidate, _)| (**candidate).cmp(name))
            .ok()?;
        Some(&self.properties[place].1)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.properties
            .iter()
            .map(|(name, schema)| (&**name, schema))
    }

    /// The schema of a field: its property's, or that of all others.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.property(name).or(match &self.additional {
            Additional::Of(schema) => Some(schema),
            _ => None,
        })
    }

    /// Whether this or something inside has rules.
    pub fn has_rules(&self) -> bool {
        let below = |schema: &Option<Box<Schema>>| schema.as_ref().is_some_and(|s| s.has_rules());
        !self.rules.is_empty()
            || below(&self.items)
            || self.properties.iter().any(|(_, schema)| schema.has_rules())
            || matches!(&self.additional, Additional::Of(schema) if schema.has_rules())
    }

    /// The same as the root of an object: its type and metadata are known without being declared.
    pub fn as_root(&self) -> Schema {
        Schema {
            embedded: true,
            ..self.clone()
        }
    }
}

fn unsupported(props: &Value) -> Result<(), Unsupported> {
    let said = |field: &str| match props.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => !map.is_empty() || field == "additionalItems",
        Some(_) => true,
    };
    const FIELDS: [(&str, &str); 7] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    if let Some((_, name)) = FIELDS.iter().find(|(field, _)| said(field)) {
        return Err(Unsupported(format!(
            "OpenAPIV3Schema '{name}' is not supported"
        )));
    }
    if props.get("items").is_some_and(Value::is_array) {
        return Err(Unsupported(
            "OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned(),
        ));
    }
    if props.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Err(Unsupported(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
                .to_owned(),
        ));
    }
    Ok(())
}

fn default(props: &Value) -> Option<Box<Default>> {
    let value = props.get("default").filter(|value| !value.is_null())?;
    Some(Box::new(Default {
        bytes: value.to_string().len(),
        value: value.clone(),
    }))
}

fn additional(props: &Value) -> Result<Additional, Unsupported> {
    Ok(match props.get("additionalProperties") {
        None | Some(Value::Null) => Additional::Unsaid,
        Some(Value::Bool(any)) => Additional::Any(*any),
        Some(schema) => Additional::Of(Box::new(Schema::read(schema)?)),
    })
}

fn values(props: &Value, ty: Option<Type>) -> Result<Option<Box<Values>>, Unsupported> {
    const FIELDS: [&str; 20] = [
        "format",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "multipleOf",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "maxProperties",
        "minProperties",
        "required",
        "enum",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "uniqueItems",
    ];
    if !FIELDS.iter().any(|field| props.get(field).is_some()) {
        return Ok(None);
    }
    let number = |field: &str| props.get(field).and_then(Value::as_f64);
    let alternatives = |field: &str| -> Result<Box<[Schema]>, Unsupported> {
        list_at(props, &[field]).iter().map(Schema::draft).collect()
    };
    let format = str_at(props, &["format"]);
    Ok(Some(Box::new(Values {
        format: match crate::formats::is_checked(ty, format) {
            true => format.into(),
            false => "".into(),
        },
        maximum: number("maximum"),
        exclusive_maximum: bool_at(props, &["exclusiveMaximum"]),
        minimum: number("minimum"),
        exclusive_minimum: bool_at(props, &["exclusiveMinimum"]),
        multiple_of: number("multipleOf"),
        max_length: i64_at(props, &["maxLength"]),
        min_length: i64_at(props, &["minLength"]),
        pattern: Some(str_at(props, &["pattern"]))
            .filter(|text| !text.is_empty())
            .map(Pattern::new),
        max_items: i64_at(props, &["maxItems"]),
        min_items: i64_at(props, &["minItems"]),
        max_properties: i64_at(props, &["maxProperties"]),
        min_properties: i64_at(props, &["minProperties"]),
        required: strings(props, "required"),
        one_of_values: list_at(props, &["enum"]).into(),
        all_of: alternatives("allOf")?,
        any_of: alternatives("anyOf")?,
        one_of: alternatives("oneOf")?,
        not: match props.get("not") {
            None | Some(Value::Null) => None,
            Some(schema) => Some(Box::new(Schema::draft(schema)?)),
        },
    })))
}

fn rule(rule: &Value) -> Rule {
    let text = |field: &str| str_at(rule, &[field]).into();
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: match str_at(rule, &["reason"]) {
            "" => "FieldValueInvalid".into(),
            reason => reason.into(),
        },
        field_path: text("fieldPath"),
        optional_old_self: bool_at(rule, &["optionalOldSelf"]),
    }
}

pub(crate) fn map<'v>(
    props: &'v Value,
    field: &str,
) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let map: Option<&Map<String, Value>> = props.get(field).and_then(Value::as_object);
    map.into_iter().flatten()
}

fn strings(props: &Value, field: &str) -> Box<[Box<str>]> {
    let list = list_at(props, &[field]).iter();
    list.filter_map(Value::as_str).map(Into::into).collect()
}
