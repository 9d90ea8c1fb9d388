//! Which route a request takes: by host, then by path, then by what else a rule asks of it.
//!
//! A site is what one pattern of hosts is for: a host of Ingresses, or a listener of a Gateway. The most specific pattern decides alone:
//! what has no path there goes to that host's default backend, and never to another site's rules nor to the default of all others.
//! Within a site the hosts of its rules are looked at likewise, but one after the other. Among paths an exact one comes first, then regular
//! expressions by their length, then the longest prefix; among the rules of a path the one that asks for most.

use std::{collections::HashMap, sync::Arc};

use regex::{Captures, Regex};
use rustls::sign::CertifiedKey;

use crate::{
    conditions::{Conditions, Head, MAX_REGEX_VALUE_BYTES},
    hosts, path,
    regexes::Measured,
    route::Route,
};

/// Longest path that is compared with regular expressions.
const MAX_REGEX_PATH_BYTES: usize = 2 << 10;
/// Bytes of regular expressions times bytes of a path: what is more than that, a few milliseconds, makes way for others.
const LIGHT: usize = 4 << 20;
/// Longer than any request's.
const MAX_PATH_BYTES: usize = 64 << 10;

/// What is done with requests that fulfil conditions.
#[derive(Clone, Debug)]
pub struct Rule {
    pub conditions: Conditions,
    pub route: Arc<Route>,
}

impl Rule {
    /// For whatever comes.
    pub fn plain(route: Arc<Route>) -> Self {
        Self {
            conditions: Conditions::default(),
            route,
        }
    }
}

/// The rules of a host.
#[derive(Debug, Default)]
pub struct Host {
    exact: HashMap<String, Vec<Rule>>,
    /// Without a slash at their end, `/` being the empty one.
    prefix: HashMap<String, Vec<Rule>>,
    /// The longest first.
    regex: Vec<(Regex, Rule)>,
    /// What they take together, and those of conditions.
    regex_bytes: usize,
    /// There are conditions with regular expressions.
    compares_values: bool,
    longest_prefix: usize,
    pub fallback: Option<Arc<Route>>,
}

/// How a path is compared.
#[derive(Clone, Debug)]
pub enum Matcher {
    Exact(String),
    Prefix(String),
    Regex(Measured),
}

/// A route and what the path was for it.
#[derive(Clone, Debug)]
pub struct Found {
    pub route: Arc<Route>,
    /// The path by which to ask the backend, if not the client's own.
    pub rewritten: Option<String>,
    /// By which it was found, without a slash at its end.
    pub prefix: Option<String>,
}

/// What one pattern of hosts is for.
#[derive(Debug, Default)]
pub struct Site {
    /// By their patterns' keys.
    hosts: HashMap<String, Host>,
    /// A wildcard stands for one label, as Ingresses have it, and not for any number of them.
    pub one_label: bool,
    /// Which clients are shown; none where those of Ingresses are.
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// Of a listener: a request for it must come by a connection for it.
    pub isolated: bool,
}

/// The sites of a port.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By their patterns' keys. Of several, which only those for all hosts are, one is looked at after the other.
    sites: HashMap<String, Vec<Arc<Site>>>,
    /// Of requests that no rule is for.
    pub fallback: Option<Arc<Route>>,
}

/// The sites of Ingresses, while they are made: one for each host.
#[derive(Debug, Default)]
pub struct Draft {
    sites: HashMap<String, Site>,
    pub fallback: Option<Arc<Route>>,
}

impl Draft {
    /// The rules of a host: `a.example.com`, `*.example.com`, or the empty one for all others.
    pub fn host(&mut self, pattern: &str) -> &mut Host {
        let site = self.sites.entry(pattern.to_owned()).or_default();
        site.one_label = true;
        site.host(pattern)
    }

    pub fn table(self) -> Table {
        let mut table = Table {
            fallback: self.fallback,
            ..Table::default()
        };
        for (pattern, site) in self.sites {
            table.add(&pattern, Arc::new(site));
        }
        table
    }
}

impl Host {
    /// Adds a rule. Of those that ask for as much, the one that was added first is looked at first.
    pub fn add(&mut self, matcher: Matcher, rule: Rule) {
        self.compares_values |= rule.conditions.has_regex();
        match matcher {
            Matcher::Exact(path) => insert(self.exact.entry(path).or_default(), rule),
            Matcher::Prefix(path) => {
                self.longest_prefix = self.longest_prefix.max(path.len());
                insert(self.prefix.entry(path).or_default(), rule);
            }
            Matcher::Regex(Measured { regex, bytes }) => {
                self.weigh(bytes);
                let rank =
                    |regex: &Regex, rule: &Rule| (regex.as_str().len(), rule.conditions.rank());
                let own = rank(&regex, &rule);
                let at = (self.regex).partition_point(|(regex, rule)| rank(regex, rule) >= own);
                self.regex.insert(at, (regex, rule));
            }
        }
    }

    /// Counts what a regular expression of a condition takes.
    pub fn weigh(&mut self, bytes: usize) {
        self.regex_bytes = self.regex_bytes.saturating_add(bytes);
    }

    fn find(&self, head: &Head<'_>) -> Option<Found> {
        let longest = match self.compares_values {
            true => head.path.len().max(MAX_REGEX_VALUE_BYTES),
            false => head.path.len(),
        };
        let found = match self.regex_bytes.saturating_mul(longest) > LIGHT {
            true => knarr_tasks::heavy(|| self.find_rule(head)),
            false => self.find_rule(head),
        };
        found.or_else(|| self.fallback.as_ref().map(Found::literally))
    }

    fn find_rule(&self, head: &Head<'_>) -> Option<Found> {
        let first = |rules: &Vec<Rule>| -> Option<Arc<Route>> {
            let mut rules = rules.iter();
            let rule = rules.find(|rule| rule.conditions.hold(head))?;
            Some(rule.route.clone())
        };
        if let Some(route) = self.exact.get(head.path).and_then(first) {
            return Some(Found::literally(&route));
        }
        // Whoever has regular expressions wants no such paths.
        if !self.regex.is_empty() && head.path.len() > MAX_REGEX_PATH_BYTES {
            return None;
        }
        for (regex, rule) in &self.regex {
            if let Some(captures) = regex.captures(head.path)
                && rule.conditions.hold(head)
            {
                let target = rule.route.options.rewrite_target.as_ref();
                let rewritten = target.map(|target| expand(target, &captures));
                return Some(Found {
                    route: rule.route.clone(),
                    rewritten,
                    prefix: None,
                });
            }
        }
        path::prefixes(head.path, self.longest_prefix).find_map(|prefix| {
            let route = self.prefix.get(prefix).and_then(first)?;
            Some(Found {
                prefix: Some(prefix.to_owned()),
                ..Found::literally(&route)
            })
        })
    }
}

fn insert(rules: &mut Vec<Rule>, rule: Rule) {
    let own = rule.conditions.rank();
    let at = rules.partition_point(|other| other.conditions.rank() >= own);
    rules.insert(at, rule);
}

impl Found {
    fn literally(route: &Arc<Route>) -> Self {
        Self {
            rewritten: route.options.rewrite_target.clone(),
            route: route.clone(),
            prefix: None,
        }
    }
}

/// A target with `$1` as nginx reads it: one digit. What is repeated may be long, and is repeated as often as somebody likes: nobody
/// gets more of it than a request can say, and that is then no path.
fn expand(target: &str, captures: &Captures<'_>) -> String {
    let mut path = String::new();
    let mut characters = target.chars().peekable();
    while let Some(character) = characters.next() {
        let digit = characters.peek().and_then(|next| next.to_digit(10));
        match digit.filter(|_| character == '$') {
            Some(digit) => {
                characters.next();
                let group = usize::try_from(digit).ok();
                let group = group.and_then(|group| captures.get(group));
                path.push_str(group.map_or("", |group| group.as_str()));
            }
            None => path.push(character),
        }
        if path.len() > MAX_PATH_BYTES {
            break;
        }
    }
    path
}

impl Site {
    /// That of a listener, with what clients are shown.
    pub fn listener(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        Self {
            certificates,
            isolated: true,
            ..Self::default()
        }
    }

    /// The rules of a host: `a.example.com`, `*.example.com`, or the empty one for all others.
    pub fn host(&mut self, pattern: &str) -> &mut Host {
        let key = hosts::key(pattern).to_owned();
        self.hosts.entry(key).or_default()
    }

    fn find(&self, host: &str, head: &Head<'_>) -> Option<Found> {
        hosts::keys(host).find_map(|key| self.hosts.get(key)?.find(head))
    }
}

impl Table {
    /// Adds what a pattern of hosts is for. Of two for one pattern the first decides.
    pub fn add(&mut self, pattern: &str, site: Arc<Site>) {
        let key = hosts::key(pattern).to_owned();
        self.sites.entry(key).or_default().push(site);
    }

    /// The sites that decide on a host's requests: one, or those for all hosts.
    pub fn sites(&self, host: &str) -> &[Arc<Site>] {
        let mut own = hosts::keys(host).filter_map(|key| {
            let sites = self.sites.get(key)?;
            let many = hosts::is_above_parent(key, host);
            let first = sites.iter().position(|site| !(site.one_label && many))?;
            match key.is_empty() {
                true => Some(sites.as_slice()),
                // It is somebody's: what he leaves out is nobody else's, under his name and with his cookies.
                false => sites.get(first..first.saturating_add(1)),
            }
        });
        own.next().unwrap_or_default()
    }

    /// Whether a rule names the host, or a wildcard for it.
    pub fn names(&self, host: &str) -> bool {
        hosts::keys(host).any(|key| !key.is_empty() && self.sites.contains_key(key))
    }

    /// The route of a request: `host` in lower case without a port.
    pub fn find(&self, host: &str, head: &Head<'_>) -> Option<Found> {
        let sites = self.sites(host);
        let found = sites.iter().find_map(|site| site.find(host, head));
        found.or_else(|| match self.is_for_all(sites) {
            true => self.fallback.as_ref().map(Found::literally),
            false => None,
        })
    }

    fn is_for_all(&self, sites: &[Arc<Site>]) -> bool {
        sites.is_empty()
            || self
                .sites
                .get("")
                .is_some_and(|all| std::ptr::eq(all.as_slice(), sites))
    }
}

#[cfg(test)]
mod tests;
