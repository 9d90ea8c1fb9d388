//! What the verbs of requests mean to all who handle them.

/// Whether a request holds its connection for long: it is not counted as in flight and has no deadline.
pub fn long_running(verb: &str, subresource: &str) -> bool {
    matches!(verb, "watch" | "proxy")
        || matches!(
            subresource,
            "log" | "exec" | "attach" | "portforward" | "proxy"
        )
}
