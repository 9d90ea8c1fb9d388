//! Groups of the Kubernetes community are protected: a definition in one says who approved it, or that nobody did.

use knarr_meta::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::annotation;

const ANNOTATION: &str = "api-approved.kubernetes.io";
const MORE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What the annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Approved,
    Bypassed,
    Invalid,
    Missing,
}

/// Whether a group needs approval.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The state of a definition's approval, and the reason for it.
pub fn state(definition: &Value) -> (State, String) {
    let text = annotation(definition, ANNOTATION);
    let has_host = |url: &str| {
        url.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.is_empty()
        })
    };
    match text {
        "" => {
            let why =
                format!("protected groups must have approval annotation {ANNOTATION:?}, {MORE}");
            (State::Missing, why)
        }
        text if text.starts_with("unapproved") => {
            (State::Bypassed, format!("not approved: {text:?}"))
        }
        url if has_host(url) => (State::Approved, format!("approved in {url}")),
        _ => {
            let why = format!(
                "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \
                 \"unapproved\", {MORE}"
            );
            (State::Invalid, why)
        }
    }
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> ErrorList {
    let group = knarr_meta::object::str_at(new, &["spec", "group"]);
    let (now, why) = state(new);
    if !is_protected(group) || old.is_some_and(|old| state(old).0 == now) {
        return ErrorList::new();
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    match now {
        State::Approved | State::Bypassed => ErrorList::new(),
        State::Missing => vec![Error::required(&path, why)],
        State::Invalid => vec![Error::invalid(&path, annotation(new, ANNOTATION), why)],
    }
}
