//! What is acted upon: the schemas in order, each with its level. Replaced as a whole; requests never wait for that.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use http::HeaderValue;
use knarr_auth::{UserInfo, request::RequestInfo};

use crate::{
    allocation,
    config::{CATCH_ALL, Config, LevelConfig},
    counts::Counts,
    level::{Flow, Level},
    queue_set::Discipline,
    schema::Schema,
    totals::Totals,
};

/// A level in a plan.
#[derive(Clone)]
pub struct Planned {
    pub level: Arc<Level>,
    pub config: LevelConfig,
    /// It is there no more, but for requests that it has.
    pub quiescing: bool,
}

/// All that is acted upon.
#[derive(Default)]
pub struct Plan {
    pub flows: Vec<Arc<Flow>>,
    pub levels: BTreeMap<String, Planned>,
    /// Of all requests, how much of its target each level has.
    pub fair_fraction: f64,
}

/// Of which schema a request is, and of which flow of it.
#[derive(Clone)]
pub struct Class {
    pub flow: Arc<Flow>,
    pub hash: u64,
}

impl Plan {
    /// The plan of a configuration for a server with `seats`; levels of the plan before go on.
    pub fn new(config: &Config, before: &Plan, seats: u32, totals: &Arc<Totals>) -> Plan {
        let mut configs: Vec<(LevelConfig, bool)> = config
            .levels
            .iter()
            .map(|level| (level.clone(), false))
            .collect();
        let known: HashMap<&str, ()> = config
            .levels
            .iter()
            .map(|level| (&*level.name, ()))
            .collect();
        // What is gone lasts until nothing of it waits or runs.
        let gone = before
            .levels
            .values()
            .filter(|planned| !known.contains_key(&*planned.config.name) && planned.is_used());
        configs.extend(gone.map(|planned| (planned.config.clone(), true)));
        let sum = configs
            .iter()
            .map(|(level, _)| f64::from(level.shares))
            .sum();
        let mut levels = BTreeMap::new();
        for (config, quiescing) in configs {
            let limits = config.limits(seats, sum);
            let level = match before.levels.get(&config.name) {
                Some(planned) => {
                    planned.level.configure(&config, limits);
                    planned.level.clone()
                }
                None => Level::new(&config, limits, totals.clone()),
            };
            let planned = Planned {
                level,
                quiescing,
                config: config.clone(),
            };
            levels.insert(config.name, planned);
        }
        let flows = (config.schemas.iter())
            .filter_map(|schema| flow(schema, &levels, before))
            .collect();
        let mut plan = Plan {
            flows,
            levels,
            fair_fraction: before.fair_fraction,
        };
        plan.count(totals);
        plan.fair_fraction = plan.adjust(seats);
        plan
    }

    /// Divides the seats by what levels have needed; the fraction that all have of their targets.
    pub fn adjust(&self, server: u32) -> f64 {
        let levels: Vec<&Planned> = self.levels.values().collect();
        let claims: Vec<_> = levels.iter().map(|planned| planned.level.claim()).collect();
        let adjustment = allocation::adjust(&claims);
        for (planned, seats) in levels.iter().zip(&adjustment.seats) {
            planned.level.give(*seats, server);
        }
        adjustment.fair_fraction
    }

    /// The first schema that is for a request, or the one for all that no other is for.
    pub fn classify(
        &self,
        user: &UserInfo,
        request: &RequestInfo<'_>,
        hasher: &RandomState,
    ) -> Option<Class> {
        let mut flows = self.flows.iter();
        let found = flows.find(|flow| flow.schema.matches(user, request));
        let flow = found.or_else(|| {
            let mut flows = self.flows.iter();
            flows.find(|flow| flow.schema.name() == CATCH_ALL)
        })?;
        let hash = match flow.has_queues {
            true => {
                let distinguished = flow.schema.distinguisher().flow(user, request);
                hasher.hash_one((flow.schema.name(), distinguished))
            }
            false => 0,
        };
        Some(Class {
            flow: flow.clone(),
            hash,
        })
    }

    /// Whether a level that is gone is not used any more, so that a new plan would be without it.
    pub fn has_leftovers(&self) -> bool {
        self.levels
            .values()
            .any(|planned| planned.quiescing && !planned.is_used())
    }

    fn count(&self, totals: &Totals) {
        let waiting = self
            .levels
            .values()
            .map(|planned| match planned.config.discipline {
                Discipline::Queue(queuing) => f64::from(queuing.queues) * queuing.length as f64,
                _ => 0.0,
            });
        let executing = self
            .levels
            .values()
            .map(|planned| f64::from(planned.level.nominal()));
        totals.divide_by(waiting.sum(), executing.sum());
    }
}

impl Planned {
    /// It has requests, or somebody is about to give it one.
    fn is_used(&self) -> bool {
        !self.level.is_idle()
    }
}

fn flow(schema: &Schema, levels: &BTreeMap<String, Planned>, before: &Plan) -> Option<Arc<Flow>> {
    let planned = levels.get(schema.level())?;
    let uids = (uid(schema.uid()), uid(&planned.config.uid));
    let has_queues =
        matches!(planned.config.discipline, Discipline::Queue(queuing) if queuing.queues > 1);
    let same = |flow: &&Arc<Flow>| {
        flow.schema.name() == schema.name() && Arc::ptr_eq(&flow.level, &planned.level)
    };
    let counts = match before.flows.iter().find(same) {
        Some(flow) => flow.counts.clone(),
        None => Arc::new(Counts::new(&planned.config.name, schema.name())),
    };
    Some(Arc::new(Flow {
        schema: schema.clone(),
        level: planned.level.clone(),
        counts,
        uids,
        has_queues,
    }))
}

fn uid(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}
