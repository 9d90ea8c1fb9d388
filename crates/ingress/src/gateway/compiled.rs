//! A route's rules, ready to be put where it is attached.

mod backends;
mod changes;
mod grpc;
mod http;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use self::{grpc::compile as grpc, http::compile as http};
use super::{
    said::Why,
    types::ValueMatch,
    world::{Lookups, World},
};
use crate::{
    annotations::Options,
    conditions::{Conditions, Text},
    regexes::{Form, Measured, Problem, Taking},
    routes::{Host, Matcher, Rule},
};

/// Of an answer, without a word from its backend, unless the route says otherwise.
const SILENCE: Duration = Duration::from_secs(60);
/// Of a call, which may be a stream that tells of what happens seldom.
const GRPC_SILENCE: Duration = Duration::from_secs(3600);
/// Where the route says that there is no limit.
const LONGEST_SILENCE: Duration = Duration::from_secs(86_400);

/// What a route comes to.
#[derive(Debug)]
pub struct Compiled {
    rules: Vec<(Matcher, Rule, usize)>,
    /// Why it is not served at all.
    pub refused: Option<Why>,
    /// Why not all that it names is there.
    pub resolved: Result<(), Why>,
}

impl Compiled {
    /// Puts the rules among those of a host.
    pub fn add_to(&self, host: &mut Host) {
        for (matcher, rule, bytes) in &self.rules {
            host.weigh(*bytes);
            host.add(matcher.clone(), rule.clone());
        }
    }
}

/// A route on its way.
struct Compiling<'c, 'r, 't, L> {
    kind: &'static str,
    namespace: &'c str,
    /// In small letters; one empty one of all hosts.
    hosts: &'c [String],
    world: &'c World,
    lookups: &'c L,
    regexes: &'r mut Taking<'t>,
    rules: Vec<(Matcher, Rule, usize)>,
    /// The first problem of each sort.
    resolved: Result<(), Why>,
}

impl<'c, 'r, 't, L: Lookups> Compiling<'c, 'r, 't, L> {
    fn new(
        kind: &'static str,
        metadata: &'c ObjectMeta,
        hosts: &'c [String],
        world: &'c World,
        lookups: &'c L,
        regexes: &'r mut Taking<'t>,
    ) -> Self {
        Compiling {
            kind,
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            hosts,
            world,
            lookups,
            regexes,
            rules: Vec::new(),
            resolved: Ok(()),
        }
    }

    /// Compiles the rules with `one`: every one, so that what they name is told in any case.
    fn all<R>(mut self, rules: &[R], one: impl Fn(&mut Self, &R) -> Result<(), Why>) -> Compiled {
        let mut refused = Ok(());
        for rule in rules {
            let compiled = one(&mut self, rule);
            refused = refused.and(compiled);
        }
        Compiled {
            rules: match refused {
                Ok(()) => self.rules,
                Err(_) => Vec::new(),
            },
            refused: refused.err(),
            resolved: self.resolved,
        }
    }

    fn unresolved(&mut self, why: Why) {
        if self.resolved.is_ok() {
            self.resolved = Err(why);
        }
    }

    /// A regular expression, counted for each host of the route.
    fn regex(&mut self, text: &str) -> Result<Measured, Why> {
        let mut found = None;
        for host in self.hosts {
            let taken = self.regexes.take(self.namespace, host, text, Form::Whole);
            let taken = taken.map_err(|problem| {
                Why::unsupported(match problem {
                    Problem::Unusable => {
                        format!("{text:?} is no regular expression, or too large a one")
                    }
                    Problem::TooMany => {
                        "regular expressions of the host, or of the namespace, take too much together"
                            .to_owned()
                    }
                })
            })?;
            found = Some(taken);
        }
        found.ok_or_else(|| Why::unsupported("the route has no host"))
    }

    /// What values are compared with, and the bytes that this takes.
    fn text(&mut self, wanted: &ValueMatch) -> Result<(Text, usize), Why> {
        match wanted.type_.as_deref() {
            None | Some("Exact") => Ok((Text::Exact(wanted.value.clone()), 0)),
            Some("RegularExpression") => {
                let Measured { regex, bytes } = self.regex(&wanted.value)?;
                Ok((Text::Regex(regex), bytes))
            }
            Some(other) => Err(Why::unsupported(format!(
                "values cannot be compared by {other}"
            ))),
        }
    }

    /// Adds conditions on headers; the bytes that they take.
    fn headers(&mut self, wanted: &[ValueMatch], into: &mut Conditions) -> Result<usize, Why> {
        let mut sum = 0_usize;
        for wanted in wanted {
            let name = ::http::HeaderName::from_bytes(wanted.name.as_bytes());
            let name = name
                .map_err(|_| Why::unsupported(format!("{:?} is no header's name", wanted.name)))?;
            // Of two that are one, the first counts.
            if into.headers.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let (text, bytes) = self.text(wanted)?;
            sum = sum.saturating_add(bytes);
            into.headers.push((name, text));
        }
        Ok(sum)
    }
}

/// What is not asked of Gateways: nothing is redirected, and bodies pass however long they are.
fn options(silence: Duration) -> Arc<Options> {
    Arc::new(Options {
        ssl_redirect: false,
        body_bytes: None,
        read_timeout: silence,
        ..Options::default()
    })
}
