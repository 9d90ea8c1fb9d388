//! The types of the API as expressions see them, for what is told of a policy's expressions once it is written.

use std::{collections::BTreeMap, sync::Arc};

use knarr_cel::{Field, Object, Type as CelType, escape};

use super::{Definition, DefinitionRef, Schema, Shape, Type};
use crate::Kind;

/// Deepest nesting that is known; what is deeper is dynamic. Types that contain themselves end here.
const MAX_DEPTH: usize = 20;

/// The type of a kind's objects; none where nothing is known of them.
pub fn type_of(kind: &Kind) -> Option<CelType> {
    if let Some(ty) = kind.strategy.expression_type() {
        return Some(with_metadata(ty));
    }
    let definition = super::definition(&kind.definition)?.definition()?;
    Some(of_definition(definition, &kind.kind, &mut Vec::new()))
}

/// Custom resources do not say what their metadata is, which all objects have alike.
fn with_metadata(ty: CelType) -> CelType {
    let CelType::Object(object) = &ty else {
        return ty;
    };
    let metadata = super::definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        .and_then(Schema::definition)
        .map(|definition| of_definition(definition, "ObjectMeta", &mut Vec::new()));
    let mut fields: BTreeMap<Box<str>, Field> = object
        .fields
        .iter()
        .map(|(name, known)| (name.clone(), field(&known.json, known.ty.clone())))
        .collect();
    if let Some(metadata) = metadata {
        fields.insert("metadata".into(), field("metadata", metadata));
    }
    let name = object.name.clone();
    CelType::Object(Arc::new(Object { name, fields }))
}

fn field(json: &str, ty: CelType) -> Field {
    Field {
        json: json.into(),
        ty,
    }
}

/// `path`: the definitions around.
fn of_definition(
    definition: &'static Definition,
    name: &str,
    path: &mut Vec<&'static str>,
) -> CelType {
    match &definition.shape {
        Shape::Time | Shape::MicroTime => CelType::Timestamp,
        Shape::Quantity | Shape::IntOrString | Shape::AnyObject | Shape::Any => CelType::Dyn,
        Shape::Struct(fields) if fields.is_empty() => CelType::Dyn,
        Shape::Struct(fields) => {
            if path.len() >= MAX_DEPTH || path.contains(&definition.name) {
                return CelType::Dyn;
            }
            path.push(definition.name);
            let mut known = BTreeMap::new();
            for one in fields {
                if let Some(escaped) = escape(one.name) {
                    let ty = of(&one.schema.ty, &format!("{name}.{}", one.name), path);
                    known.insert(escaped.into(), field(one.name, ty));
                }
            }
            path.pop();
            CelType::Object(Arc::new(Object {
                name: name.to_owned(),
                fields: known,
            }))
        }
    }
}

fn of(ty: &Type, name: &str, path: &mut Vec<&'static str>) -> CelType {
    match ty {
        Type::String => CelType::String,
        Type::Bytes => CelType::Bytes,
        Type::Int32 | Type::Int64 => CelType::Int,
        Type::Double => CelType::Double,
        Type::Bool => CelType::Bool,
        Type::List(element) => CelType::list(of(&element.ty, &format!("{name}.@idx"), path)),
        Type::Map(values) => {
            let values = of(&values.ty, &format!("{name}.@elem"), path);
            CelType::map(CelType::String, values)
        }
        Type::Ref(reference) => of_definition(DefinitionRef::get(*reference), name, path),
    }
}

#[cfg(test)]
mod tests {
    use knarr_cel::{Env, Program};

    use super::*;

    fn errors(source: &str) -> String {
        let deployments = crate::built_in("apps", "v1", "deployments").expect("a kind");
        let ty = type_of(deployments).expect("a type");
        match Program::compile(source, &Env::default().with("object", ty)) {
            Ok(_) => String::new(),
            Err(error) => error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    #[test]
    fn deployments_have_their_fields() {
        for (source, told) in [
            (
                "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'",
                "",
            ),
            (
                "object.spec.template.spec.containers.all(c, c.image.startsWith('a') && c.ports.all(p, p.containerPort > 1))",
                "",
            ),
            ("object.spec.strategy.rollingUpdate.maxSurge == 1", ""),
            (
                "object.metadata.creationTimestamp > timestamp('2026-01-01T00:00:00Z')",
                "",
            ),
            (
                "object.spec.replicas > '1'",
                "ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'",
            ),
            (
                "object.spec.nothing == 1",
                "ERROR: <input>:1:12: undefined field 'nothing'",
            ),
            (
                "object.spec.template.spec.containers[0].imagine == ''",
                "ERROR: <input>:1:40: undefined field 'imagine'",
            ),
        ] {
            assert_eq!(errors(source), told, "{source}");
        }
    }

    #[test]
    fn every_kind_has_a_type_and_it_ends() {
        for kind in crate::built_in_kinds() {
            assert!(type_of(kind).is_some(), "{kind:?}");
        }
    }
}
