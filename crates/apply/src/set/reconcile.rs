//! Sets that were written by another schema of the same type.

use super::{Node, Set};
use crate::{
    element::Element,
    schema::{ListType, MapType, Schema, Shape, field_schema},
};

impl<'a> Set<'a> {
    /// The set as this schema would have it: who owned parts of what is one value now owns the value. `None`: no change.
    ///
    /// What has become granular is left: upstream takes it as if it had always been.
    pub fn reconciled(&self, schema: &dyn Schema) -> Option<Set<'a>> {
        match schema.atom().shape()? {
            Shape::Map(_) if schema.is_deduced() => None,
            Shape::Map(_) => self.rebuilt(|node| match &node.element {
                Element::Field(name) => below(node, field_schema(schema, name)?),
                _ => below(node, schema.undeclared()?),
            }),
            Shape::List(_) => self.rebuilt(|node| below(node, schema.element())),
            Shape::Scalar(_) => None,
        }
    }

    fn rebuilt(&self, change: impl Fn(&Node<'a>) -> Option<Node<'a>>) -> Option<Set<'a>> {
        let changes: Vec<Option<Node<'a>>> = self.nodes.iter().map(change).collect();
        if changes.iter().all(Option::is_none) {
            return None;
        }
        let nodes = self.nodes.iter().zip(changes);
        Some(Set {
            nodes: nodes
                .map(|(node, changed)| changed.unwrap_or_else(|| node.clone()))
                .collect(),
        })
    }
}

/// A node by the schema of what is below it.
fn below<'a>(node: &Node<'a>, schema: &dyn Schema) -> Option<Node<'a>> {
    let whole = node.member && node.children.is_empty();
    match schema.atom().shape()? {
        Shape::Map(MapType::Atomic) if !node.children.is_empty() => {
            Some(Node::leaf(node.element.clone()))
        }
        Shape::List(ListType::Atomic) if !whole => Some(Node::leaf(node.element.clone())),
        _ => Some(Node {
            element: node.element.clone(),
            member: node.member,
            children: node.children.reconciled(schema)?,
        }),
    }
}
