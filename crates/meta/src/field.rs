//! Paths into an object and what is wrong there: upstream's `field.Path` and `field.Error`, with its wording.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use serde_json::Value;

pub use emptied::{Collection, Emptied, Form, MAX_REMEMBERED};

mod emptied;

/// A path such as `spec.containers[0].env[key]`. Cloning and extending are one reference count and one small
/// allocation, so validators may build paths as they walk.
#[derive(Clone, Debug, Default)]
pub struct Path(Option<Arc<Node>>);

#[derive(Debug)]
struct Node {
    parent: Path,
    segment: Segment,
}

#[derive(Debug)]
enum Segment {
    Name(Cow<'static, str>),
    Index(usize),
    Key(String),
}

impl Path {
    /// The path of a top-level field.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Path::root().child(name)
    }

    /// The object itself; displayed as the empty string when nothing is below.
    pub fn root() -> Self {
        Path(None)
    }

    /// A field below this one. A dotted name is one step.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.push(Segment::Name(name.into()))
    }

    /// An element of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.push(Segment::Index(index))
    }

    /// An entry of a map.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.push(Segment::Key(key.into()))
    }

    fn push(&self, segment: Segment) -> Self {
        Path(Some(Arc::new(Node {
            parent: self.clone(),
            segment,
        })))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(node) = &self.0 else { return Ok(()) };
        node.parent.fmt(f)?;
        match &node.segment {
            Segment::Name(name) => {
                if node.parent.0.is_some() {
                    f.write_str(".")?;
                }
                f.write_str(name)
            }
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What kind of wrong; the `reason` of a cause in a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The machine-readable name, as `FieldValueInvalid`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        }
    }
}

/// One field-level validation error.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorType,
    /// The path, as displayed.
    pub field: String,
    /// What was there; `None` where the message does not show it.
    pub bad_value: Option<Value>,
    /// Whether `bad_value` is shown whatever was there.
    pub is_fixed: bool,
    pub detail: String,
}

/// All errors found in one object, in the order they were found.
pub type ErrorList = Vec<Error>;

impl Error {
    fn make(kind: ErrorType, path: &Path, bad_value: Option<Value>, detail: String) -> Self {
        Error {
            kind,
            field: path.to_string(),
            bad_value,
            is_fixed: false,
            detail,
        }
    }

    /// A value that must be there is not.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Error::make(ErrorType::Required, path, None, detail.into())
    }

    /// A malformed value.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Error::make(ErrorType::Invalid, path, Some(value.into()), detail.into())
    }

    /// A malformed value that is shown as null, whichever it is: rules that upstream declares with its types do.
    pub fn invalid_nil(path: &Path, detail: impl Into<String>) -> Self {
        Error {
            is_fixed: true,
            ..Error::invalid(path, Value::Null, detail)
        }
    }

    /// A malformed object or list of which the message shows nothing (upstream's `OmitValueType`).
    pub fn invalid_whole(path: &Path, detail: impl Into<String>) -> Self {
        Error::make(ErrorType::Invalid, path, None, detail.into())
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Error::make(
            ErrorType::TypeInvalid,
            path,
            Some(value.into()),
            detail.into(),
        )
    }

    /// A value outside an enumeration; `supported` is shown in the order given.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| quote(s)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Error::make(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// A value that must be unique is there twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Error::make(
            ErrorType::Duplicate,
            path,
            Some(value.into()),
            String::new(),
        )
    }

    /// A well-formed value that is not permitted here.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Error::make(ErrorType::Forbidden, path, None, detail.into())
    }

    /// A value longer than `max_bytes`; the message does not show it.
    pub fn too_long(path: &Path, max_bytes: usize) -> Self {
        Error::make(
            ErrorType::TooLong,
            path,
            None,
            format!("may not be more than {max_bytes} bytes"),
        )
    }

    /// A text of more than `max` characters, in the words of rules that are declared with the types; the message does not show it.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let detail = format!("may not be more than {max} characters");
        Error::make(ErrorType::TooLong, path, None, detail)
    }

    /// A list of more than `max` items.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Error::make(
            ErrorType::TooMany,
            path,
            Some(actual.into()),
            format!("must have at most {max} items"),
        )
    }

    /// A value that refers to something that does not exist.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Error::make(ErrorType::NotFound, path, Some(value.into()), String::new())
    }

    /// A failure that is not the user's.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Error::make(ErrorType::Internal, path, None, detail.into())
    }

    /// The message without the field's name.
    pub fn body(&self) -> String {
        let mut body = self.kind.words().to_owned();
        if let Some(value) = &self.bad_value {
            body.push_str(": ");
            match value {
                Value::String(text) => body.push_str(&quote(text)),
                other => body.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// All messages as upstream's aggregate prints them: one alone, several as `[a, b]`, repeats once.
pub fn aggregate(errors: &[Error]) -> String {
    let all: Vec<String> = errors.iter().map(Error::to_string).collect();
    let mut told = HashSet::with_capacity(all.len());
    // Who sends the object decides how many there are.
    let messages: Vec<&str> = (all.iter().map(String::as_str))
        .filter(|message| told.insert(*message))
        .collect();
    match messages.as_slice() {
        [one] => (*one).to_owned(),
        _ => format!("[{}]", messages.join(", ")),
    }
}

/// A string in double quotes, escaped as Go's `%q`.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
