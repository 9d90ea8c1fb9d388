//! Where in a document a walk is: a list of frames on the stack, so that a walk that finds nothing allocates nothing.

use std::fmt::{self, Write as _};

/// One step down from the parent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// The document itself.
    Root,
    /// A field of a struct of this type.
    Field {
        name: &'a str,
        of: &'static str,
        /// The embedded structs that it is in, joined by dots.
        within: &'static str,
    },
    /// A key whose type is not known, or of a map.
    Key(&'a str),
    Index(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::Root,
    };

    pub(super) fn child(&'a self, step: Step<'a>) -> Path<'a> {
        Path {
            parent: Some(self),
            step,
        }
    }

    /// The path of a field below this one, as strict decoding errors show it.
    pub(super) fn with(&self, name: &str) -> String {
        let base = self.to_string();
        if base.is_empty() {
            name.to_owned()
        } else {
            format!("{base}.{name}")
        }
    }

    /// The same without the keys of maps.
    pub(super) fn without_keys(&self, name: &str) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            steps.push(path.step);
            at = path.parent;
        }
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Root | Step::Key(_) => {}
                Step::Field { name, .. } => {
                    text.push_str(name);
                    text.push('.');
                }
                Step::Index(index) => {
                    text.pop();
                    let _ = write!(text, "[{index}].");
                }
            }
        }
        text + name
    }

    /// RFC 6901.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = match self.parent {
            Some(parent) => parent.pointer(),
            None => String::new(),
        };
        match self.step {
            Step::Root => {}
            Step::Field { name, .. } | Step::Key(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Step::Index(index) => {
                let _ = write!(pointer, "/{index}");
            }
        }
        pointer
    }

    /// The innermost struct's type, and the fields down to here joined by dots: what Go's decoder says of a type error. Keys
    /// of maps and places in lists are not in it, embedded structs are.
    pub(super) fn go_field(&self) -> Option<(&'static str, String)> {
        let mut owner = None;
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field { name, of, within } = path.step {
                owner.get_or_insert(of);
                names.push(name);
                if !within.is_empty() {
                    names.push(within);
                }
            }
            at = path.parent;
        }
        names.reverse();
        Some((owner?, names.join(".")))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            fmt::Display::fmt(parent, f)?;
            let dot = match parent.step {
                Step::Root => "",
                _ => ".",
            };
            match self.step {
                Step::Root => Ok(()),
                Step::Field { name, .. } | Step::Key(name) => write!(f, "{dot}{name}"),
                Step::Index(index) => write!(f, "[{index}]"),
            }
        } else {
            Ok(())
        }
    }
}
