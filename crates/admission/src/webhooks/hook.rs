//! One webhook of a configuration.

use std::time::Duration;

use knarr_api::admissionregistration::expressions::env_with_authorizer;
use knarr_meta::object::{i64_at, list_at, str_at};
use knarr_webhook::ClientConfig;
use serde_json::Value;

use crate::matching::{Conditions, Criteria, Rule};

/// Where a configuration says no timeout; the API fills in the same.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that the API takes, in seconds.
const MAX_TIMEOUT_SECONDS: i64 = 30;

/// What becomes of a write when a webhook gives no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    Fail,
    Ignore,
}

/// Versions of AdmissionReview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    /// Of upstream's first release of webhooks: fields are the same, answers are held to less.
    V1beta1,
}

/// A webhook, ready to be asked.
#[derive(Debug)]
pub struct Hook {
    pub name: String,
    /// Name of its configuration.
    pub configuration: String,
    /// Unique among all webhooks of a kind of configuration.
    pub id: String,
    pub criteria: Criteria,
    pub conditions: Conditions,
    pub failure_policy: FailurePolicy,
    pub timeout: Duration,
    /// `reinvocationPolicy: IfNeeded`.
    pub reinvoked: bool,
    /// Whether a dry run may call it.
    pub dry_run: bool,
    /// `None`: it takes none that this server sends.
    pub version: Option<Version>,
    /// An error is why it cannot be called.
    pub client: Result<ClientConfig, String>,
}

impl Hook {
    /// A webhook of the configuration with this name.
    pub fn new(value: &Value, configuration: &str) -> Hook {
        let text = |field: &'static str| str_at(value, &[field]);
        let name = text("name").to_owned();
        let seconds = i64_at(value, &["timeoutSeconds"]);
        let timeout = seconds.map_or(DEFAULT_TIMEOUT, |seconds| {
            Duration::from_secs(seconds.clamp(1, MAX_TIMEOUT_SECONDS).unsigned_abs())
        });
        let config = value.get("clientConfig").unwrap_or(&Value::Null);
        Hook {
            id: format!("{configuration}/{name}"),
            criteria: Criteria::new(value, Rule::list(value, "rules")),
            conditions: Conditions::new(value, &env_with_authorizer()),
            failure_policy: match text("failurePolicy") {
                "Ignore" => FailurePolicy::Ignore,
                _ => FailurePolicy::Fail,
            },
            timeout,
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            version: version(value),
            client: ClientConfig::new(config).map_err(|error| error.to_string()),
            configuration: configuration.to_owned(),
            name,
        }
    }
}

/// The first version of the list that this server sends.
fn version(value: &Value) -> Option<Version> {
    let mut versions = list_at(value, &["admissionReviewVersions"]).iter();
    versions.find_map(|version| match version.as_str()? {
        "v1" => Some(Version::V1),
        "v1beta1" => Some(Version::V1beta1),
        _ => None,
    })
}
