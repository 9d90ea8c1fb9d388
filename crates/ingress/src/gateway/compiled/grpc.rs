//! GRPCRoutes: calls are requests for `/service/method`.

use std::sync::Arc;

use super::{Compiled, Compiling, GRPC_SILENCE, changes::Place, options};
use crate::{
    conditions::Conditions,
    gateway::{
        said::Why,
        types::{GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule},
        world::{Lookups, World},
    },
    regexes::Taking,
    route::{Route, Timeouts},
    routes::{Matcher, Rule},
};

/// Reads a route's rules. `hosts` are its own, one empty one of all.
pub fn compile(
    route: &GrpcRoute,
    hosts: &[String],
    world: &World,
    lookups: &impl Lookups,
    regexes: &mut Taking<'_>,
) -> Compiled {
    let compiling = Compiling::new("GRPCRoute", &route.metadata, hosts, world, lookups, regexes);
    compiling.all(&route.spec.rules, Compiling::grpc_rule)
}

impl<L: Lookups> Compiling<'_, '_, '_, L> {
    fn grpc_rule(&mut self, rule: &GrpcRule) -> Result<(), Why> {
        let filters = self.filters(&rule.filters, Place::Rule);
        let targets = self.targets(&rule.backend_refs, true);
        let (filters, targets) = (filters?, targets?);
        if rule.session_persistence.is_some() {
            return Err(Why::unsupported("sessionPersistence is not supported"));
        }
        if filters.redirect.is_some() || filters.rewrite.is_some() || filters.cors.is_some() {
            return Err(Why::unsupported("calls are not redirected or rewritten"));
        }
        let route = Arc::new(Route {
            namespace: self.namespace.to_owned(),
            targets,
            options: options(GRPC_SILENCE),
            to_https: false,
            refused: false,
            filters,
            timeouts: Timeouts::default(),
        });
        let all = [GrpcMatch::default()];
        let matches = match rule.matches.is_empty() {
            true => &all,
            false => rule.matches.as_slice(),
        };
        for wanted in matches {
            let mut conditions = Conditions::default();
            let bytes = self.headers(&wanted.headers, &mut conditions)?;
            let matcher = self.method(wanted.method.as_ref(), &mut conditions)?;
            let route = route.clone();
            self.rules
                .push((matcher, Rule { conditions, route }, bytes));
        }
        Ok(())
    }

    fn method(
        &mut self,
        wanted: Option<&GrpcMethod>,
        conditions: &mut Conditions,
    ) -> Result<Matcher, Why> {
        let Some(wanted) = wanted else {
            return Ok(Matcher::Prefix(String::new()));
        };
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (service, method) = (some(&wanted.service), some(&wanted.method));
        match wanted.type_.as_deref() {
            None | Some("Exact") => Ok(match (service, method) {
                (Some(service), Some(method)) => Matcher::Exact(format!("/{service}/{method}")),
                (Some(service), None) => Matcher::Prefix(format!("/{service}")),
                (None, method) => {
                    conditions.rpc = method;
                    Matcher::Prefix(String::new())
                }
            }),
            Some("RegularExpression") => {
                let any = || "[^/]+".to_owned();
                let (service, method) = (service.unwrap_or_else(any), method.unwrap_or_else(any));
                Ok(Matcher::Regex(
                    self.regex(&format!("/(?:{service})/(?:{method})"))?,
                ))
            }
            Some(other) => Err(Why::unsupported(format!(
                "methods cannot be compared by {other}"
            ))),
        }
    }
}
