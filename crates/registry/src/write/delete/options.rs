//! What a delete may ask for.

use knarr_admission::request::{Operation, Options};
use serde_json::{Value, json};

/// What happens to the objects owned by the deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// metav1.DeleteOptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<Propagation>,
    pub dry_run: bool,
    /// `ignoreStoreReadErrorWithClusterBreakingPotential`: of an object that cannot be read, and of no other.
    pub only_unreadable: bool,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        }
    }
}

impl Options for DeleteOptions {
    fn to_value(&self, _operation: Operation) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        let mut put = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                options[field] = value;
            }
        };
        put(
            "gracePeriodSeconds",
            self.grace_period_seconds.map(Value::from),
        );
        put("orphanDependents", self.orphan_dependents.map(Value::from));
        let policy = self.propagation_policy.map(|policy| policy.as_str());
        put("propagationPolicy", policy.map(Value::from));
        let mut preconditions = serde_json::Map::new();
        for (field, text) in [
            ("uid", &self.uid),
            ("resourceVersion", &self.resource_version),
        ] {
            if let Some(text) = text {
                preconditions.insert(field.to_owned(), json!(text));
            }
        }
        if !preconditions.is_empty() {
            put("preconditions", Some(preconditions.into()));
        }
        if self.dry_run {
            put("dryRun", Some(json!(["All"])));
        }
        if self.only_unreadable {
            put(
                "ignoreStoreReadErrorWithClusterBreakingPotential",
                Some(true.into()),
            );
        }
        options
    }
}

impl DeleteOptions {
    /// The old and the new way to say it, in one.
    pub fn propagation(&self) -> Option<Propagation> {
        match self.orphan_dependents {
            Some(true) => Some(Propagation::Orphan),
            Some(false) => Some(Propagation::Background),
            None => self.propagation_policy,
        }
    }
}
