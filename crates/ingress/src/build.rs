//! From Ingresses to routes and certificates.
//!
//! A named host belongs to the namespace whose Ingress was there first, a wildcard with the hosts below it that nobody had before:
//! another's rules for it are left out, with an event, unless that Ingress shares it. Within a host, and among rules for all hosts, each path is the oldest Ingress'.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressTLS};
use rustls::sign::CertifiedKey;

use crate::{
    annotations::{self, Options, Parsed},
    path,
    regexes::{Problem, Regexes, Taking},
    routes::{BackendRef, Matcher, PortRef, Route, Table},
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

/// What Ingresses come to.
#[derive(Debug, Default)]
pub struct Built {
    pub table: Table,
    pub certificates: Certificates,
    /// What is not served of an Ingress, or not as it says, for people.
    pub problems: BTreeMap<Key, BTreeSet<String>>,
}

/// Makes routes of Ingresses. `certificate` finds the one that a Secret has, or says why it has none.
pub fn build(
    mut ingresses: Vec<Arc<Ingress>>,
    regexes: &mut Regexes,
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
        regexes: Taking::new(regexes),
    };
    for ingress in &ingresses {
        building.add(ingress, &mut certificate);
    }
    building.finish()
}

/// Whose a host is.
struct Owner {
    namespace: String,
    shared: bool,
}

impl Owner {
    fn admits(&self, namespace: &str) -> bool {
        self.shared || self.namespace == namespace
    }
}

struct Building<'r> {
    built: Built,
    owners: HashMap<String, Owner>,
    /// Rules that there are: host, kind of path, path.
    taken: BTreeSet<(String, u8, String)>,
    regexes: Taking<'r>,
}

/// An Ingress on its way into the table.
struct Adding {
    key: Key,
    options: Arc<Options>,
    refused: bool,
    /// Hosts that it has a certificate for.
    secured: BTreeSet<String>,
}

impl Building<'_> {
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
                let place = &mut self.built.table.host(&host).fallback;
                place.get_or_insert(route);
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                self.add_path(&adding, &host, path);
            }
        }
        // Without rules it is for everything that no rule is for.
        if let Some(backend) = fallback.filter(|_| hosts.is_empty()) {
            match &self.built.table.fallback {
                None => self.built.table.fallback = Some(adding.route(backend, "")),
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
        self.built.table.host(host).add(matcher, route);
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
        let found = self.regexes.take(&adding.key.namespace, host, text);
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
        let above = wildcard(host).filter(|_| !self.owners.contains_key(host));
        let first = above.as_deref().unwrap_or(host);
        if let Some(owner) = self.owners.get(first)
            && !owner.admits(namespace)
        {
            let why = match &above {
                Some(above) => format!("the host {host} is below {above}, which"),
                None => format!("the host {host}"),
            };
            self.problem(
                &adding.key,
                format!("{why} is an older Ingress' of another namespace"),
            );
            return false;
        }
        self.owners.entry(host.to_owned()).or_insert_with(|| Owner {
            namespace: namespace.clone(),
            shared: adding.options.share_host,
        });
        true
    }

    /// A host that was there before another namespace's wildcard is not shown as that namespace's.
    fn finish(mut self) -> Built {
        let apart = self.owners.iter().filter(|(host, owner)| {
            let above = wildcard(host).and_then(|above| self.owners.get(&above));
            above.is_some_and(|above| !above.admits(&owner.namespace))
        });
        self.built.certificates.apart = apart.map(|(host, _)| host.clone()).collect();
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
            backend,
            options: self.options.clone(),
            to_https: redirected || self.options.force_ssl_redirect,
            refused: self.refused,
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
