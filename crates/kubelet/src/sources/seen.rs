//! When this kubelet first saw the pods that the API gave it. Upstream's notes it in its copies of them, where containers read it by
//! the downward API; ours are the API's own states, so it stands beside them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::{SEEN, SOURCE};
use crate::context;

/// The source of pods that come from the API.
const API: &str = "api";

/// First sights, by uid.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, String>>);

impl Seen {
    /// What is added to the pod's annotations. Pods of other sources bear theirs.
    pub(crate) fn annotations(&self, pod: &Pod) -> BTreeMap<String, String> {
        let own = pod.metadata.annotations.as_ref();
        if own.is_some_and(|own| own.contains_key(SEEN)) {
            return BTreeMap::new();
        }
        let mut all = self.0.lock();
        let seen = all
            .entry(context::uid(pod).to_owned())
            .or_insert_with(|| Timestamp::now().to_string());
        let added = [(SEEN, seen.as_str()), (SOURCE, API)];
        added.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_pod_is_seen_once() {
        let seen = Seen::default();
        let mut pod = pod(json!({ "containers": [] }));
        let first = seen.annotations(&pod);
        assert_eq!(first[SOURCE], "api");
        assert!(first[SEEN].parse::<Timestamp>().is_ok());
        assert_eq!(seen.annotations(&pod), first);
        seen.forget(context::uid(&pod));
        assert_ne!(seen.annotations(&pod), first);
        // A static pod says itself where it is from.
        pod.metadata.annotations = Some(first);
        assert!(seen.annotations(&pod).is_empty());
    }
}
