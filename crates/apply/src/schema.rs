//! What merging must know of a type.

use serde_json::Value;

/// A type of values, as upstream's `schema.Atom`: a value may be of more than one of the three shapes (anything at all).
///
/// One trait for all shapes, so that a walk needs one reference. What a method says of a shape that [`Schema::atom`] leaves
/// out is never asked.
pub trait Schema {
    /// The shapes that values of this type have.
    fn atom(&self) -> Atom;
    /// The type of a list's elements.
    fn element(&self) -> &dyn Schema;
    /// The field that is the `index`th of the key of elements of a [`ListType::Map`]; `None` after the last.
    fn key(&self, index: usize) -> Option<&str>;
    /// A field that the type declares.
    fn field(&self, name: &str) -> Option<Field<'_>>;
    /// The type of fields that the type does not declare. `None`: there may be none.
    fn undeclared(&self) -> Option<&dyn Schema>;
    /// Whether any field may be there, each of its own shape: nothing is known of the values.
    fn is_deduced(&self) -> bool {
        false
    }
}

/// The shapes that values of a type have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Atom {
    pub map: Option<MapType>,
    pub scalar: Option<Scalar>,
    pub list: Option<ListType>,
}

/// What scalars a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Numeric,
    String,
    Boolean,
    /// Any of them.
    Untyped,
}

/// How a list's elements belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is one value.
    Atomic,
    /// Scalars, each owned by itself.
    Set,
    /// Objects, told apart by their key fields.
    Map,
}

/// How an object's fields belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// The object is one value.
    Atomic,
    /// Each field is owned by itself.
    Granular,
}

/// A declared field.
#[derive(Clone, Copy)]
pub struct Field<'s> {
    pub schema: &'s dyn Schema,
    /// What stands for the field in a key when it is absent.
    pub default: Option<&'s Value>,
    /// What an object is taken to have where the field is absent: upstream's objects are structs, whose lists may be null and
    /// whose embedded structs are empty, but never absent.
    pub absent: Option<&'s Value>,
}

/// A type of which nothing is known: objects are merged field by field, lists are one value.
pub struct Deduced;

/// A type whose values are one value whatever they are.
pub struct Opaque;

impl Schema for Deduced {
    fn atom(&self) -> Atom {
        Atom {
            map: Some(MapType::Granular),
            scalar: Some(Scalar::Untyped),
            list: Some(ListType::Atomic),
        }
    }

    fn element(&self) -> &dyn Schema {
        &Opaque
    }

    fn key(&self, _: usize) -> Option<&str> {
        None
    }

    fn field(&self, _: &str) -> Option<Field<'_>> {
        None
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        Some(&Deduced)
    }

    fn is_deduced(&self) -> bool {
        true
    }
}

impl Schema for Opaque {
    fn atom(&self) -> Atom {
        Atom {
            map: Some(MapType::Atomic),
            scalar: Some(Scalar::Untyped),
            list: Some(ListType::Atomic),
        }
    }

    fn element(&self) -> &dyn Schema {
        &Opaque
    }

    fn key(&self, _: usize) -> Option<&str> {
        None
    }

    fn field(&self, _: &str) -> Option<Field<'_>> {
        None
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        Some(&Opaque)
    }
}

impl Atom {
    /// The shapes that are left when a value is seen: its own where the type has it, else all of them (as for null).
    pub(crate) fn deduce(self, value: &Value) -> Atom {
        match value {
            Value::Number(_) | Value::String(_) | Value::Bool(_) if self.scalar.is_some() => Atom {
                scalar: self.scalar,
                ..Atom::default()
            },
            Value::Array(_) if self.list.is_some() => Atom {
                list: self.list,
                ..Atom::default()
            },
            Value::Object(_) if self.map.is_some() => Atom {
                map: self.map,
                ..Atom::default()
            },
            _ => self,
        }
    }

    /// The shape that decides, where more than one is left. `None`: the type takes nothing.
    pub(crate) fn shape(self) -> Option<Shape> {
        if let Some(map) = self.map {
            return Some(Shape::Map(map));
        }
        if let Some(scalar) = self.scalar {
            return Some(Shape::Scalar(scalar));
        }
        self.list.map(Shape::List)
    }
}

/// One of the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Map(MapType),
    Scalar(Scalar),
    List(ListType),
}

/// The type of a field, declared or not.
pub(crate) fn field_schema<'s>(schema: &'s dyn Schema, name: &str) -> Option<&'s dyn Schema> {
    match schema.field(name) {
        Some(field) => Some(field.schema),
        None => schema.undeclared(),
    }
}
