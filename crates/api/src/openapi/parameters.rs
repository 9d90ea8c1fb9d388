//! Parameters of operations: which there are, what they mean, and which stand at the path because every operation there has them.

use std::borrow::Cow;

use super::item::{Operation, PathItem};

pub(super) const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
pub(super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
pub(super) const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
pub(super) const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
pub(super) const DELETE_COLLECTION: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
];
pub(super) const LOG: &[&str] = &[
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
];

/// Parameters of a connection, by the kind of its options (`PodExecOptions`).
pub(super) fn of_connection(options: &str) -> &'static [&'static str] {
    match options {
        "PodAttachOptions" => &["container", "stderr", "stdin", "stdout", "tty"],
        "PodExecOptions" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "PodPortForwardOptions" => &["ports"],
        _ => &["path"],
    }
}

/// Name, type, meaning.
type Described = (&'static str, &'static str, &'static str);

const PRETTY: Described = (
    "pretty",
    "string",
    "If 'true', then the output is pretty printed.",
);

/// Those of queries, in the order of their names.
const QUERY: &[Described] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "Ask a watch to send bookmarks: events that carry nothing but a resource version.",
    ),
    (
        "command",
        "string",
        "The program to run, and its arguments; given once for each. No shell is asked.",
    ),
    (
        "container",
        "string",
        "The container; may be left out where there is only one.",
    ),
    (
        "continue",
        "string",
        "The token of the previous page of a list that was read with a limit.",
    ),
    (
        "dryRun",
        "string",
        "When present, nothing is persisted. Valid values are: - All: every stage of the request is processed but the last.",
    ),
    (
        "fieldManager",
        "string",
        "The name of whoever makes this change: at most 128 printable characters.",
    ),
    (
        "fieldSelector",
        "string",
        "Only objects whose fields match this selector.",
    ),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields. Valid values are: - Ignore: they are dropped, and the last duplicate \
         wins. - Warn: so too, with a warning for each. This is the default. - Strict: the request fails and names them all.",
    ),
    ("follow", "boolean", "Send what is logged from now on, too."),
    (
        "force",
        "boolean",
        "Take over fields that others own; for apply patches only.",
    ),
    (
        "gracePeriodSeconds",
        "integer",
        "Seconds before the object is deleted; zero means at once.",
    ),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read from the store. It wants a feature that is switched off.",
    ),
    (
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Take the node's serving certificate for what it says it is.",
    ),
    (
        "labelSelector",
        "string",
        "Only objects whose labels match this selector.",
    ),
    (
        "limit",
        "integer",
        "The most objects in one answer; more are had with its continue token.",
    ),
    ("limitBytes", "integer", "The most bytes of log to send."),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: use propagationPolicy. Whether dependents are orphaned.",
    ),
    ("path", "string", "What is asked for there."),
    ("ports", "integer", "The ports of the pod."),
    PRETTY,
    (
        "previous",
        "boolean",
        "The log of the container's previous run.",
    ),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: 'Orphan', 'Background' (deleted after the object) or 'Foreground' (before it).",
    ),
    (
        "resourceVersion",
        "string",
        "Which state may be answered with; see resourceVersionMatch.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is applied to lists: Exact or NotOlderThan.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Begin a watch with the state as synthetic events, ended by a bookmark.",
    ),
    (
        "shardSelector",
        "string",
        "Only objects of a shard. It wants a feature that is switched off.",
    ),
    (
        "sinceSeconds",
        "integer",
        "Only what was logged in the last so many seconds.",
    ),
    ("stderr", "boolean", "Whether errors are streamed."),
    ("stdin", "boolean", "Whether input is streamed."),
    ("stdout", "boolean", "Whether output is streamed."),
    (
        "stream",
        "string",
        "Which of the container's outputs: All, Stdout or Stderr. It wants a feature that is switched off.",
    ),
    (
        "tailLines",
        "integer",
        "Only so many lines from the end of the log.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "Ends a list or watch after so many seconds.",
    ),
    ("timestamps", "boolean", "Begin each line with its time."),
    ("tty", "boolean", "Whether there is a terminal."),
    (
        "watch",
        "boolean",
        "Answer with a stream of changes instead of a list.",
    ),
];

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    /// `path` or `query`.
    pub place: &'static str,
    /// `string`, `integer` or `boolean`.
    pub ty: &'static str,
    pub description: Cow<'static, str>,
}

/// Parameters as upstream arranges them: those that all operations of a path have alike, and the others of each.
pub(super) struct Parameters {
    pub common: Vec<Parameter>,
    /// In the order of the operations.
    pub own: Vec<Vec<Parameter>>,
}

impl Parameters {
    pub(super) fn of(item: &PathItem<'_>) -> Parameters {
        let operations = item.operations.iter();
        let mut own: Vec<Vec<Parameter>> =
            operations.map(|operation| all(item, operation)).collect();
        let mut common = own.first().cloned().unwrap_or_default();
        common.retain(|parameter| own.iter().all(|of| of.contains(parameter)));
        for of in &mut own {
            of.retain(|parameter| !common.contains(parameter));
        }
        Parameters { common, own }
    }
}

/// By name and place.
fn all(item: &PathItem<'_>, operation: &Operation<'_>) -> Vec<Parameter> {
    let mut all = of_path(item);
    let pretty = operation.gvk.is_some() && operation.action != Some("connect");
    let wanted = |name: &str| operation.query.contains(&name) || (pretty && name == PRETTY.0);
    let query = QUERY.iter().filter(|(name, ..)| wanted(name));
    all.extend(query.map(|&(name, ty, description)| Parameter {
        name,
        place: "query",
        ty,
        description: description.into(),
    }));
    all.sort_by_key(|parameter| (parameter.name, parameter.place));
    all
}

fn of_path(item: &PathItem<'_>) -> Vec<Parameter> {
    let known: [(&'static str, &str, Cow<'static, str>); 3] = [
        (
            "name",
            "{name}",
            format!("name of the {}", item.kind).into(),
        ),
        (
            "namespace",
            "{namespace}",
            "the namespace of the object".into(),
        ),
        ("path", "{path}", "path to the resource".into()),
    ];
    let there = known
        .into_iter()
        .filter(|(_, token, _)| item.path.contains(token));
    there
        .map(|(name, _, description)| Parameter {
            name,
            place: "path",
            ty: "string",
            description,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_that_is_named_is_described() {
        let connections = [
            "PodAttachOptions",
            "PodExecOptions",
            "PodPortForwardOptions",
            "NodeProxyOptions",
        ];
        let sets = [LIST, WRITE, PATCH, DELETE, DELETE_COLLECTION, LOG];
        let sets = sets.into_iter().chain(connections.map(of_connection));
        for name in sets.flatten() {
            assert!(QUERY.iter().any(|(known, ..)| known == name), "{name}");
        }
        assert!(QUERY.is_sorted_by_key(|(name, ..)| *name));
    }
}
