//! Follows FlowSchemas and PriorityLevelConfigurations: what they say is acted upon, each schema's status says whether its level
//! exists, and the levels' seats are divided anew by what was needed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use knarr_api::{Kind, flowcontrol::standard, kind::Part};
use knarr_auth::objects::Objects;
use knarr_fairness::{
    ADJUST_PERIOD, Fairness,
    config::{Condition, Config},
};
use knarr_meta::{
    object::{self, list_at, str_at},
    status::Status,
    time,
};
use knarr_registry::{Registry, cache::resource::ResourceCache, write::Place};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::core::Core;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations";
const SCHEMAS: &str = "flowschemas";
const DANGLING: &str = "Dangling";
/// Whose the conditions are, as upstream.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// Servers that disagree (of two versions) must not write against each other for ever: so often in a minute.
const WRITES_A_MINUTE: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// Writes under way at once: they share fsyncs.
const MAX_CONCURRENT_WRITES: usize = 32;
/// After a status could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// The task.
pub struct Task {
    fairness: Arc<Fairness>,
    registry: Arc<Registry>,
    /// When each schema's status was written in the last minute.
    written: HashMap<String, VecDeque<Instant>>,
}

impl Task {
    /// Acts upon what is stored already, and says so: what is made at a start is finished when that is.
    pub async fn start(core: &Core) -> Task {
        let mut task = Task {
            fairness: core.fairness.clone(),
            registry: core.registry.clone(),
            written: HashMap::new(),
        };
        let conditions = task.configure();
        // What could not be written is tried again.
        task.tell(conditions).await;
        task
    }

    /// Follows until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let of = |resource| self.registry.cache.resource(GROUP, resource);
        let (Some(levels), Some(schemas)) = (of(LEVELS), of(SCHEMAS)) else {
            return;
        };
        let mut adjust = tokio::time::interval(ADJUST_PERIOD);
        adjust.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = (0, 0);
        let mut again = None;
        loop {
            let now = (levels.last_change(), schemas.last_change());
            if now != seen || again.is_some_and(|at| at <= Instant::now()) {
                seen = now;
                let conditions = self.configure();
                // Nobody shows a write any more when the server ends.
                again = match stop.run_until_cancelled(self.tell(conditions)).await {
                    Some(true) => None,
                    Some(false) => Instant::now().checked_add(RETRY),
                    None => return,
                };
            }
            tokio::select! {
                () = changed(&levels, &schemas, seen) => {}
                _ = adjust.tick() => {
                    if self.fairness.adjust() {
                        self.configure();
                    }
                }
                () = stop.cancelled() => return,
            }
        }
    }

    fn configure(&self) -> Vec<Condition> {
        let objects = |resource| -> Vec<Value> {
            let all = self.registry.cache.list(GROUP, resource, "");
            let all = all.iter().map(|found| serde_json::from_slice(&found.json));
            all.filter_map(Result::ok).collect()
        };
        let (levels, schemas) = (objects(LEVELS), objects(SCHEMAS));
        let config = Config::new(&levels, &schemas, standard::mandatory_schema);
        self.fairness.configure(&config);
        let conditions = config.conditions.into_iter();
        let wrong = conditions.filter(|condition| {
            let of = |schema: &&Value| object::name(schema) == condition.schema;
            schemas
                .iter()
                .find(of)
                .is_some_and(|schema| !says(schema, condition))
        });
        wrong.collect()
    }

    /// Writes conditions. False: some are to be written later.
    async fn tell(&mut self, conditions: Vec<Condition>) -> bool {
        let Some(kind) = knarr_api::built_in(GROUP, "v1", SCHEMAS) else {
            return true;
        };
        let all = conditions.len();
        let due: Vec<Condition> = (conditions.into_iter())
            .filter(|condition| self.may_write(&condition.schema))
            .collect();
        let (later, registry) = (all > due.len(), &*self.registry);
        let written = stream::iter(due).map(|condition| async move {
            match write(registry, kind, &condition).await {
                Err(status) if !status.is_not_found() => {
                    let (schema, error) = (condition.schema, status.message);
                    tracing::warn!(schema, error, "cannot write the status of a FlowSchema");
                    false
                }
                _ => true,
            }
        });
        let written = written.buffer_unordered(MAX_CONCURRENT_WRITES);
        let done = written.fold(true, async |done, written| done && written);
        done.await && !later
    }

    fn may_write(&mut self, schema: &str) -> bool {
        let now = Instant::now();
        self.written.retain(|_, times| {
            times.retain(|at| now.duration_since(*at) < MINUTE);
            !times.is_empty()
        });
        let times = self.written.entry(schema.to_owned()).or_default();
        if times.len() >= WRITES_A_MINUTE {
            return false;
        }
        times.push_back(now);
        true
    }
}

async fn changed(levels: &ResourceCache, schemas: &ResourceCache, seen: (u64, u64)) {
    tokio::select! {
        () = levels.changed(seen.0) => {}
        () = schemas.changed(seen.1) => {}
    }
}

/// Whether a schema's status says what it should.
fn says(schema: &Value, condition: &Condition) -> bool {
    let conditions = list_at(schema, &["status", "conditions"]);
    let stored = conditions
        .iter()
        .find(|stored| str_at(stored, &["type"]) == DANGLING);
    stored.is_some_and(|stored| {
        str_at(stored, &["status"]) == condition.status()
            && str_at(stored, &["reason"]) == condition.reason()
            && str_at(stored, &["message"]) == condition.message()
    })
}

async fn write(registry: &Registry, kind: &Kind, condition: &Condition) -> Result<(), Status> {
    let place = Place {
        kind,
        name: &condition.schema,
        part: Part::Status,
        manager: MANAGER,
    };
    let wish = |schema: &Value| wanted(kind, schema, condition, &time::now_seconds());
    registry.apply(place, &wish).await
}

/// What is applied to a schema's status; none where it says so, or is of another level by now.
fn wanted(kind: &Kind, schema: &Value, condition: &Condition, now: &str) -> Option<Value> {
    let level = ["spec", "priorityLevelConfiguration", "name"];
    if says(schema, condition) || str_at(schema, &level) != condition.level {
        return None;
    }
    let condition = json!({
        "type": DANGLING,
        "status": condition.status(),
        "lastTransitionTime": now,
        "reason": condition.reason(),
        "message": condition.message(),
    });
    Some(json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": object::name(schema)},
        "status": {"conditions": [condition]},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_whether_its_level_exists() {
        let kind = knarr_api::built_in(GROUP, "v1", SCHEMAS).expect("a kind");
        let mut schema = json!({"metadata": {"name": "s"}, "status": {"conditions": [{"type": "Other"}]},
            "spec": {"priorityLevelConfiguration": {"name": "l"}}});
        let mut condition = Condition {
            schema: "s".into(),
            level: "l".into(),
            dangling: true,
        };
        let applied = wanted(kind, &schema, &condition, "now").expect("it says nothing of it");
        assert_eq!(
            applied,
            json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "s"},
                "status": {"conditions": [{"type": "Dangling", "status": "True", "lastTransitionTime": "now", "reason": "NotFound",
                    "message": condition.message()}]}})
        );
        schema["status"] = applied["status"].clone();
        assert!(says(&schema, &condition));
        assert_eq!(wanted(kind, &schema, &condition, "later"), None);
        condition.dangling = false;
        let applied = wanted(kind, &schema, &condition, "later").expect("it says otherwise");
        assert_eq!(applied["status"]["conditions"][0]["status"], "False");
        // It is of another level by now: that is looked at again.
        condition.level = "m".into();
        assert_eq!(wanted(kind, &schema, &condition, "now"), None);
    }
}
