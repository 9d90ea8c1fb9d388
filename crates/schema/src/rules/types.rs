//! The types of a schema, as rules see them.

use std::{collections::BTreeMap, sync::Arc};

use knarr_cel::{Field, ListKind, ListType as CelList, Object, Type as CelType, escape};

use crate::{Additional, ListType, Schema, Type};

/// The type of a schema's values; none where rules cannot see them. `root`: it is an object with type and metadata.
pub fn of(schema: &Schema, root: bool) -> Option<CelType> {
    if schema.int_or_string {
        return Some(CelType::Dyn);
    }
    let format = schema.values.as_ref().map_or("", |values| &values.format);
    Some(match schema.ty? {
        Type::Boolean => CelType::Bool,
        Type::Integer => CelType::Int,
        Type::Number => CelType::Double,
        Type::String => match format {
            "byte" => CelType::Bytes,
            "duration" => CelType::Duration,
            "date" | "date-time" => CelType::Timestamp,
            _ => CelType::String,
        },
        Type::Array => {
            let items = schema.items.as_deref()?;
            CelType::List(Arc::new(CelList {
                element: of(items, items.embedded)?,
                kind: match schema.list_type {
                    ListType::Atomic => ListKind::Atomic,
                    ListType::Set => ListKind::Set,
                    ListType::Map => ListKind::Map(schema.list_map_keys.to_vec()),
                },
            }))
        }
        Type::Object => match &schema.additional {
            Additional::Of(values) => CelType::map(CelType::String, of(values, values.embedded)?),
            _ => object(schema, root),
        },
    })
}

fn object(schema: &Schema, root: bool) -> CelType {
    let mut fields = BTreeMap::new();
    for (name, property) in schema.properties() {
        if let (Some(escaped), Some(ty)) = (escape(name), of(property, property.embedded)) {
            fields.insert(escaped.into(), field(name, ty));
        }
    }
    if root {
        for name in ["apiVersion", "kind"] {
            fields.insert(name.into(), field(name, CelType::String));
        }
        let names = ["name", "generateName"];
        let metadata = names.map(|name| (name.into(), field(name, CelType::String)));
        let metadata = Object {
            name: "object".to_owned(),
            fields: metadata.into(),
        };
        fields.insert(
            "metadata".into(),
            field("metadata", CelType::Object(Arc::new(metadata))),
        );
    }
    CelType::Object(Arc::new(Object {
        name: "object".to_owned(),
        fields,
    }))
}

fn field(json: &str, ty: CelType) -> Field {
    Field {
        json: json.into(),
        ty,
    }
}
