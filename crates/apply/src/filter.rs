//! Paths that a write cannot change, and that nobody owns through it.

use crate::{
    element::Element,
    set::{Node, Set},
};

/// Which of the changed paths count.
#[derive(Clone, Debug)]
pub enum Filter {
    /// All that do not begin with one of these.
    Without(Set<'static>),
    /// Those that begin with one of these, and their beginnings.
    Only(Pattern),
}

/// Paths with places where anything may be.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// Everything from here on.
    all: bool,
    steps: Vec<(Step, Pattern)>,
}

/// A step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Field(&'static str),
    Any,
}

impl Filter {
    /// A filter of fields that are reset, each with what is below it.
    pub fn without(paths: &[&[&'static str]]) -> Filter {
        let mut set = Set::default();
        for path in paths {
            let path: Vec<Element<'static>> = path
                .iter()
                .map(|name| Element::Field((*name).into()))
                .collect();
            set.insert(&path);
        }
        Filter::Without(set)
    }

    /// A filter of the only fields that can be changed.
    pub fn only(paths: &[&[Step]]) -> Filter {
        let mut pattern = Pattern::default();
        paths.iter().for_each(|path| pattern.add(path));
        Filter::Only(pattern)
    }

    pub(crate) fn keep<'a>(&self, set: &Set<'a>) -> Set<'a> {
        match self {
            Filter::Without(paths) => set.recursive_difference(paths),
            Filter::Only(pattern) => pattern.keep(set),
        }
    }
}

impl Pattern {
    fn add(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else {
            self.all = true;
            return;
        };
        match self.steps.iter_mut().find(|(step, _)| step == first) {
            Some((_, below)) => below.add(rest),
            None => {
                let mut below = Pattern::default();
                below.add(rest);
                self.steps.push((*first, below));
            }
        }
    }

    fn keep<'a>(&self, set: &Set<'a>) -> Set<'a> {
        if self.all {
            return set.clone();
        }
        let mut out = Set::default();
        for node in &set.nodes {
            let step = self
                .steps
                .iter()
                .find(|(step, _)| match (step, &node.element) {
                    (Step::Any, _) => true,
                    (Step::Field(wanted), Element::Field(name)) => wanted == name,
                    _ => false,
                });
            if let Some((_, below)) = step {
                out.push(Node {
                    element: node.element.clone(),
                    member: node.member,
                    children: below.keep(&node.children),
                });
            }
        }
        out
    }
}
