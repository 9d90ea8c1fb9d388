//! What tests are made of.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_client::Object;
use serde_json::Value;

use crate::{Config, Latency, Share};

/// Three nodes on which all goes well, and fast.
pub(crate) fn config() -> Config {
    Config {
        name: "sim".to_owned(),
        count: 3,
        version: "v1.37.0".to_owned(),
        zones: 2,
        labels: BTreeMap::from([("pool".to_owned(), "blue".to_owned())]),
        taints: Vec::new(),
        capacity: BTreeMap::from([("pods".to_owned(), Quantity("110".to_owned()))]),
        node_range: "198.18.0.0/16".parse().expect("a range"),
        pod_range: "198.19.0.0/16".parse().expect("a range"),
        start: Latency::always(Duration::from_secs(2)),
        stop: Latency::always(Duration::from_secs(1)),
        job: Latency::always(Duration::from_secs(5)),
        not_ready: Share::NONE,
        failing: Share::NONE,
        outages: Share::NONE,
        outage: Latency::always(Duration::from_secs(60)),
        seed: 1,
    }
}

/// 2030-01-01, noon.
pub(crate) fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().expect("a time")
}

pub(crate) fn seen<T: Object>(object: &Value) -> T {
    T::decode(&object.to_string()).expect("an object")
}
