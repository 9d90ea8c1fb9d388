//! Makes a tree what Go's decoder would have made of it: unknown fields go (and are told), null fields go, types are checked,
//! times, quantities and base64 are in their one form, empty optional lists and maps go, and so do false, 0 and "" where their absence
//! means the same.
//!
//! The last points matter for updates: a Go client that reads an object and writes it back must not change it. One walk, and
//! no allocation for an object in which all is well.

use std::mem;

use knarr_meta::{
    Quantity, Status,
    field::{Collection, Emptied, Form, MAX_REMEMBERED},
};
use serde_json::{Map, Value};

use super::{
    Definition, Schema, Shape, Type, empty,
    parse::MAX_STRICT_ERRORS,
    path::{Path, Step},
    table, written,
};

mod document;
mod mismatch;
mod scalar;
mod time;

use mismatch::Wanted;

pub use document::in_document_order;

/// A time as it is on the wire, in whole seconds of UTC: upstream's `metav1.Time`.
///
/// # Errors
/// What Go says of a text that is none.
pub fn time(text: &str) -> Result<String, String> {
    let normal = scalar::seconds(text)?;
    Ok(normal.unwrap_or_else(|| text.to_owned()))
}

/// Where a tree comes from, which says what upstream decodes it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A body, or the result of a JSON or merge patch.
    Document,
    /// The result of a strategic patch or of an apply: numbers become what their type holds of them.
    Unstructured,
}

/// A value that does not fit its field's type, in the words of Go's decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(String);

/// Checks an object against its type. Returns `unknown field "spec.foo"` for each field that was dropped.
///
/// Errors: 400 in upstream's words for a value of the wrong type: `Deployment in version "v1" cannot be handled as a
/// Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
pub fn check(schema: &Schema, value: &mut Value) -> Result<Vec<String>, Status> {
    check_noting(schema, value, None)
}

/// As [`check`]; what is dropped as it is empty is remembered in `emptied`.
pub fn check_noting(
    schema: &Schema,
    value: &mut Value,
    emptied: Option<&Emptied>,
) -> Result<Vec<String>, Status> {
    decode_from(Source::Document, schema, value, emptied).map_err(|error| {
        let (version, kind) = match schema.definition() {
            Some(definition) => match definition.gvks.first() {
                Some((_, version, kind)) => (*version, *kind),
                None => ("", definition.short_name()),
            },
            None => ("", ""),
        };
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
        ))
    })
}

/// As [`check`], for callers that word the error themselves (a patch's result that does not decode is 422).
pub fn decode(schema: &Schema, value: &mut Value) -> Result<Vec<String>, TypeError> {
    decode_from(Source::Document, schema, value, None)
}

/// As [`decode`], of a tree that may be no document. What is dropped as it is empty is remembered in `emptied`.
pub fn decode_from(
    source: Source,
    schema: &Schema,
    value: &mut Value,
    emptied: Option<&Emptied>,
) -> Result<Vec<String>, TypeError> {
    let definition = schema.definition();
    let mut decoder = Decoder {
        source,
        keeps_empty: definition.is_some_and(|definition| empty::is_told(definition.name)),
        unknown: Vec::new(),
        emptied: Vec::new(),
        forms: Vec::new(),
        lists: 0,
        error: None,
        has_stopped: false,
    };
    decoder.value(Wanted::of(&schema.ty), value, &Path::ROOT);
    if let Some(emptied) = emptied {
        if !decoder.emptied.is_empty() {
            emptied.add(decoder.emptied);
        }
        emptied.set_forms(decoder.forms);
    }
    if source == Source::Unstructured {
        // Upstream's converter puts what it tells in order, as it walks along maps that have none.
        decoder.unknown.sort_unstable();
    }
    match decoder.error {
        Some(error) => Err(TypeError(error)),
        None => Ok(decoder.unknown),
    }
}

/// A type of schemas that reads itself, and the type of one.
const PROPS_OR_LIST: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray";
const PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

struct Decoder {
    source: Source,
    /// Empty lists and maps stay, though they are optional.
    keeps_empty: bool,
    unknown: Vec<String>,
    /// Paths of the lists and maps that were dropped as there is nothing in them.
    emptied: Vec<(String, Collection)>,
    /// Within lists, what Go has in another form than what is stored of it.
    forms: Vec<Form>,
    /// The lists that the walk is in.
    lists: usize,
    /// The first type error, or that of a type that reads itself.
    error: Option<String>,
    /// Such a type's error ends what Go reads of a document, and is told in place of those before it.
    has_stopped: bool,
}

impl Decoder {
    /// Checks a value that is not null.
    fn value(&mut self, wanted: Wanted<'_>, value: &mut Value, path: &Path<'_>) {
        if self.source == Source::Unstructured {
            convert_number(wanted.ty, value);
        }
        match wanted.ty {
            Type::String if value.is_string() => {}
            Type::Bool if value.is_boolean() => {}
            Type::Double if value.is_number() => {}
            Type::Int32
                if value
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok()) => {}
            Type::Int64 if value.is_i64() => {}
            Type::Bytes if value.is_string() => self.bytes(value),
            Type::List(element) => match value {
                Value::Array(list) => {
                    let wanted = wanted.element(&element.ty);
                    self.lists += 1;
                    for (index, value) in list.iter_mut().enumerate() {
                        self.item(wanted, value, &path.child(Step::Index(index)));
                    }
                    self.lists -= 1;
                }
                _ => self.mismatch(wanted, value, path),
            },
            Type::Map(element) => match value {
                Value::Object(map) => {
                    let wanted = wanted.element(&element.ty);
                    for (key, value) in map.iter_mut() {
                        self.item(wanted, value, &path.child(Step::Key(key)));
                    }
                }
                _ => self.mismatch(wanted, value, path),
            },
            Type::Ref(reference) => self.definition(reference.get(), wanted, value, path),
            _ => self.mismatch(wanted, value, path),
        }
    }

    /// Checks an element of a list or a value of a map; there, null is the type's zero value.
    fn item(&mut self, wanted: Wanted<'_>, value: &mut Value, path: &Path<'_>) {
        if value.is_null() {
            *value = zero(wanted.ty);
        } else {
            self.value(wanted, value, path);
        }
    }

    fn definition(
        &mut self,
        definition: &'static Definition,
        wanted: Wanted<'_>,
        value: &mut Value,
        path: &Path<'_>,
    ) {
        match &definition.shape {
            Shape::Struct(_) => match value {
                Value::Object(map) => self.object(definition, map, path),
                _ => self.mismatch(wanted, value, path),
            },
            Shape::Time => self.time(wanted, value, path, scalar::seconds),
            Shape::MicroTime => self.time(wanted, value, path, scalar::micros),
            Shape::Quantity => self.quantity(value, path),
            Shape::IntOrString => {
                let int32 = value
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok());
                if !value.is_string() && !int32 {
                    self.own_mismatch(Wanted::of(&Type::Int32), value, path);
                }
            }
            Shape::Any if definition.name == PROPS_OR_LIST => self.props(value, path),
            Shape::AnyObject | Shape::Any => {}
        }
    }

    /// A schema, or a list of them: what is neither is let through, and what is in the list is not.
    fn props(&mut self, value: &Value, path: &Path<'_>) {
        let is_one = |value: &&Value| value.is_object() || value.is_null();
        let wrong = value
            .as_array()
            .and_then(|list| list.iter().find(|value| !is_one(value)));
        if let Some(wrong) = wrong
            && let Some(props) = table::find(PROPS)
        {
            self.own_mismatch(Wanted::of(&Type::Ref(props)), wrong, path);
        }
    }

    fn object(
        &mut self,
        definition: &'static Definition,
        map: &mut Map<String, Value>,
        path: &Path<'_>,
    ) {
        let of = definition.short_name();
        map.retain(|name, value| {
            let Some(field) = definition.field(name) else {
                self.unknown(path, name);
                return false;
            };
            if value.is_null() {
                return false;
            }
            let wanted = Wanted {
                ty: &field.schema.ty,
                name: field.go_type(),
            };
            let step = Step::Field {
                name,
                of,
                within: match name.as_str() {
                    // Of each kind these are in an embedded struct of which the table says nothing.
                    "apiVersion" | "kind" if !definition.gvks.is_empty() => "TypeMeta",
                    _ => field.embedded(),
                },
            };
            let path_of_field = path.child(step);
            self.value(wanted, value, &path_of_field);
            let is_omitted = field.omits_zero && empty::is_zero(value);
            let keeps_empty = self.keeps_empty || field.required || field.written_null;
            let empty = empty_collection(&field.schema.ty, value);
            if let Some(empty) = empty
                && !field.required
                && !field.written_null
            {
                self.form(&path_of_field, Some(empty.shown()));
            }
            match empty {
                Some(empty) if !keeps_empty => {
                    self.emptied(path, name, empty);
                    false
                }
                _ => !is_omitted,
            }
        });
        if self.lists > 0 {
            let unset = written::quantities(definition).filter(|name| !map.contains_key(*name));
            for name in unset {
                self.form(&path.child(Step::Key(name)), None);
            }
        }
    }

    fn time(
        &mut self,
        wanted: Wanted<'_>,
        value: &mut Value,
        path: &Path<'_>,
        normal: fn(&str) -> scalar::Normal,
    ) {
        let Value::String(text) = value else {
            return self.own_mismatch(wanted, value, path);
        };
        match normal(text) {
            Ok(None) => {}
            Ok(Some(other)) => *text = other,
            Err(error) => self.stop(|| error),
        }
    }

    fn quantity(&mut self, value: &mut Value, path: &Path<'_>) {
        let number = (!value.is_string()).then(|| value.to_string());
        let given = number.as_deref().or(value.as_str()).unwrap_or_default();
        match Quantity::parse(given) {
            Ok(quantity) => {
                let text = quantity.to_string();
                let is_other = given != text;
                if value.as_str() != Some(&text) {
                    let asked = mem::replace(value, Value::String(text));
                    if is_other {
                        self.form(path, Some(asked));
                    }
                }
            }
            Err(error) => self.stop(|| error.to_string()),
        }
    }

    fn bytes(&mut self, value: &mut Value) {
        let Value::String(text) = value else { return };
        match scalar::base64(text) {
            Ok(None) => {}
            Ok(Some(other)) => *text = other,
            Err(error) if self.source == Source::Unstructured => {
                self.fail(|| format!("error decoding from json: {error}"));
            }
            Err(error) => self.fail(|| error),
        }
    }

    fn unknown(&mut self, path: &Path<'_>, name: &str) {
        let place = match self.source {
            // Where there is no document, upstream's converter leaves keys of maps out.
            Source::Unstructured => path.without_keys(name),
            // Its decoder of documents stops telling, and its converter does not: the size of a body is the limit.
            Source::Document if self.unknown.len() >= MAX_STRICT_ERRORS => return,
            Source::Document => path.with(name),
        };
        self.unknown.push(format!("unknown field {place:?}"));
    }

    fn emptied(&mut self, path: &Path<'_>, name: &str, collection: Collection) {
        if self.emptied.len() < MAX_REMEMBERED {
            self.emptied.push((path.with(name), collection));
        }
    }

    /// Notes a value that Go has in another form, where it may matter.
    fn form(&mut self, path: &Path<'_>, asked: Option<Value>) {
        if self.lists > 0 && self.forms.len() < MAX_REMEMBERED {
            let pointer = path.pointer();
            self.forms.push(Form { pointer, asked });
        }
    }

    fn mismatch(&mut self, wanted: Wanted<'_>, value: &Value, path: &Path<'_>) {
        let source = self.source;
        self.fail(|| mismatch::explain(source, wanted, value, path));
    }

    /// Of a type that reads itself: where there is no document, it does not know which field it is.
    fn own_mismatch(&mut self, wanted: Wanted<'_>, value: &Value, path: &Path<'_>) {
        let path = match self.source {
            Source::Document => path,
            Source::Unstructured => &Path::ROOT,
        };
        self.stop(|| mismatch::of_document(wanted, value, path));
    }

    fn fail(&mut self, message: impl FnOnce() -> String) {
        self.error.get_or_insert_with(message);
    }

    /// Of a type that reads itself.
    fn stop(&mut self, message: impl FnOnce() -> String) {
        if self.source == Source::Unstructured {
            self.fail(message);
        } else if !self.has_stopped {
            self.error = Some(message());
            self.has_stopped = true;
        }
    }
}

/// A number as Go makes it of another type's: it keeps of an integer what there is room for.
fn convert_number(ty: &Type, value: &mut Value) {
    /// As many numbers as 32 bits hold.
    const SPAN: i64 = 1 << 32;
    if !matches!(ty, Type::Int32 | Type::Int64) || !value.is_number() {
        return;
    }
    let whole = value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        // In decimal: a float has no conversion that says what it lost.
        format!("{number:.0}").parse().ok()
    });
    let Some(whole) = whole else { return };
    *value = match ty {
        Type::Int32 => {
            let low = whole.rem_euclid(SPAN);
            let is_negative = low > i64::from(i32::MAX);
            Value::from(if is_negative { low - SPAN } else { low })
        }
        _ => Value::from(whole),
    };
}

/// What Go has for a null in a list or a map.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::String | Type::Bytes => Value::String(String::new()),
        Type::Int32 | Type::Int64 | Type::Double => Value::from(0),
        Type::Bool => Value::Bool(false),
        Type::List(_) | Type::Map(_) => Value::Null,
        Type::Ref(reference) => match reference.get().shape {
            Shape::Struct(_) => Value::Object(Map::new()),
            Shape::Quantity => Value::String("0".to_owned()),
            Shape::IntOrString => Value::from(0),
            Shape::Time | Shape::MicroTime | Shape::AnyObject | Shape::Any => Value::Null,
        },
    }
}

/// Go leaves these out when it writes an optional field.
fn empty_collection(ty: &Type, value: &Value) -> Option<Collection> {
    match ty {
        Type::List(_) | Type::Map(_) => Collection::empty(value),
        _ => None,
    }
}
