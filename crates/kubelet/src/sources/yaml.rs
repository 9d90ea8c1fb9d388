//! YAML as the API server reads it: 1.1 where the two versions differ.

use knarr_meta::patch::MAX_DEPTH;
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, budget, options};

/// What a document may have beyond what its length explains: aliases repeat.
const SLACK: usize = 10_000;

/// Parses one document. What it may use grows with its length and no faster.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    read(text, DuplicateKeyPolicy::LastWins)
}

/// As [`parse`], and refuses a document that says the same field twice.
pub(crate) fn parse_strictly(text: &[u8]) -> Result<Value, String> {
    read(text, DuplicateKeyPolicy::Error)
}

fn read(text: &[u8], duplicate_keys: DuplicateKeyPolicy) -> Result<Value, String> {
    let limits = budget! {
        max_reader_input_bytes: Some(text.len()),
        max_depth: MAX_DEPTH,
        max_nodes: text.len() + SLACK,
        max_events: 2 * text.len() + SLACK,
        max_total_scalar_bytes: text.len() + SLACK,
    };
    let options = options! {
        budget: limits,
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
    };
    serde_saphyr::from_slice_with_options(text, options).map_err(|error| error.to_string())
}
