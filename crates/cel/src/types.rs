//! Types of values, and of schemas as rules see them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cel::common::ast::LiteralValue;

/// Containers in containers of which the type of a variable is known. Each variable may put the one before it into more of them:
/// without an end, who walks the type would run out of stack.
const COMPOSED_LEVELS: usize = 32;

/// The type of a value.
#[derive(Clone, Debug)]
pub enum Type {
    /// Known only when a value is there.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// The type of a type.
    Meta,
    List(Arc<ListType>),
    /// Keys and values.
    Map(Arc<(Type, Type)>),
    Object(Arc<Object>),
    /// An object of which only the name is known: it has any fields, of any type. `Object.spec` of mutations.
    Named(Arc<str>),
    Optional(Arc<Type>),
    /// A type of a library: `net.IP`.
    Opaque(&'static str),
    /// Of a signature, or to be found out.
    Var(usize),
}

/// A list's elements, and what makes two lists equal.
#[derive(Clone, Debug)]
pub struct ListType {
    pub element: Type,
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`: lists of type set and map are equal in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// JSON names of the fields that identify an element.
    Map(Vec<Box<str>>),
}

/// An object with known fields.
#[derive(Debug, Default)]
pub struct Object {
    pub name: String,
    /// By the names that rules use.
    pub fields: BTreeMap<Box<str>, Field>,
}

#[derive(Debug)]
pub struct Field {
    /// Its name in JSON.
    pub json: Box<str>,
    pub ty: Type,
}

impl Type {
    /// What a literal is.
    pub fn of_literal(literal: &LiteralValue) -> Type {
        match literal {
            LiteralValue::Boolean(_) => Type::Bool,
            LiteralValue::Bytes(_) => Type::Bytes,
            LiteralValue::Double(_) => Type::Double,
            LiteralValue::Int(_) => Type::Int,
            LiteralValue::Null => Type::Null,
            LiteralValue::String(_) => Type::String,
            LiteralValue::UInt(_) => Type::Uint,
        }
    }

    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(ListType {
            element,
            kind: ListKind::Atomic,
        }))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// The type as expressions see it through `variables`: what is no container and no simple type is dynamic there, as
    /// upstream's `convertCelTypeToDeclType`.
    pub fn composed(&self) -> Type {
        self.composed_within(COMPOSED_LEVELS)
    }

    fn composed_within(&self, levels: usize) -> Type {
        let Some(left) = levels.checked_sub(1) else {
            return Type::Dyn;
        };
        match self {
            Type::List(list) => Type::list(list.element.composed_within(left)),
            Type::Map(map) => Type::map(map.0.composed_within(left), map.1.composed_within(left)),
            Type::Dyn
            | Type::Meta
            | Type::Object(_)
            | Type::Named(_)
            | Type::Optional(_)
            | Type::Opaque(_)
            | Type::Var(_) => Type::Dyn,
            simple => simple.clone(),
        }
    }

    /// Nothing is inside.
    pub(crate) fn is_simple(&self) -> bool {
        matches!(
            self,
            Type::Null
                | Type::Bool
                | Type::Int
                | Type::Uint
                | Type::Double
                | Type::String
                | Type::Bytes
                | Type::Duration
                | Type::Timestamp
        )
    }

    /// The same kind of type, whatever is inside.
    pub fn is_bool(&self) -> bool {
        matches!(self, Type::Bool | Type::Dyn)
    }

    pub fn is_string(&self) -> bool {
        matches!(self, Type::String | Type::Dyn)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn | Type::Var(_) => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Duration => f.write_str("google.protobuf.Duration"),
            Type::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Type::Meta => f.write_str("type"),
            Type::List(list) => write!(f, "list({})", list.element),
            Type::Map(map) => write!(f, "map({}, {})", map.0, map.1),
            Type::Object(object) => f.write_str(&object.name),
            Type::Named(name) => f.write_str(name),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Opaque(name) => f.write_str(name),
        }
    }
}

/// Words of CEL's grammar that a field or variable cannot be called.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name of a field in rules; `None`: rules cannot name it.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (word, taken) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            c if c.is_ascii_alphanumeric() || c == '_' => (&rest[..1], 1),
            _ => return None,
        };
        out.push_str(word);
        rest = &rest[taken..];
    }
    Some(out)
}
