//! Types of JSON values, as schemas name them.

/// A type of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    pub const ALL: [Type; 6] = [
        Type::Array,
        Type::Boolean,
        Type::Integer,
        Type::Number,
        Type::Object,
        Type::String,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Type::Array => "array",
            Type::Boolean => "boolean",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Object => "object",
            Type::String => "string",
        }
    }

    pub fn parse(name: &str) -> Option<Type> {
        Type::ALL.into_iter().find(|ty| ty.as_str() == name)
    }
}
