//! May somebody do something: `authorizer.group('apps').resource('deployments').check('create').allowed()`.
//!
//! Names, types and costs are those of upstream's `apiserver/pkg/cel/library/authz.go`.

use std::{fmt, sync::Arc};

use knarr_meta::names;

use super::{Other, Result, other};
use crate::{cost::Cost, eval::Error, value::Val};

/// What a check costs, as upstream: a few of them use up what an expression may cost.
const CHECK_COST: u64 = 350_000;
/// The work of one: rules are looked through.
const CHECK_STEPS: u64 = 1000;

/// Who a program asks: the authorizer of a server, for the user of a request.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether a user may do this. Never waits.
    fn authorize(&self, subject: &Subject, check: &Check<'_>) -> Decision;
}

/// Whose rights are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Who sent the request.
    Requester,
    ServiceAccount {
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check<'a> {
    Path { path: &'a str, verb: &'a str },
    Resource { of: &'a Resource, verb: &'a str },
}

/// A resource that is asked about; empty texts are not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

impl Resource {
    fn bytes(&self) -> usize {
        let parts = [
            &self.group,
            &self.resource,
            &self.subresource,
            &self.namespace,
            &self.name,
            &self.field_selector,
            &self.label_selector,
        ];
        parts.map(String::len).iter().sum()
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    /// Why there is no answer.
    pub error: Option<String>,
}

impl Decision {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, String::len);
        self.reason.len().saturating_add(error)
    }
}

/// A value on the way from an authorizer to its answer.
#[derive(Clone, Debug)]
pub struct Asking {
    by: Arc<dyn Authorizer>,
    subject: Subject,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Anything,
    Path(String),
    Group(String),
    Resource(Resource),
}

/// The variable `authorizer`.
pub fn authorizer<'a>(by: Arc<dyn Authorizer>) -> Val<'a> {
    asking(by, What::Anything)
}

/// The variable `authorizer.requestResource`.
pub fn resource_check<'a>(by: Arc<dyn Authorizer>, of: Resource) -> Val<'a> {
    asking(by, What::Resource(of))
}

fn asking<'a>(by: Arc<dyn Authorizer>, what: What) -> Val<'a> {
    let subject = Subject::Requester;
    other(Other::Asking(Asking { by, subject, what }))
}

impl Asking {
    pub fn type_name(&self) -> &'static str {
        match self.what {
            What::Anything => "kubernetes.authorization.Authorizer",
            What::Path(_) => "kubernetes.authorization.PathCheck",
            What::Group(_) => "kubernetes.authorization.GroupCheck",
            What::Resource(_) => "kubernetes.authorization.ResourceCheck",
        }
    }

    /// Bytes of what is asked.
    pub fn bytes(&self) -> usize {
        let of = match &self.what {
            What::Anything => 0,
            What::Path(text) | What::Group(text) => text.len(),
            What::Resource(of) => of.bytes(),
        };
        let who = match &self.subject {
            Subject::Requester => 0,
            Subject::ServiceAccount { namespace, name } => {
                namespace.len().saturating_add(name.len())
            }
        };
        of.saturating_add(who)
    }

    pub fn same(&self, other: &Asking) -> bool {
        self.subject == other.subject && self.what == other.what && Arc::ptr_eq(&self.by, &other.by)
    }

    fn about<'a>(&self, what: What) -> Val<'a> {
        other(Other::Asking(Asking {
            what,
            ..self.clone()
        }))
    }

    /// The same question with a part of it set.
    fn with<'a>(&self, part: &str, text: &str) -> Option<Val<'a>> {
        let What::Resource(of) = &self.what else {
            return None;
        };
        let (mut of, text) = (of.clone(), text.to_owned());
        match part {
            "subresource" => of.subresource = text,
            "namespace" => of.namespace = text,
            "name" => of.name = text,
            "fieldSelector" => of.field_selector = text,
            "labelSelector" => of.label_selector = text,
            _ => return None,
        }
        Some(self.about(What::Resource(of)))
    }

    fn check<'a>(&self, verb: &str) -> Option<Val<'a>> {
        let check = match &self.what {
            What::Path(path) => Check::Path { path, verb },
            What::Resource(of) => Check::Resource { of, verb },
            What::Anything | What::Group(_) => return None,
        };
        let decision = self.by.authorize(&self.subject, &check);
        Some(other(Other::Decision(decision)))
    }
}

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    let (Val::Other(first), rest) = values.split_first()? else {
        return None;
    };
    // Each part that is added copies those before it.
    if let Err(exceeded) = cost.make(first.bytes()) {
        return Some(Err(exceeded.into()));
    }
    match (&**first, rest) {
        (Other::Decision(decision), []) => of_decision(name, decision),
        (Other::Asking(asking), [Val::Text(text)]) => of_text(asking, name, text.as_str(), cost),
        (Other::Asking(asking), [Val::Text(namespace), Val::Text(account)])
            if name == "serviceAccount" =>
        {
            Some(service_account(
                asking,
                namespace.as_str(),
                account.as_str(),
            ))
        }
        _ => None,
    }
}

fn of_decision<'a>(name: &str, decision: &Decision) -> Option<Result<'a>> {
    Some(Ok(match name {
        "allowed" => Val::Bool(decision.allowed),
        "reason" => Val::made_text(decision.reason.as_str()),
        "errored" => Val::Bool(decision.error.is_some()),
        "error" => Val::made_text(decision.error.as_deref().unwrap_or_default()),
        _ => return None,
    }))
}

fn of_text<'a>(asking: &Asking, name: &str, text: &str, cost: &mut Cost) -> Option<Result<'a>> {
    let filled = |what: &str| match text.trim().is_empty() {
        true => Err(Error::failed(format!("{what} must not be empty"))),
        false => Ok(()),
    };
    Some(match (name, &asking.what) {
        ("path", What::Anything) => {
            filled("path").map(|()| asking.about(What::Path(text.to_owned())))
        }
        ("group", What::Anything) => Ok(asking.about(What::Group(text.to_owned()))),
        ("resource", What::Group(group)) => filled("resource").map(|()| {
            asking.about(What::Resource(Resource {
                group: group.clone(),
                resource: text.to_owned(),
                ..Resource::default()
            }))
        }),
        // A check is no more work than a call, for all that it costs.
        ("check", _) => match cost
            .pay_units(CHECK_COST)
            .and_then(|()| cost.steps(CHECK_STEPS))
        {
            Ok(()) => Ok(asking.check(text)?),
            Err(exceeded) => Err(exceeded.into()),
        },
        (part, _) => Ok(asking.with(part, text)?),
    })
}

fn service_account<'a>(asking: &Asking, namespace: &str, name: &str) -> Result<'a> {
    if asking.what != What::Anything {
        return Err(Error::no_such_overload());
    }
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(Error::failed("Invalid service account name"));
    }
    if !names::dns1123_label(namespace).is_empty() {
        return Err(Error::failed("Invalid service account namespace"));
    }
    Ok(other(Other::Asking(Asking {
        subject: Subject::ServiceAccount {
            namespace: namespace.into(),
            name: name.into(),
        },
        ..asking.clone()
    })))
}
