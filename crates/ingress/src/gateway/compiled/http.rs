//! HTTPRoutes.

use std::{sync::Arc, time::Duration};

use http::Method;

use super::{Compiled, Compiling, LONGEST_SILENCE, SILENCE, changes::Place, options};
use crate::{
    conditions::Conditions,
    filters::Filters,
    gateway::{
        said::Why,
        types::{BackendRef, HttpMatch, HttpRoute, HttpRule, PathMatch, Timeouts as Given},
        world::{Lookups, World},
    },
    path,
    regexes::Taking,
    route::{Route, Target, Targets, Timeouts},
    routes::{Matcher, Rule},
};

/// Reads a route's rules. `hosts` are its own, one empty one of all.
pub fn compile(
    route: &HttpRoute,
    hosts: &[String],
    world: &World,
    lookups: &impl Lookups,
    regexes: &mut Taking<'_>,
) -> Compiled {
    let compiling = Compiling::new("HTTPRoute", &route.metadata, hosts, world, lookups, regexes);
    compiling.all(&route.spec.rules, Compiling::http_rule)
}

impl<L: Lookups> Compiling<'_, '_, '_, L> {
    fn http_rule(&mut self, rule: &HttpRule) -> Result<(), Why> {
        let filters = self.filters(&rule.filters, Place::Rule);
        let targets = self.targets(&rule.backend_refs, false);
        let (filters, targets) = (filters?, targets?);
        if rule.retry.is_some() {
            return Err(Why::unsupported("retry is not supported"));
        }
        if rule.session_persistence.is_some() {
            return Err(Why::unsupported("sessionPersistence is not supported"));
        }
        if filters.redirect.is_some() && !rule.backend_refs.is_empty() {
            let message = "RequestRedirect and backendRefs cannot be combined";
            return Err(Why::new("IncompatibleFilters", message));
        }
        let (timeouts, silence) = timeouts(rule.timeouts.as_ref())?;
        let route = Arc::new(Route {
            namespace: self.namespace.to_owned(),
            targets,
            options: options(silence),
            to_https: false,
            refused: false,
            filters,
            timeouts,
        });
        let all = [HttpMatch::default()];
        let matches = match rule.matches.is_empty() {
            true => &all,
            false => rule.matches.as_slice(),
        };
        for wanted in matches {
            self.http_match(wanted, &route)?;
        }
        Ok(())
    }

    fn http_match(&mut self, wanted: &HttpMatch, route: &Arc<Route>) -> Result<(), Why> {
        let matcher = self.path(wanted.path.as_ref())?;
        let mut conditions = Conditions::default();
        if let Some(method) = &wanted.method {
            let known = Method::from_bytes(method.as_bytes());
            let known = known.map_err(|_| Why::unsupported(format!("{method:?} is no method")))?;
            conditions.method = Some(known);
        }
        let mut bytes = self.headers(&wanted.headers, &mut conditions)?;
        for wanted in &wanted.query_params {
            if conditions
                .query
                .iter()
                .any(|(name, _)| *name == wanted.name)
            {
                continue;
            }
            let (text, more) = self.text(wanted)?;
            bytes = bytes.saturating_add(more);
            conditions.query.push((wanted.name.clone(), text));
        }
        let route = route.clone();
        self.rules
            .push((matcher, Rule { conditions, route }, bytes));
        Ok(())
    }

    fn path(&mut self, wanted: Option<&PathMatch>) -> Result<Matcher, Why> {
        let type_ = wanted.and_then(|path| path.type_.as_deref());
        let value = wanted.and_then(|path| path.value.as_deref()).unwrap_or("/");
        let normal = || {
            let normal = path::normalize(value);
            normal.ok_or_else(|| Why::unsupported(format!("{value:?} is no path")))
        };
        match type_.unwrap_or("PathPrefix") {
            "Exact" => Ok(Matcher::Exact(normal()?)),
            "PathPrefix" => {
                let path = normal()?;
                Ok(Matcher::Prefix(
                    path.strip_suffix('/').unwrap_or(&path).to_owned(),
                ))
            }
            "RegularExpression" => Ok(Matcher::Regex(self.regex(value)?)),
            other => Err(Why::unsupported(format!(
                "paths cannot be compared by {other}"
            ))),
        }
    }

    pub(super) fn targets(&mut self, named: &[BackendRef], h2c: bool) -> Result<Targets, Why> {
        let mut targets = Vec::with_capacity(named.len());
        let mut refused = Ok(());
        for named in named {
            let backend = self.backend(named);
            let filters = self.filters(&named.filters, Place::Backend);
            let filters = filters.unwrap_or_else(|why| {
                refused = Err(why);
                Filters::default()
            });
            let target = Target {
                backend,
                h2c,
                filters,
            };
            targets.push((named.weight.unwrap_or(1), target));
        }
        refused.map(|()| Targets::new(targets))
    }
}

/// What answers may take, and how long a backend may be silent.
fn timeouts(given: Option<&Given>) -> Result<(Timeouts, Duration), Why> {
    let Some(given) = given else {
        return Ok((Timeouts::default(), SILENCE));
    };
    let request = given.request.as_deref().map(duration).transpose()?;
    let attempt = given.backend_request.as_deref().map(duration).transpose()?;
    // Whoever sets a limit is not to meet another one.
    let silence = match request.or(attempt) {
        None => SILENCE,
        Some(longest) if longest.is_zero() => LONGEST_SILENCE,
        Some(longest) => SILENCE.max(longest),
    };
    let limit = |given: Option<Duration>| given.filter(|given| !given.is_zero());
    let timeouts = Timeouts {
        request: limit(request),
        attempt: limit(attempt),
    };
    Ok((timeouts, silence))
}

fn duration(text: &str) -> Result<Duration, Why> {
    let nanos = knarr_meta::duration::parse(text).ok();
    let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
    let found = nanos.map(Duration::from_nanos);
    let found = found.filter(|found| *found <= LONGEST_SILENCE);
    found.ok_or_else(|| Why::unsupported(format!("{text:?} is no time of up to a day")))
}
