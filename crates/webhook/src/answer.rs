//! Answers of webhooks as upstream's decoder takes them: reviews in JSON or YAML, of the kind and version that was sent.

use knarr_meta::{json, object::str_at};
use serde_json::Value;
use serde_saphyr::{budget, options};

/// What upstream calls the place where kinds of reviews are known.
const SCHEME: &str = "pkg/util/webhook/client.go:74";

/// Deepest that a review in YAML may be: its parser takes the stack for each level.
const YAML_LEVELS: usize = 16;

/// The kind of a review.
#[derive(Clone, Copy, Debug)]
pub struct ReviewKind<'a> {
    pub kind: &'a str,
    /// `admission.k8s.io/v1`: the version that was sent.
    pub api_version: &'a str,
    /// All versions that there are.
    pub versions: &'a [&'a str],
}

/// Reads a review. One that does not say its type is taken for the expected one.
///
/// # Errors
/// In upstream's words: what is no object, and what is of another type.
pub fn review(body: &[u8], expected: ReviewKind<'_>) -> Result<Value, String> {
    let no_type = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    let tree: Value = match body.trim_ascii_start().starts_with(b"{") {
        true => {
            serde_json::from_slice(body).map_err(|error| no_type(json::explain(&error, body)))?
        }
        false => {
            let options = options! { budget: budget! { max_depth: YAML_LEVELS } };
            let read = serde_saphyr::from_slice_with_options(body, options);
            read.map_err(|error| format!("yaml: {error}"))?
        }
    };
    if let Some(why) = json::not_an_object(&tree) {
        return Err(no_type(why));
    }
    let or = |field: &str, default| match str_at(&tree, &[field]) {
        "" => default,
        text => text,
    };
    let version = or("apiVersion", expected.api_version);
    let kind = or("kind", expected.kind);
    if (version, kind) == (expected.api_version, expected.kind) {
        return Ok(tree);
    }
    if kind == expected.kind && expected.versions.contains(&version) {
        let short = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
        let (from, to) = (short(version), short(expected.api_version));
        return Err(format!(
            "converting ({from}.{kind}) to ({to}.{kind}): unknown conversion"
        ));
    }
    Err(format!(
        "no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}"
    ))
}

/// The type of a review as Go shows it: `admission.k8s.io/v1, Kind=AdmissionReview`, and `/, Kind=` of one that says none.
pub fn shown_type(review: &Value) -> String {
    let (version, kind) = (str_at(review, &["apiVersion"]), str_at(review, &["kind"]));
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEW: ReviewKind<'_> = ReviewKind {
        kind: "AdmissionReview",
        api_version: "admission.k8s.io/v1",
        versions: &["admission.k8s.io/v1", "admission.k8s.io/v1beta1"],
    };

    #[test]
    fn what_is_no_review_is_told_in_gos_words() {
        const OF_TEXT: &str = r#"couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        for (body, wanted) in [
            ("hello", OF_TEXT),
            ("<html>", OF_TEXT),
            (
                "{",
                "couldn't get version/kind; json parse error: unexpected end of JSON input",
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#,
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            ),
            (
                r#"{"kind":"Pod","apiVersion":"v1"}"#,
                r#"no kind "Pod" is registered for version "v1" in scheme "pkg/util/webhook/client.go:74""#,
            ),
        ] {
            assert_eq!(
                review(body.as_bytes(), REVIEW),
                Err(wanted.to_owned()),
                "{body}"
            );
        }
        let deep = "[".repeat(100_000);
        let refused = review(deep.as_bytes(), REVIEW).expect_err("is too deep");
        assert!(refused.starts_with("yaml: "), "{refused}");
        let yaml = "kind: AdmissionReview\nresponse:\n  allowed: true\n";
        let read = review(yaml.as_bytes(), REVIEW).expect("a review");
        assert_eq!(read["response"]["allowed"], true);
        assert_eq!(shown_type(&read), "/, Kind=AdmissionReview");
        assert_eq!(shown_type(&Value::Null), "/, Kind=");
    }
}
