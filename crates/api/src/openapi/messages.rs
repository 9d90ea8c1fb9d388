//! What the v2 document consists of, as tables: JSON name, field number in `openapi.v2.Document`, and what its value is.
//!
//! By them the document is written as protobuf, and the documents of other servers are checked. Structs generated from the
//! 650 lines of upstream's definition were rejected: they are needed in one direction only.

/// What a value in JSON is, and how it becomes a protobuf field.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    String,
    Bool,
    Integer,
    Double,
    /// A list as a repeated string.
    Strings,
    /// `$ref` of a schema: `#/definitions/NAME`.
    Reference,
    /// A string, or a list of them, in a message of its own (field 1): `type`.
    TypeMessage,
    /// Any value, as text.
    Any,
    /// A list of such values.
    Anys,
    Message(&'static Message),
    /// A list of them.
    Messages(&'static Message),
    /// A message inside this many wrappers, in field 1 of each.
    Wrapped(u8, &'static Message),
    /// A message or a list of them, in a message of its own (field 1): `items`.
    Elements(&'static Message),
    /// A message (field 1) or a bool (field 2), in a message of its own: `additionalProperties`.
    Additional(&'static Message),
    /// A list of parameters.
    Parameters,
    /// An object as a message with a repeated name and value (field 1), each value wrapped so often.
    Named(u8, &'static Message),
}

/// Fields of a message by JSON name; `extension` is the number of the repeated vendor extensions.
pub(super) struct Message {
    pub(super) fields: &'static [(&'static str, u32, Encoding)],
    pub(super) extension: u32,
}

impl Message {
    pub(super) fn field(&self, name: &str) -> Option<Encoding> {
        let found = self.fields.iter().find(|(known, _, _)| *known == name);
        found.map(|(_, _, encoding)| *encoding)
    }
}

/// Of a field that JSON has and protobuf has not.
pub(super) const NONE: u32 = 0;

use Encoding as E;

pub(super) static INFO: Message = Message {
    fields: &[("title", 1, E::String), ("version", 2, E::String)],
    extension: 7,
};

static EXTERNAL_DOCS: Message = Message {
    fields: &[("description", 1, E::String), ("url", 2, E::String)],
    extension: 3,
};

pub(super) static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, E::Reference),
        ("format", 2, E::String),
        ("title", 3, E::String),
        ("description", 4, E::String),
        ("default", 5, E::Any),
        ("multipleOf", 6, E::Double),
        ("maximum", 7, E::Double),
        ("exclusiveMaximum", 8, E::Bool),
        ("minimum", 9, E::Double),
        ("exclusiveMinimum", 10, E::Bool),
        ("maxLength", 11, E::Integer),
        ("minLength", 12, E::Integer),
        ("pattern", 13, E::String),
        ("maxItems", 14, E::Integer),
        ("minItems", 15, E::Integer),
        ("uniqueItems", 16, E::Bool),
        ("maxProperties", 17, E::Integer),
        ("minProperties", 18, E::Integer),
        ("required", 19, E::Strings),
        ("enum", 20, E::Anys),
        ("additionalProperties", 21, E::Additional(&SCHEMA)),
        ("type", 22, E::TypeMessage),
        ("items", 23, E::Elements(&SCHEMA)),
        ("allOf", 24, E::Messages(&SCHEMA)),
        ("properties", 25, E::Named(0, &SCHEMA)),
        ("discriminator", 26, E::String),
        ("readOnly", 27, E::Bool),
        ("externalDocs", 29, E::Message(&EXTERNAL_DOCS)),
        ("example", 30, E::Any),
        ("anyOf", NONE, E::Messages(&SCHEMA)),
        ("oneOf", NONE, E::Messages(&SCHEMA)),
        ("not", NONE, E::Message(&SCHEMA)),
        ("nullable", NONE, E::Bool),
        ("patternProperties", NONE, E::Named(0, &SCHEMA)),
    ],
    extension: 31,
};

pub(super) static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, E::Message(&OPERATION)),
        ("put", 3, E::Message(&OPERATION)),
        ("post", 4, E::Message(&OPERATION)),
        ("delete", 5, E::Message(&OPERATION)),
        ("options", 6, E::Message(&OPERATION)),
        ("head", 7, E::Message(&OPERATION)),
        ("patch", 8, E::Message(&OPERATION)),
        ("parameters", 9, E::Parameters),
    ],
    extension: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, E::Strings),
        ("summary", 2, E::String),
        ("description", 3, E::String),
        ("externalDocs", 4, E::Message(&EXTERNAL_DOCS)),
        ("operationId", 5, E::String),
        ("produces", 6, E::Strings),
        ("consumes", 7, E::Strings),
        ("parameters", 8, E::Parameters),
        ("responses", 9, E::Named(1, &RESPONSE)),
        ("schemes", 10, E::Strings),
        ("deprecated", 11, E::Bool),
    ],
    extension: 13,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, E::String),
        ("schema", 2, E::Wrapped(1, &SCHEMA)),
    ],
    extension: 5,
};

pub(super) static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, E::String),
        ("name", 2, E::String),
        ("in", 3, E::String),
        ("required", 4, E::Bool),
        ("schema", 5, E::Message(&SCHEMA)),
    ],
    extension: 6,
};

/// Of parameters in queries and forms.
pub(super) static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, E::Bool),
        ("in", 2, E::String),
        ("description", 3, E::String),
        ("name", 4, E::String),
        ("allowEmptyValue", 5, E::Bool),
        ("type", 6, E::String),
        ("format", 7, E::String),
        ("items", 8, E::Message(&PRIMITIVES)),
        ("collectionFormat", 9, E::String),
        ("default", 10, E::Any),
        ("maximum", 11, E::Double),
        ("exclusiveMaximum", 12, E::Bool),
        ("minimum", 13, E::Double),
        ("exclusiveMinimum", 14, E::Bool),
        ("maxLength", 15, E::Integer),
        ("minLength", 16, E::Integer),
        ("pattern", 17, E::String),
        ("maxItems", 18, E::Integer),
        ("minItems", 19, E::Integer),
        ("uniqueItems", 20, E::Bool),
        ("enum", 21, E::Anys),
        ("multipleOf", 22, E::Double),
    ],
    extension: 23,
};

/// Of parameters in paths and headers.
pub(super) static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, E::Bool),
        ("in", 2, E::String),
        ("description", 3, E::String),
        ("name", 4, E::String),
        ("type", 5, E::String),
        ("format", 6, E::String),
        ("items", 7, E::Message(&PRIMITIVES)),
        ("collectionFormat", 8, E::String),
        ("default", 9, E::Any),
        ("maximum", 10, E::Double),
        ("exclusiveMaximum", 11, E::Bool),
        ("minimum", 12, E::Double),
        ("exclusiveMinimum", 13, E::Bool),
        ("maxLength", 14, E::Integer),
        ("minLength", 15, E::Integer),
        ("pattern", 16, E::String),
        ("maxItems", 17, E::Integer),
        ("minItems", 18, E::Integer),
        ("uniqueItems", 19, E::Bool),
        ("enum", 20, E::Anys),
        ("multipleOf", 21, E::Double),
    ],
    extension: 22,
};

/// What lists in parameters hold.
static PRIMITIVES: Message = Message {
    fields: &[
        ("type", 1, E::String),
        ("format", 2, E::String),
        ("items", 3, E::Message(&PRIMITIVES)),
        ("collectionFormat", 4, E::String),
        ("default", 5, E::Any),
        ("maximum", 6, E::Double),
        ("exclusiveMaximum", 7, E::Bool),
        ("minimum", 8, E::Double),
        ("exclusiveMinimum", 9, E::Bool),
        ("maxLength", 10, E::Integer),
        ("minLength", 11, E::Integer),
        ("pattern", 12, E::String),
        ("maxItems", 13, E::Integer),
        ("minItems", 14, E::Integer),
        ("uniqueItems", 15, E::Bool),
        ("enum", 16, E::Anys),
        ("multipleOf", 17, E::Double),
    ],
    extension: 18,
};

/// The message of a parameter by where it stands, and that message's number: 0 for a body, which is in no other.
pub(super) fn parameter(place: &str) -> Option<(u32, &'static Message)> {
    Some(match place {
        "body" => (0, &BODY_PARAMETER),
        "header" => (1, &PATH_PARAMETER),
        "formData" => (2, &QUERY_PARAMETER),
        "query" => (3, &QUERY_PARAMETER),
        "path" => (4, &PATH_PARAMETER),
        _ => return None,
    })
}
