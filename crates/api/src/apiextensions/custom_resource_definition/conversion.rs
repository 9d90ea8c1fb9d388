//! How a definition converts between its versions.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at},
};
use serde_json::Value;

use crate::validate;

const STRATEGIES: [&str; 2] = ["None", "Webhook"];
/// Versions of ConversionReview.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Errors name the fields as upstream's internal type does: without `webhook.clientConfig`.
pub(super) fn validate(conversion: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let strategy = str_at(conversion, &["strategy"]);
    validate::one_of(
        &mut errors,
        &path.child("strategy"),
        strategy,
        &STRATEGIES,
        true,
    );
    let config = conversion
        .get("webhook")
        .and_then(|webhook| webhook.get("clientConfig"));
    let reviews = list_at(conversion, &["webhook", "conversionReviewVersions"]);
    let config_path = path.child("webhookClientConfig");
    let reviews_path = path.child("conversionReviewVersions");
    if strategy == "Webhook" {
        match config.filter(|config| config.is_object()) {
            None => errors.push(Error::required(
                &config_path,
                "required when strategy is set to Webhook",
            )),
            Some(config) => validate::webhook::client_config(config, &config_path, &mut errors),
        }
        review_versions(reviews, &reviews_path, &mut errors);
        return errors;
    }
    const UNSET: &str = "should not be set when strategy is not set to Webhook";
    if config.is_some() {
        errors.push(Error::forbidden(&config_path, UNSET));
    }
    if !reviews.is_empty() {
        errors.push(Error::forbidden(&reviews_path, UNSET));
    }
    errors
}

fn review_versions(versions: &[Value], path: &Path, errors: &mut ErrorList) {
    if versions.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let version = version.as_str().unwrap_or_default();
        let path = path.index(index);
        if !seen.insert(version) {
            errors.push(Error::invalid(&path, version, "duplicate version"));
            continue;
        }
        validate::each(errors, &path, version, names::dns1035_label(version));
    }
    if !REVIEWS.iter().any(|known| seen.contains(known)) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(Error::invalid(path, versions.to_vec(), why));
    }
}
