//! What admission has to say to those who audit a cluster.

use crate::request::AdmissionRequest;

/// Longest value of an annotation, as upstream.
pub const MAX_VALUE_BYTES: usize = 10 << 10;

/// Annotates the audit events of a request.
pub fn annotate(request: &AdmissionRequest<'_>, key: &str, value: &str) {
    request.annotations.add(key, value);
}

/// As much of a value as an annotation may hold.
pub fn truncated(value: &str) -> &str {
    let mut end = value.len().min(MAX_VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    &value[..end]
}
