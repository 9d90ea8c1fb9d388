//! Conversion of custom resources by webhook.

use knarr_meta::object::{list_at, str_at, struct_at};
use serde_json::Value;

/// How the versions of a definition are converted, where that is by webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The value of its `clientConfig`.
    pub client: Value,
    /// The versions of ConversionReview that it takes.
    pub reviews: Vec<String>,
}

impl Conversion {
    pub(crate) fn new(definition: &Value) -> Option<Conversion> {
        let conversion = struct_at(definition, &["spec", "conversion"])?;
        if str_at(conversion, &["strategy"]) != "Webhook" {
            return None;
        }
        let reviews = list_at(conversion, &["webhook", "conversionReviewVersions"]).iter();
        let reviews = reviews.filter_map(Value::as_str).map(str::to_owned);
        Some(Conversion {
            client: struct_at(conversion, &["webhook", "clientConfig"])
                .cloned()
                .unwrap_or_default(),
            reviews: reviews.collect(),
        })
    }
}
