//! How a failed command ends: one line that says what went wrong and, where we know, what to do.

/// The error with its causes in one line, each said once.
pub fn line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        // Some errors repeat their source in their own text.
        if !parts.iter().any(|said| said.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_said_once_and_in_one_line() {
        let inner = anyhow!("address\nin use");
        let error = Err::<(), _>(inner)
            .context("cannot listen: address in use")
            .context("no server");
        assert_eq!(
            super::line(&error.unwrap_err()),
            "no server: cannot listen: address in use"
        );
    }
}
