//! Label and field selectors: what is written selects what it did.

use std::collections::BTreeMap;

use knarr_meta::fields::FieldSelector;
use knarr_meta::labels::Selector;

use crate::shape;

use super::{Target, texts};

pub struct Selectors;

impl Target for Selectors {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "app=web,tier in (a,b),!gone,x notin (y),n>5,m<7,z!=1",
            "metadata.name=a,status.phase!=Failed,spec.nodeName==n\\,1",
            "kubernetes.io/os=linux",
        ])
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Ok(text) = std::str::from_utf8(input) else {
            return Ok(0);
        };
        let labels: BTreeMap<String, String> = [("app", "web"), ("n", "6"), ("m", "x")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let mut seen = 0;
        if let Ok(selector) = Selector::parse(text) {
            let written = selector.to_string();
            let again =
                Selector::parse(&written).map_err(|e| format!("{written:?} does not read: {e}"))?;
            if again.matches(&labels) != selector.matches(&labels) {
                return Err(format!(
                    "{text:?} is written {written:?}, which selects otherwise"
                ));
            }
        }
        match Selector::parse(text) {
            Ok(selector) => seen ^= shape::of_data(&selector.to_string()),
            Err(error) => seen ^= shape::of(&error.to_string()),
        }
        match FieldSelector::parse(text) {
            Ok(selector) => same_fields(&selector)?,
            Err(error) => seen ^= shape::of(&error.to_string()),
        }
        Ok(seen)
    }
}

/// The terms of a written selector, whatever their order, are those that it was written of.
fn same_fields(selector: &FieldSelector) -> Result<(), String> {
    let terms = |selector: &FieldSelector| {
        let mut terms: Vec<(String, String, bool)> = selector
            .requirements()
            .iter()
            .map(|one| (one.field.clone(), one.value.clone(), one.equal))
            .collect();
        terms.sort();
        terms
    };
    let written = selector.to_string();
    let again = FieldSelector::parse(&written)
        .map_err(|error| format!("{written:?} does not read: {error}"))?;
    match terms(&again) == terms(selector) {
        true => Ok(()),
        false => Err(format!("{selector:?} is written {written:?}")),
    }
}
