//! Strict decoding errors in the order of the document.
//!
//! Upstream reports unknown and duplicate fields in one list, in the order in which its decoder met them; a tree with sorted
//! keys has lost that order. So when there is anything to report, the document is read once more, by type.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::schema::{
    Schema, Shape, Type,
    parse::MAX_STRICT_ERRORS,
    path::{Path, Step},
};

/// All `unknown field` and `duplicate field` messages of a JSON document of a type, in the order of the document. What is not
/// JSON has none.
pub fn in_document_order(schema: &Schema, bytes: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let root = Node {
        ty: Some(&schema.ty),
        path: &Path::ROOT,
        found: &found,
    };
    match root.deserialize(&mut deserializer) {
        Ok(()) => found.into_inner(),
        Err(_) => Vec::new(),
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    /// `None`: untyped, where any key is known.
    ty: Option<&'a Type>,
    path: &'a Path<'a>,
    found: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn report(&self, what: &str, name: &str) {
        let mut found = self.found.borrow_mut();
        let message = format!("{what} field {:?}", self.path.with(name));
        if found.len() < MAX_STRICT_ERRORS && !found.contains(&message) {
            found.push(message);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let ty = match self.ty {
            Some(Type::List(element)) => Some(&element.ty),
            _ => None,
        };
        for index in 0.. {
            let path = self.path.child(Step::Index(index));
            if access
                .next_element_seed(Node {
                    ty,
                    path: &path,
                    ..self
                })?
                .is_none()
            {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let definition = match self.ty {
            Some(Type::Ref(reference)) => Some(reference.get()),
            _ => None,
        };
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            let ty = match (self.ty, definition) {
                (Some(Type::Map(element)), _) => Some(&element.ty),
                (_, Some(definition)) if matches!(definition.shape, Shape::Struct(_)) => {
                    match definition.field(&key) {
                        Some(field) => Some(&field.schema.ty),
                        None => {
                            self.report("unknown", &key);
                            access.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    }
                }
                _ => None,
            };
            if seen.contains(&key) {
                self.report("duplicate", &key);
            }
            let path = self.path.child(Step::Key(&key));
            access.next_value_seed(Node {
                ty,
                path: &path,
                ..self
            })?;
            seen.insert(key);
        }
        Ok(())
    }
}
