//! From Ingresses to routes and certificates.
//!
//! A named host belongs to the namespace whose Ingress was there first, a wildcard with the hosts below it that nobody had before:
//! another's rules for it are left out, with an event, unless that Ingress shares it. Within a host, and among rules for all hosts, each path is the oldest Ingress'.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressTLS};
use rustls::sign::CertifiedKey;

use crate::{
    annotations::{self, Options, Parsed},
    backend_ref::{BackendRef, PortRef},
    filters::Filters,
    hosts, path,
    regexes::{Form, Problem, Taking},
    route::{Route, Target, Targets, Timeouts},
    routes::{Draft, Matcher, Rule, Table},
};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Certificates by host.
#[derive(Debug, Default)]
pub struct Certificates {
    /// Wildcards as `*.example.com`.
    named: HashMap<String, Arc<CertifiedKey>>,
    /// Hosts that are not for the wildcard above them, which is another namespace's.
    apart: HashSet<String>,
}

impl Certificates {
    /// The one for a host, in small letters.
    pub fn get(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let own = self.named.get(host);
        own.or_else(|| match self.apart.contains(host) {
            true => None,
            false => self.named.get(&wildcard(host)?),
        })
    }
}

/// A host that is somebody's who is no Ingress, and all below it if it is a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub created: Option<Timestamp>,
    /// Whose it is.
    pub namespace: String,
    /// In small letters.
    pub host: String,
}

/// What Ingresses come to.
#[derive(Debug, Default)]
pub struct Built {
    pub table: Table,
    /// The namespaces that hosts are of.
    pub owners: HashMap<String, String>,
    pub certificates: Certificates,
    /// What is not served of an Ingress, or not as it says, for people.
    pub problems: BTreeMap<Key, BTreeSet<String>>,
}

/// Makes routes of Ingresses. `claims` are hosts of others, `certificate` finds the one that a Secret has, or says why it has none.
pub fn build(
    mut ingresses: Vec<Arc<Ingress>>,
    mut claims: Vec<Claim>,
    regexes: &mut Taking<'_>,
    mut certificate: impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
) -> Built {
    ingresses.sort_by_cached_key(|ingress| {
        let created = ingress.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), Key::of(&**ingress))
    });
    let mut building = Building {
        built: Built::default(),
        owners: HashMap::new(),
        taken: BTreeSet::new(),
        draft: Draft::default(),
        regexes,
    };
    claims.sort_unstable();
    let mut claims = claims.into_iter().peekable();
    for ingress in &ingresses {
        let created = ingress.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0);
        while let Some(claim) = claims.next_if(|claim| claim.created <= created) {
            building.claim(claim);
        }
        building.add(ingress, &mut certificate);
    }
    building.finish()
}

/// Whose a host is.
struct Owner {
    namespace: String,
    shared: bool,
    /// It is no Ingress', and a wildcard is for all hosts below it.
    claimed: bool,
}

impl Owner {
    fn admits(&self, namespace: &str) -> bool {
        self.shared || self.namespace == namespace
    }
}

struct Building<'r, 't> {
    built: Built,
    draft: Draft,
    owners: HashMap<String, Owner>,
    /// Rules that there are: host, kind of path, path.
    taken: BTreeSet<(String, u8, String)>,
    regexes: &'r mut Taking<'t>,
}

/// An Ingress on its way into the table.
struct Adding {
    key: Key,
    options: Arc<Options>,
    refused: bool,
    /// Hosts that it has a certificate for.
    secured: BTreeSet<String>,
}

impl Building<'_, '_> {
    fn add(
        &mut self,
        ingress: &Ingress,
        certificate: &mut impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
    ) {
        let Some(spec) = &ingress.spec else { return };
        let key = Key::of(ingress);
        let Parsed {
            options,
            ignored,
            refused,
        } = annotations::parse(
            ingress
                .metadata
                .annotations
                .as_ref()
                .unwrap_or(&BTreeMap::new()),
        );
        for name in ignored {
            self.problem(&key, format!("the annotation {name} is not understood"));
        }
        if let Some(name) = &refused {
            let why = "it is not served, since that may be to keep somebody out";
            self.problem(&key, format!("{why}: {name}"));
        }
        let mut adding = Adding {
            key,
            options: Arc::new(options),
            refused: refused.is_some(),
            secured: BTreeSet::new(),
        };
        let hosts: BTreeSet<String> = (spec.rules.iter().flatten())
            .map(|rule| lower(rule.host.as_deref()))
            .collect();
        for tls in spec.tls.iter().flatten() {
            self.add_certificate(&mut adding, tls, &hosts, certificate);
        }
        let fallback = spec.default_backend.as_ref();
        let fallback = fallback.and_then(|backend| self.backend(&adding, backend));
        for rule in spec.rules.iter().flatten() {
            let host = lower(rule.host.as_deref());
            if !self.owns(&adding, &host) {
                continue;
            }
            if let Some(backend) = &fallback {
                let route = adding.route(backend.clone(), &host);
                let place = &mut self.draft.host(&host).fallback;
                place.get_or_insert(route);
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                self.add_path(&adding, &host, path);
            }
        }
        // Without rules it is for everything that no rule is for.
        if let Some(backend) = fallback.filter(|_| hosts.is_empty()) {
            match &self.draft.fallback {
                None => self.draft.fallback = Some(adding.route(backend, "")),
                Some(_) => {
                    let why = "the cluster's default backend is an older Ingress'";
                    self.problem(&adding.key, why.to_owned());
                }
            }
        }
    }

    /// Certificates for hosts of the Ingress' own: nobody shows another's clients a certificate.
    fn add_certificate(
        &mut self,
        adding: &mut Adding,
        tls: &IngressTLS,
        hosts: &BTreeSet<String>,
        certificate: &mut impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
    ) {
        let named = tls.hosts.iter().flatten();
        let mut secured: BTreeSet<String> = named.map(|host| lower(Some(host))).collect();
        if secured.is_empty() {
            secured = hosts
                .iter()
                .filter(|host| !host.is_empty())
                .cloned()
                .collect();
        }
        secured.retain(|host| self.owns(adding, host));
        adding.secured.extend(secured.iter().cloned());
        let Some(name) = tls.secret_name.as_ref().filter(|name| !name.is_empty()) else {
            return;
        };
        let secret = Key {
            namespace: adding.key.namespace.clone(),
            name: name.clone(),
        };
        match certificate(&secret) {
            Ok(found) => {
                for host in secured {
                    let place = self.built.certificates.named.entry(host);
                    place.or_insert_with(|| found.clone());
                }
            }
            Err(why) => self.problem(&adding.key, format!("Secret {name}: {why}")),
        }
    }

    fn add_path(&mut self, adding: &Adding, host: &str, rule: &HTTPIngressPath) {
        let Some(backend) = self.backend(adding, &rule.backend) else {
            return;
        };
        let Some(matcher) = self.matcher(adding, host, rule) else {
            return;
        };
        let taken = match &matcher {
            Matcher::Exact(path) => (host.to_owned(), 0, path.clone()),
            Matcher::Prefix(path) => (host.to_owned(), 1, path.clone()),
            Matcher::Regex(found) => (host.to_owned(), 2, found.regex.as_str().to_owned()),
        };
        if !self.taken.insert(taken) {
            let path = rule.path.as_deref().unwrap_or("/");
            self.problem(
                &adding.key,
                format!("the path {path} of {} is an older rule's", shown(host)),
            );
            return;
        }
        let route = adding.route(backend, host);
        self.draft.host(host).add(matcher, Rule::plain(route));
    }

    /// None, with a problem, of a path that cannot be.
    fn matcher(&mut self, adding: &Adding, host: &str, rule: &HTTPIngressPath) -> Option<Matcher> {
        let text = rule
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let implementation = rule.path_type == "ImplementationSpecific";
        let captures = (adding.options.rewrite_target.iter()).any(|target| target.contains('$'));
        if implementation && (adding.options.use_regex || captures) {
            return self.regex(adding, host, text);
        }
        let Some(path) = path::normalize(text) else {
            self.problem(&adding.key, format!("{text} is no path"));
            return None;
        };
        Some(match rule.path_type.as_str() {
            "Exact" => Matcher::Exact(path),
            _ => Matcher::Prefix(path.strip_suffix('/').unwrap_or(&path).to_owned()),
        })
    }

    fn regex(&mut self, adding: &Adding, host: &str, text: &str) -> Option<Matcher> {
        let found = (self.regexes).take(&adding.key.namespace, host, text, Form::Beginning);
        let why = match found {
            Ok(regex) => return Some(Matcher::Regex(regex)),
            Err(Problem::Unusable) => {
                format!("{text} is no regular expression, or too large a one")
            }
            Err(Problem::TooMany) => format!(
                "the regular expressions of {}, or of the namespace, take too much together: some are left out",
                shown(host)
            ),
        };
        self.problem(&adding.key, why);
        None
    }

    /// None, with a problem, of a backend that is no Service.
    fn backend(&mut self, adding: &Adding, backend: &IngressBackend) -> Option<BackendRef> {
        let Some(service) = &backend.service else {
            let why = "backends that are resources are not supported, only Services";
            self.problem(&adding.key, why.to_owned());
            return None;
        };
        let port = service.port.as_ref();
        let name = port
            .and_then(|port| port.name.clone())
            .filter(|name| !name.is_empty());
        Some(BackendRef {
            namespace: adding.key.namespace.clone(),
            service: service.name.clone(),
            port: match name {
                Some(name) => PortRef::Name(name),
                None => PortRef::Number(port.and_then(|port| port.number).unwrap_or_default()),
            },
        })
    }

    /// Whether the Ingress may have rules for a host; it is noted as its namespace's if it was nobody's. Those for all hosts are
    /// everybody's, path by path.
    fn owns(&mut self, adding: &Adding, host: &str) -> bool {
        if host.is_empty() {
            return true;
        }
        let namespace = &adding.key.namespace;
        let own = self.owners.contains_key(host);
        let above = (!own).then(|| self.above(host)).flatten();
        let first = above.as_deref().unwrap_or(host);
        if let Some(owner) = self.owners.get(first)
            && !owner.admits(namespace)
        {
            let why = match &above {
                Some(above) => format!("the host {host} is below {above}, which"),
                None => format!("the host {host}"),
            };
            let whose = match owner.claimed {
                true => "an older Gateway's or route's",
                false => "an older Ingress'",
            };
            self.problem(
                &adding.key,
                format!("{why} is {whose} of another namespace"),
            );
            return false;
        }
        self.owners.entry(host.to_owned()).or_insert_with(|| Owner {
            namespace: namespace.clone(),
            shared: adding.options.share_host,
            claimed: false,
        });
        true
    }

    /// The wildcard above a host that is somebody's.
    fn above(&self, host: &str) -> Option<String> {
        let own = hosts::key(host);
        let parent = wildcard(host);
        let above = hosts::keys(host).filter(|key| key.starts_with('.') && *key != own);
        above.map(|key| format!("*{key}")).find(|pattern| {
            let owner = self.owners.get(pattern);
            owner.is_some_and(|owner| owner.claimed || parent.as_ref() == Some(pattern))
        })
    }

    /// Notes whose a host is, if it was nobody's.
    fn claim(&mut self, claim: Claim) {
        self.owners.entry(claim.host).or_insert_with(|| Owner {
            namespace: claim.namespace,
            shared: false,
            claimed: true,
        });
    }

    /// A host that was there before another namespace's wildcard is not shown as that namespace's.
    fn finish(mut self) -> Built {
        let apart = self.owners.iter().filter(|(host, owner)| {
            let above = wildcard(host).and_then(|above| self.owners.get(&above));
            above.is_some_and(|above| !above.admits(&owner.namespace))
        });
        self.built.certificates.apart = apart.map(|(host, _)| host.clone()).collect();
        let owners = self.owners.into_iter().filter(|(_, owner)| !owner.claimed);
        self.built.owners = owners
            .map(|(host, owner)| (host, owner.namespace))
            .collect();
        self.built.table = self.draft.table();
        self.built
    }

    fn problem(&mut self, key: &Key, problem: String) {
        let problems = self.built.problems.entry(key.clone()).or_default();
        problems.insert(problem);
    }
}

impl Adding {
    fn route(&self, backend: BackendRef, host: &str) -> Arc<Route> {
        let redirected = self.options.ssl_redirect && self.secured.contains(host);
        Arc::new(Route {
            namespace: self.key.namespace.clone(),
            targets: Targets::one(Target {
                h2c: self.options.h2c,
                ..Target::new(backend)
            }),
            options: self.options.clone(),
            to_https: redirected || self.options.force_ssl_redirect,
            refused: self.refused,
            filters: Filters::default(),
            timeouts: Timeouts::default(),
        })
    }
}

/// As nginx has it: from the path's beginning on, in capital letters or not.
fn lower(host: Option<&str>) -> String {
    host.unwrap_or_default().to_ascii_lowercase()
}

/// The wildcard that is for a host, if there is one. None of a wildcard.
fn wildcard(host: &str) -> Option<String> {
    let (first, parent) = host.split_once('.')?;
    (first != "*").then(|| format!("*.{parent}"))
}

fn shown(host: &str) -> &str {
    if host.is_empty() { "all hosts" } else { host }
}

#[cfg(test)]
mod tests;
