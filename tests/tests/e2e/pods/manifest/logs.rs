//! Pods that write.

use serde_json::{Value, json};

use super::pod;

pub fn pods() -> Vec<Value> {
    let none = || json!({});
    let count = || json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let data = |policy: &str| json!({"restartPolicy": policy, "volumes": [{"name": "data", "emptyDir": {}}]});
    let chatty = "echo run >> /data/runs; if [ $(wc -l < /data/runs) = 1 ]; then echo first life; exit 1; fi; \
                  echo one; echo two; echo three; exec sleep 3600";
    let looping = "echo run >> /data/runs; echo life $(wc -l < /data/runs); exit 1";
    // More than the 10 MiB at which a log is rotated, then lines that a reader can miss or see twice.
    let talker = "echo ready; until [ -e /tmp/begin ]; do sleep 0.1; done; yes $(printf %01000d 0) | head -n 11000; i=0; \
                  until [ -e /tmp/go ]; do i=$((i+1)); echo tick $i; sleep 0.01; done; \
                  echo after; exec sleep 3600";
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    vec![
        pod("chatty", chatty, count(), data("OnFailure")),
        pod("looping", looping, count(), data("Always")),
        pod("talker", talker, none(), none()),
        pod(
            "last-lines",
            "echo first; echo then; exit 1",
            fallback,
            none(),
        ),
    ]
}
