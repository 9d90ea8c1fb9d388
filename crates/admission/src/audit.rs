//! What admission has to say to those who audit a cluster.

use crate::request::AdmissionRequest;

/// Longest value of an annotation, as upstream.
pub const MAX_VALUE_BYTES: usize = 10 << 10;

/// Annotates the audit event of a request. This server writes no audit log; its own log tells each annotation.
pub fn annotate(request: &AdmissionRequest<'_>, key: &str, value: &str) {
    let (namespace, name) = (request.namespace, request.name);
    tracing::info!(
        target: "knarr::audit",
        %key,
        %value,
        user = %request.user.name,
        operation = request.operation.as_str(),
        resource = %request.kind.resource,
        namespace,
        name,
        "audit annotation"
    );
}

/// As much of a value as an annotation may hold.
pub fn truncated(value: &str) -> &str {
    let mut end = value.len().min(MAX_VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    &value[..end]
}
