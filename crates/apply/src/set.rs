//! Sets of paths, as sorted tries.
//!
//! Upstream keeps members and children of a node in two lists; one list of both is the same set, and needs one walk. No node is
//! without members below it.

use std::cmp::Ordering;

use crate::{
    element::{self, Element},
    schema::{Field, Schema, field_schema},
};

mod json;
mod reconcile;
#[cfg(test)]
mod tests;

/// A set of paths. Paths that begin with others are members by themselves: `.spec` says nothing of `.spec.replicas`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'a> {
    /// Sorted by element, each once.
    pub(crate) nodes: Vec<Node<'a>>,
}

/// A path element and what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    pub element: Element<'a>,
    /// Whether the path that ends here is in the set.
    pub member: bool,
    pub children: Set<'a>,
}

impl<'a> Node<'a> {
    pub(crate) fn leaf(element: Element<'a>) -> Node<'a> {
        Node {
            element,
            member: true,
            children: Set::default(),
        }
    }

    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

/// What an operation makes of a node that is in one set, or of two at the same place.
enum Pair<'n, 'm, 'a, 'b> {
    Left(&'n Node<'a>),
    Right(&'m Node<'b>),
    Both(&'n Node<'a>, &'m Node<'b>),
}

impl<'a> Set<'a> {
    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many paths are in it.
    pub fn len(&self) -> usize {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| usize::from(node.member).saturating_add(node.children.len()))
            .fold(0, usize::saturating_add)
    }

    /// Adds a path; the empty one is in no set.
    pub fn insert(&mut self, path: &[Element<'a>]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let node = self.node_mut(first);
        match rest {
            [] => node.member = true,
            rest => node.children.insert(rest),
        }
    }

    fn node_mut(&mut self, element: &Element<'a>) -> &mut Node<'a> {
        let place = self.place(element);
        let at = place.unwrap_or_else(|at| at);
        if place.is_err() {
            let node = Node {
                member: false,
                ..Node::leaf(element.clone())
            };
            self.nodes.insert(at, node);
        }
        &mut self.nodes[at]
    }

    fn place(&self, element: &Element<'_>) -> Result<usize, usize> {
        self.nodes
            .binary_search_by(|node| compare(&node.element, element))
    }

    pub(crate) fn node(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        self.place(element).ok().map(|at| &self.nodes[at])
    }

    /// Whether a path is in it.
    pub fn contains(&self, path: &[&Element<'_>]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        self.node(first).is_some_and(|node| match rest {
            [] => node.member,
            rest => node.children.contains(rest),
        })
    }

    /// Appends a node whose element is greater than all before, if anything is in it.
    pub(crate) fn push(&mut self, node: Node<'a>) {
        if !node.is_empty() {
            self.nodes.push(node);
        }
    }

    /// Puts nodes in order that were pushed in any. No two are of one element.
    pub(crate) fn sort(&mut self) {
        if !self.nodes.is_sorted_by(|a, b| a.element <= b.element) {
            self.nodes.sort_by(|a, b| a.element.cmp(&b.element));
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Set<'static> {
        let nodes = self.nodes.into_iter().map(|node| Node {
            element: node.element.into_owned(),
            member: node.member,
            children: node.children.into_owned(),
        });
        Set {
            nodes: nodes.collect(),
        }
    }

    /// Walks both sets at once.
    fn zip<'n, 'm, 'b>(&'n self, other: &'m Set<'b>, mut visit: impl FnMut(Pair<'n, 'm, 'a, 'b>)) {
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => compare(&left.element, &right.element),
            };
            match order {
                Ordering::Less => left.next().into_iter().for_each(|n| visit(Pair::Left(n))),
                Ordering::Greater => right.next().into_iter().for_each(|n| visit(Pair::Right(n))),
                Ordering::Equal => {
                    if let (Some(left), Some(right)) = (left.next(), right.next()) {
                        visit(Pair::Both(left, right));
                    }
                }
            }
        }
    }

    /// What is in one or the other.
    #[must_use]
    pub fn union(&self, other: &Set<'a>) -> Set<'a> {
        let mut out = Set::default();
        self.zip(other, |pair| match pair {
            Pair::Left(node) | Pair::Right(node) => out.push(node.clone()),
            Pair::Both(left, right) => out.push(Node {
                element: left.element.clone(),
                member: left.member || right.member,
                children: left.children.union(&right.children),
            }),
        });
        out
    }

    /// [`Set::union`] of sets of which one is often empty.
    #[must_use]
    pub(crate) fn and(self, other: Set<'a>) -> Set<'a> {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => self.union(&other),
        }
    }

    /// [`Set::difference`] in place, at the cost of the other set.
    pub(crate) fn subtract(&mut self, other: &Set<'_>) {
        for gone in &other.nodes {
            let Ok(at) = self.place(&gone.element) else {
                continue;
            };
            let node = &mut self.nodes[at];
            node.member &= !gone.member;
            node.children.subtract(&gone.children);
            if node.is_empty() {
                self.nodes.remove(at);
            }
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set<'_>) -> Set<'a> {
        let mut out = Set::default();
        self.zip(other, |pair| {
            if let Pair::Both(left, right) = pair {
                out.push(Node {
                    element: left.element.clone(),
                    member: left.member && right.member,
                    children: left.children.intersection(&right.children),
                });
            }
        });
        out
    }

    /// What is here and not there. A path stays whose beginning alone is there.
    #[must_use]
    pub fn difference(&self, other: &Set<'_>) -> Set<'a> {
        let mut out = Set::default();
        self.zip(other, |pair| match pair {
            Pair::Left(node) => out.push(node.clone()),
            Pair::Right(_) => {}
            Pair::Both(left, right) => out.push(Node {
                element: left.element.clone(),
                member: left.member && !right.member,
                children: left.children.difference(&right.children),
            }),
        });
        out
    }

    /// What is here and not there, and does not begin with a path that is there.
    #[must_use]
    pub fn recursive_difference(&self, other: &Set<'_>) -> Set<'a> {
        let mut out = Set::default();
        self.zip(other, |pair| match pair {
            Pair::Left(node) => out.push(node.clone()),
            Pair::Right(_) => {}
            Pair::Both(_, right) if right.member => {}
            Pair::Both(left, right) => out.push(Node {
                element: left.element.clone(),
                member: left.member,
                children: left.children.recursive_difference(&right.children),
            }),
        });
        out
    }

    /// The set with every declared field that has members below it: to remove `.a.b.c` must not leave an empty `.a`.
    #[must_use]
    pub fn with_named_fields(&self, schema: Option<&dyn Schema>) -> Set<'a> {
        let atom = schema.map(Schema::atom).unwrap_or_default();
        let mut out = Set::default();
        for node in &self.nodes {
            let (mut named, mut below) = (false, None);
            match (&node.element, schema) {
                (Element::Field(name), Some(schema)) if atom.map.is_some() => {
                    named = schema.field(name).is_some();
                    below = field_schema(schema, name);
                }
                (Element::Key(_), Some(schema)) if atom.list.is_some() => {
                    below = Some(schema.element());
                }
                _ => {}
            }
            out.push(Node {
                element: node.element.clone(),
                member: node.member || (named && !node.children.is_empty()),
                children: node.children.with_named_fields(below),
            });
        }
        out
    }

    /// Every path: those that end at a node before those that go on, as upstream lists them.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.for_each(&mut |path| out.push(element::show(path)));
        out
    }

    /// Calls `visit` with every path, in the order of [`Set::paths`].
    pub fn for_each<'s>(&'s self, visit: &mut dyn FnMut(&[&'s Element<'a>])) {
        self.walk(&mut Vec::new(), visit);
    }

    fn walk<'s>(
        &'s self,
        path: &mut Vec<&'s Element<'a>>,
        visit: &mut dyn FnMut(&[&'s Element<'a>]),
    ) {
        for node in self.nodes.iter().filter(|node| node.member) {
            path.push(&node.element);
            visit(path);
            path.pop();
        }
        for node in self.nodes.iter().filter(|n| !n.children.is_empty()) {
            path.push(&node.element);
            node.children.walk(path, visit);
            path.pop();
        }
    }
}

/// Orders elements of different lifetimes.
fn compare(left: &Element<'_>, right: &Element<'_>) -> Ordering {
    left.cmp(right)
}

/// What a declared field is taken to have where it is absent.
pub(crate) fn absent_value<'s>(field: Option<Field<'s>>) -> Option<&'s serde_json::Value> {
    field.and_then(|field| field.absent)
}
