//! PriorityLevelConfigurations, and how all objects together become what is acted upon.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    allocation::Limits,
    queue_set::{Discipline, Queuing},
    schema::{Metadata, Schema},
};

/// The level, and the schema, of requests that nothing holds up.
pub const EXEMPT: &str = "exempt";
/// Those of what nothing else matches.
pub const CATCH_ALL: &str = "catch-all";

/// Of the seats of a level, what one request may take: this part, or what is left for each queue of a hand.
const SEATS_OF_REQUEST: f64 = 0.15;

/// A PriorityLevelConfiguration as it is stored, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelConfig {
    pub name: String,
    pub uid: String,
    pub discipline: Discipline,
    pub shares: u32,
    pub lendable_percent: u32,
    /// `None`: as much as there is.
    pub borrowing_percent: Option<u32>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    limited: Option<Limited>,
    exempt: Option<Shares>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shares {
    nominal_concurrency_shares: Option<u32>,
    lendable_percent: Option<u32>,
    borrowing_limit_percent: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limited {
    #[serde(flatten)]
    shares: Shares,
    limit_response: LimitResponse,
}

#[derive(Deserialize)]
struct LimitResponse {
    #[serde(rename = "type")]
    kind: String,
    queuing: Option<QueuingObject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueuingObject {
    queues: u32,
    hand_size: u32,
    queue_length_limit: u32,
}

impl LevelConfig {
    /// Reads a stored object; `None` for one that cannot be acted upon, which counts as none.
    pub fn parse(object: &Value) -> Option<LevelConfig> {
        let Object { metadata, spec } = Object::deserialize(object).ok()?;
        let (shares, discipline) = match (&*spec.kind, spec.limited, spec.exempt) {
            ("Exempt", None, Some(shares)) => (shares, Discipline::Exempt),
            ("Limited", Some(limited), None) => {
                let response = limited.limit_response;
                let discipline = match (&*response.kind, response.queuing) {
                    ("Reject", None) => Discipline::Reject,
                    ("Queue", Some(queuing)) => Discipline::Queue(Queuing {
                        queues: queuing.queues.max(1),
                        hand: queuing.hand_size.max(1),
                        length: queuing.queue_length_limit as usize,
                    }),
                    _ => return None,
                };
                (limited.shares, discipline)
            }
            _ => return None,
        };
        if (discipline == Discipline::Exempt) != (metadata.name == EXEMPT) {
            return None;
        }
        Some(LevelConfig {
            discipline,
            shares: shares.nominal_concurrency_shares.unwrap_or(0),
            lendable_percent: shares.lendable_percent.unwrap_or(0).min(100),
            borrowing_percent: shares.borrowing_limit_percent,
            name: metadata.name,
            uid: metadata.uid,
        })
    }

    /// The two that are there whether they are stored or not.
    fn mandatory(name: &str) -> LevelConfig {
        let (discipline, shares) = match name {
            EXEMPT => (Discipline::Exempt, 0),
            _ => (Discipline::Reject, 5),
        };
        LevelConfig {
            name: name.to_owned(),
            uid: String::new(),
            discipline,
            shares,
            lendable_percent: 0,
            borrowing_percent: None,
        }
    }

    /// Its seats of a server's `server`, where all shares come to `sum`.
    pub fn limits(&self, server: u32, sum: f64) -> Limits {
        let borrowing = match self.discipline {
            Discipline::Exempt => None,
            _ => self.borrowing_percent,
        };
        Limits::new(server, self.shares, sum, self.lendable_percent, borrowing)
    }

    /// What one request may take of so many nominal seats; 0: there is no limit of the level's own.
    pub fn seats_of_request(&self, nominal: u32) -> u32 {
        let Discipline::Queue(queuing) = self.discipline else {
            return 0;
        };
        let part = (f64::from(nominal) * SEATS_OF_REQUEST).ceil() as u32;
        part.min(nominal / queuing.hand).max(1)
    }
}

/// What stored objects come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub levels: Vec<LevelConfig>,
    /// In the order in which they are tried; each one's level exists.
    pub schemas: Vec<Schema>,
    /// What is to be said of each stored schema.
    pub conditions: Vec<Condition>,
}

/// The condition `Dangling` of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub schema: String,
    pub level: String,
    pub dangling: bool,
}

impl Condition {
    pub fn status(&self) -> &'static str {
        if self.dangling { "True" } else { "False" }
    }

    pub fn reason(&self) -> &'static str {
        if self.dangling { "NotFound" } else { "Found" }
    }

    /// In upstream's words.
    pub fn message(&self) -> String {
        let end = match self.dangling {
            true => "but there is no such object",
            false => "and it exists",
        };
        let level = &self.level;
        format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}"
        )
    }
}

impl Config {
    /// Reads all objects of both kinds. The mandatory ones are there in any case; `mandatory` makes the schema of a name.
    pub fn new(
        levels: &[Value],
        schemas: &[Value],
        mandatory: impl Fn(&str) -> Option<Value>,
    ) -> Config {
        let mut levels: Vec<LevelConfig> = levels.iter().filter_map(LevelConfig::parse).collect();
        let stored: BTreeSet<String> = levels.iter().map(|level| level.name.clone()).collect();
        for name in [EXEMPT, CATCH_ALL] {
            if !stored.contains(name) {
                levels.push(LevelConfig::mandatory(name));
            }
        }
        let schemas: Vec<Schema> = schemas
            .iter()
            .filter_map(|s| Schema::parse(s).ok())
            .collect();
        let conditions = schemas.iter().map(|schema| Condition {
            schema: schema.name().to_owned(),
            level: schema.level().to_owned(),
            dangling: !stored.contains(schema.level()),
        });
        let conditions = conditions.collect();
        let mut schemas: Vec<Schema> = (schemas.into_iter())
            .filter(|schema| stored.contains(schema.level()))
            .collect();
        schemas.sort_by(|a, b| a.order().cmp(&b.order()));
        let missing = |name: &str| match schemas.iter().any(|schema| schema.name() == name) {
            true => None,
            false => mandatory(name).and_then(|object| Schema::parse(&object).ok()),
        };
        let (first, last) = (missing(EXEMPT), missing(CATCH_ALL));
        let schemas = first.into_iter().chain(schemas).chain(last).collect();
        Config {
            levels,
            schemas,
            conditions,
        }
    }

    /// All shares.
    pub fn shares(&self) -> f64 {
        self.levels
            .iter()
            .map(|level| f64::from(level.shares))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(name: &str, level: &str, precedence: i64) -> Value {
        json!({"metadata": {"name": name}, "spec": {
            "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}})
    }

    fn level(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "uid": "u"}, "spec": spec})
    }

    fn queued() -> Value {
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "lendablePercent": 50,
            "borrowingLimitPercent": 10, "limitResponse": {"type": "Queue", "queuing":
            {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}}})
    }

    #[test]
    fn levels_are_read() {
        let parsed = LevelConfig::parse(&level("a", queued())).expect("a level");
        let queuing = Queuing {
            queues: 64,
            hand: 8,
            length: 50,
        };
        assert_eq!(parsed.discipline, Discipline::Queue(queuing));
        assert_eq!((parsed.shares, parsed.lendable_percent), (30, 50));
        assert_eq!(parsed.borrowing_percent, Some(10));
        for (nominal, most) in [(100, 12), (40, 5), (7, 1), (0, 1)] {
            assert_eq!(parsed.seats_of_request(nominal), most, "{nominal}");
        }
        let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 2}});
        let parsed = LevelConfig::parse(&level(EXEMPT, exempt.clone()));
        assert_eq!(parsed.map(|level| level.shares), Some(2));
        for broken in [
            level("other", exempt),
            level(EXEMPT, queued()),
            level("a", json!({"type": "Limited"})),
            level(
                "a",
                json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}),
            ),
            json!({}),
        ] {
            assert_eq!(LevelConfig::parse(&broken), None, "{broken}");
        }
    }

    #[test]
    fn schemas_come_in_order_and_dangle_where_their_level_is_not() {
        let mandatory = |name: &str| match name {
            EXEMPT => Some(schema(name, EXEMPT, 1)),
            _ => Some(schema(name, CATCH_ALL, 10_000)),
        };
        let schemas = [
            schema("b", "a", 10),
            schema("late", "a", 9_000),
            schema("a", "a", 10),
            schema("lost", "gone", 2),
        ];
        let config = Config::new(&[level("a", queued())], &schemas, mandatory);
        let names: Vec<&str> = config.schemas.iter().map(Schema::name).collect();
        assert_eq!(names, [EXEMPT, "a", "b", "late", CATCH_ALL]);
        let levels: Vec<&str> = config.levels.iter().map(|level| &*level.name).collect();
        assert_eq!(levels, ["a", EXEMPT, CATCH_ALL]);
        assert_eq!(config.shares(), 35.0);
        let dangling: Vec<(&str, &str)> = (config.conditions.iter())
            .map(|condition| (&*condition.schema, condition.status()))
            .collect();
        let expected = [
            ("b", "False"),
            ("late", "False"),
            ("a", "False"),
            ("lost", "True"),
        ];
        assert_eq!(dangling, expected);
        let message = config.conditions[3].message();
        assert_eq!(
            message,
            "This FlowSchema references the PriorityLevelConfiguration object named \"gone\" but there is no such object"
        );
    }
}
