//! A pod as the checks see it, and the words that they share.

use std::collections::BTreeSet;

use knarr_meta::object::{self, at, list_at, str_at, struct_at};
use serde_json::Value;

use super::{Judge, Violation};

/// A pod, or the template of one.
pub struct Pod<'p> {
    object: &'p Value,
}

/// A container of any sort.
pub struct Container<'p> {
    pub name: &'p str,
    pub value: &'p Value,
}

impl<'p> Pod<'p> {
    pub fn new(object: &'p Value) -> Pod<'p> {
        Pod { object }
    }

    pub fn annotations(&self) -> impl Iterator<Item = (&'p str, &'p str)> + use<'p> {
        object::annotations(self.object)
    }

    pub fn annotation(&self, key: &str) -> Option<&'p str> {
        object::annotation(self.object, key)
    }

    pub fn bool(&self, field: &str) -> bool {
        object::bool_at(self.object, &["spec", field])
    }

    pub fn volumes(&self) -> &'p [Value] {
        list_at(self.object, &["spec", "volumes"])
    }

    /// A field of the pod's security context.
    pub fn security(&self, field: &str) -> Option<&'p Value> {
        set(at(self.object, &["spec", "securityContext", field]))
    }

    /// Init containers, containers, ephemeral containers.
    pub fn containers(&self) -> impl Iterator<Item = Container<'p>> + use<'p> {
        let object = self.object;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |field| list_at(object, &["spec", field]))
            .map(|value| Container {
                name: str_at(value, &["name"]),
                value,
            })
    }

    /// The names of containers of which something is true.
    pub fn named(&self, which: impl Fn(&Container<'p>) -> bool) -> Vec<&'p str> {
        let containers = self.containers().filter(|container| which(container));
        containers.map(|container| container.name).collect()
    }

    /// A rule that pods for Windows are free of: they cannot set what it asks for.
    pub fn not_on_windows(&self, judge: Judge) -> Option<Violation> {
        match str_at(self.object, &["spec", "os", "name"]) {
            "windows" => None,
            _ => judge(self),
        }
    }

    /// A rule that pods in a user namespace of their own are free of: their root is nobody on the node.
    pub fn on_host_users(&self, judge: Judge) -> Option<Violation> {
        let own = at(self.object, &["spec", "hostUsers"]) == Some(&Value::Bool(false));
        if own { None } else { judge(self) }
    }
}

impl<'p> Container<'p> {
    /// A field of its security context.
    pub fn security(&self, field: &str) -> Option<&'p Value> {
        set(at(self.value, &["securityContext", field]))
    }

    /// An object in its security context.
    pub fn security_struct(&self, field: &str) -> Option<&'p Value> {
        struct_at(self.value, &["securityContext", field])
    }
}

/// A value that is there; null is not.
fn set(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

/// `"a", "b"`, unescaped as upstream has it.
pub fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let quoted = items
        .into_iter()
        .map(|item| format!("\"{}\"", item.as_ref()));
    quoted.collect::<Vec<_>>().join(", ")
}

pub fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
pub fn containers(names: &[&str]) -> String {
    let noun = plural("container", "containers", names.len());
    format!("{noun} {}", quoted(names))
}

/// Who sets something: `pod and container "a"`. Empty: nobody does.
pub fn setters(pod: bool, names: &[&str]) -> String {
    let pod = pod.then(|| "pod".to_owned());
    let containers = (!names.is_empty()).then(|| containers(names));
    let both = pod.into_iter().chain(containers);
    both.collect::<Vec<_>>().join(" and ")
}

/// The values of what has a wrong one, each once.
pub type Values<'p> = BTreeSet<&'p str>;
