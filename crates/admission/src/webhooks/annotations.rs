//! What audit events say of webhooks, under upstream's keys.

use knarr_audit::Level;
use serde_json::{json, value::RawValue};

use super::hook::Hook;
use crate::{audit, request::AdmissionRequest};

const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";
const VALIDATING: &str = "validating.webhook.admission.k8s.io/";

/// A webhook that is called in the mutating phase: in which round, and which of all it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub again: bool,
    pub index: usize,
}

impl Place {
    fn key(self, prefix: &str) -> String {
        format!(
            "{prefix}round_{}_index_{}",
            u8::from(self.again),
            self.index
        )
    }

    /// The webhook was called, and changed the object or not.
    pub fn called(self, request: &AdmissionRequest<'_>, hook: &Hook, mutated: bool) {
        if !request.annotations.wants(Level::Metadata) {
            return;
        }
        let (configuration, webhook) = (&hook.configuration, &hook.name);
        let value = json!({"configuration": configuration, "webhook": webhook, "mutated": mutated});
        audit::annotate(request, &self.key(MUTATION), &value.to_string());
    }

    /// What it wants changed, which may be secret: told where the request's object is.
    pub fn patched(self, request: &AdmissionRequest<'_>, hook: &Hook, patch: &[u8]) {
        if !request.annotations.wants(Level::Request) {
            return;
        }
        let Ok(patch) = serde_json::from_slice::<Box<RawValue>>(patch) else {
            return;
        };
        let value = format!(
            "{{\"configuration\":{},\"webhook\":{},\"patch\":{},\"patchType\":\"JSONPatch\"}}",
            json!(hook.configuration),
            json!(hook.name),
            patch.get()
        );
        let key = self.key(PATCH);
        request.annotations.add_at(Level::Request, key, value);
    }

    /// It gave no verdict, which is ignored.
    pub fn failed_open(self, request: &AdmissionRequest<'_>, hook: &Hook) {
        let key = self.key(&format!("failed-open.{MUTATION}"));
        audit::annotate(request, &key, &hook.name);
    }
}

/// A validating webhook gave no verdict, which is ignored.
pub fn validating_failed_open(request: &AdmissionRequest<'_>, hook: &Hook, index: usize) {
    let key = format!("failed-open.{VALIDATING}round_0_index_{index}");
    audit::annotate(request, &key, &hook.name);
}
