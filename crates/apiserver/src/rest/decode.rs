//! Request bodies to object trees: encoding, type, unknown and duplicate fields, defaults.

use bytes::Bytes;
use knarr_api::{Served, built_in_kinds, kind::Strategy, schema};
use knarr_meta::{field::Emptied, json, object, status::Status, types::split_api_version};
use serde_json::Value;

use super::ask::{Ask, FieldValidation, go_package};
use crate::{
    negotiate::{BodyEncoding, body_encoding},
    protobuf, yaml,
};

/// What a body must be.
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    /// Schema name.
    pub definition: &'a str,
    /// Of a kind whose type may be in no table.
    pub strategy: Option<&'a dyn Strategy>,
    /// Where is remembered what was dropped of it, as it was empty.
    pub emptied: Option<&'a Emptied>,
}

impl<'a> Expected<'a> {
    /// Whether its type is one of the program's own.
    fn is_built_in(&self) -> bool {
        schema::definition(self.definition).is_some()
    }

    /// The resource's own kind.
    pub fn of(ask: &'a Ask<'a>) -> Expected<'a> {
        Expected {
            group: ask.served.group(),
            version: ask.served.version(),
            kind: &ask.kind().kind,
            definition: ask.served.definition(),
            strategy: Some(&*ask.kind().strategy),
            emptied: Some(&ask.emptied),
        }
    }
}

/// Decodes the body into a tree of the version served: typed, unknown fields dropped, not yet defaulted.
pub fn body(
    ask: &Ask<'_>,
    body: &Bytes,
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    if body.is_empty() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
             json parse error: unexpected end of JSON input (<empty>)",
            expected.kind
        )));
    }
    let encoding = body_encoding(ask.request.headers.content_type)?;
    let (mut tree, mut problems) = match encoding {
        BodyEncoding::Protobuf => {
            let api_version = knarr_meta::types::api_version(expected.group, expected.version);
            let decoded = protobuf::decode(body, (&api_version, expected.kind));
            let tree = decoded.map_err(|error| match error {
                protobuf::Error::Magic => unrecognized_as(expected, &error, body),
                error => error.into(),
            })?;
            (tree, Vec::new())
        }
        BodyEncoding::Json => schema::parse::tree(body)
            .map_err(|e| unrecognized(expected, &json::explain(&e, body), body))?,
        BodyEncoding::Yaml => {
            let look = validation != FieldValidation::Ignore;
            let (tree, duplicate) =
                yaml::document(body, look).map_err(|e| unrecognized(expected, &e, body))?;
            (tree, duplicate.into_iter().collect())
        }
    };
    // What Go reads of a null is an object of nothing.
    if tree.is_null() {
        tree = Value::Object(serde_json::Map::new());
    }
    let given = check_type(&mut tree, expected, body)?;
    problems.extend(conform(&mut tree, expected)?);
    if !problems.is_empty()
        && matches!(encoding, BodyEncoding::Json)
        && let Some(schema) = schema::definition(expected.definition)
    {
        problems = schema::strict::in_document_order(schema, body);
    }
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            return Err(Status::bad_request(format!(
                "{given} cannot be handled as a {}: strict decoding error: {}",
                expected.kind,
                problems.join(", ")
            )));
        }
        FieldValidation::Warn => ask.warn(problems),
        _ => {}
    }
    ask.audit.request_object(&tree);
    Ok(tree)
}

/// Checks a tree against its schema, dropping what it does not know. Returns the problems; errors are of type.
pub fn conform(tree: &mut Value, expected: &Expected<'_>) -> Result<Vec<String>, Status> {
    if let Some(decoded) = expected.strategy.and_then(|strategy| strategy.decode(tree)) {
        return decoded;
    }
    let problems = match schema::definition(expected.definition) {
        Some(definition) => schema::strict::check_noting(definition, tree, expected.emptied)?,
        None => Vec::new(),
    };
    match unconvertible(tree, expected) {
        None => Ok(problems),
        Some(why) => Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            expected.version,
            kind = expected.kind,
        ))),
    }
}

/// Why a tree of this type cannot be what upstream works with.
pub fn unconvertible(tree: &Value, expected: &Expected<'_>) -> Option<String> {
    expected.strategy?.unconvertible(tree)
}

/// As [`conform`], of a tree that upstream has no document of: errors are those of its converter alone. Of a kind that is in no
/// table, those of `conform`.
pub fn convert(
    tree: &mut Value,
    expected: &Expected<'_>,
) -> Result<Result<Vec<String>, schema::strict::TypeError>, Status> {
    if let Some(decoded) = expected.strategy.and_then(|strategy| strategy.decode(tree)) {
        return decoded.map(Ok);
    }
    let source = schema::strict::Source::Unstructured;
    Ok(match schema::definition(expected.definition) {
        Some(definition) => schema::strict::decode_from(source, definition, tree, expected.emptied),
        None => Ok(Vec::new()),
    })
}

/// Fills in or checks apiVersion and kind. Returns how errors name what was given: `Pod in version "v1"`.
fn check_type(tree: &mut Value, expected: &Expected<'_>, raw: &[u8]) -> Result<String, Status> {
    let why = json::not_an_object(tree).unwrap_or_default();
    let Value::Object(map) = tree else {
        return Err(unrecognized(expected, &why, raw));
    };
    let text = |field: &str| match map.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        // A type that cannot be read is not the one that is expected.
        Some(other) => {
            let found = match other {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                _ => "object",
            };
            let why = format!(
                "json: cannot unmarshal {found} into Go struct field .{field} of type string"
            );
            Err(unrecognized(expected, &why, raw))
        }
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let wanted = knarr_meta::types::api_version(expected.group, expected.version);
    if kind.is_empty() {
        map.insert("kind".into(), Value::from(expected.kind));
    }
    if api_version.is_empty() {
        map.insert("apiVersion".into(), Value::from(wanted.as_str()));
    }
    let (_, version) = split_api_version(if api_version.is_empty() {
        &wanted
    } else {
        &api_version
    });
    let given = format!(
        "{} in version \"{version}\"",
        if kind.is_empty() {
            expected.kind
        } else {
            &kind
        }
    );
    let said = (api_version.as_str(), kind.as_str());
    match mismatch(said, &wanted, expected) {
        None => Ok(given),
        Some(Mismatch::Kind(why)) => Err(Status::bad_request(format!(
            "{given} cannot be handled as a {}: {why}",
            expected.kind
        ))),
        Some(Mismatch::Version) => Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        ))),
    }
}

/// Why a type is not the one that is wanted.
enum Mismatch {
    /// It is another kind, or of no version that there is.
    Kind(String),
    /// It is of another version of its group.
    Version,
}

/// Of a version and a kind, empty where they are not said, and the wanted version.
fn mismatch(said: (&str, &str), wanted: &str, expected: &Expected<'_>) -> Option<Mismatch> {
    let version = match said.0 {
        "" => wanted,
        version => version,
    };
    let kind = match said.1 {
        "" => expected.kind,
        kind => kind,
    };
    let known = is_known(version, kind);
    if kind != expected.kind {
        return Some(Mismatch::Kind(match known {
            true => not_convertible(
                (split_api_version(version).1, kind),
                (expected.group, expected.kind),
            ),
            false if expected.is_built_in() => not_registered(version, kind, SCHEME),
            false => format!(
                "{version}, Kind={kind} is not {wanted}, Kind={}",
                expected.kind
            ),
        }));
    }
    if version == wanted {
        return None;
    }
    Some(match known || !expected.is_built_in() {
        true => Mismatch::Version,
        false => Mismatch::Kind(not_registered(version, kind, SCHEME)),
    })
}

/// What upstream calls the place where its kinds are known.
pub const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// What upstream says of a type that a scheme does not know.
pub fn not_registered(api_version: &str, kind: &str, scheme: &str) -> String {
    format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}")
}

/// The type of the built-in kind of this name and version.
pub fn type_of(api_version: &str, kind: &str) -> Option<&'static schema::Schema> {
    let mut known = built_in_kinds().iter().filter(|known| known.kind == kind);
    known.find_map(|known| {
        let mut served = Served::all(known);
        let served = served.find(|served| served.api_version() == api_version)?;
        schema::definition(served.definition())
    })
}

/// Whether a built-in kind is of this version.
pub fn is_known(api_version: &str, kind: &str) -> bool {
    type_of(api_version, kind).is_some()
}

/// What upstream says of an object (version and kind) where another one (group and kind) is wanted.
pub fn not_convertible(given: (&str, &str), wanted: (&str, &str)) -> String {
    let ((version, name), (group, kind)) = (given, wanted);
    let package = go_package(group);
    format!("converting ({version}.{name}) to ({package}.{kind}): unknown conversion")
}

/// Upstream shows this much of a body it cannot make sense of.
const SUMMARY_BYTES: usize = 30;

fn unrecognized(expected: &Expected<'_>, why: &dyn std::fmt::Display, raw: &[u8]) -> Status {
    let why = format!("couldn't get version/kind; json parse error: {why}");
    unrecognized_as(expected, &why, raw)
}

fn unrecognized_as(expected: &Expected<'_>, why: &dyn std::fmt::Display, raw: &[u8]) -> Status {
    let shown = &raw[..raw.len().min(SUMMARY_BYTES)];
    // As upstream: an object as it is, anything else in hexadecimal.
    let text = match shown.first() {
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        _ => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let dots = if raw.len() > SUMMARY_BYTES {
        " ..."
    } else {
        ""
    };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({text}{dots})",
        expected.kind,
    ))
}

/// The tree as the stored version with defaults, complete but for what is empty where the write path still looks at that.
pub fn to_stored(ask: &Ask<'_>, tree: Value) -> Value {
    let mut tree = match ask.served.alias() {
        Some(alias) => (alias.encode)(tree),
        None => tree,
    };
    if object::metadata(&tree).is_none()
        && let Some(map) = tree.as_object_mut()
    {
        map.insert("metadata".into(), Value::Object(serde_json::Map::new()));
    }
    ask.kind().strategy.default(&mut tree);
    let definition = &ask.kind().definition;
    match schema::empty::is_told(definition) {
        true => schema::written::complete_telling(definition, &mut tree),
        false => schema::written::complete_asked(definition, &mut tree),
    }
    tree
}
