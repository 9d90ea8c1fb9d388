//! Formats of names, by their names.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::{names, pattern};
use regex::Regex;

use super::{Other, Result, other};
use crate::{cost::Cost, value::Val};

/// A format that texts are validated against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(&'static str);

const NAMES: [&str; 13] = [
    "byte",
    "date",
    "datetime",
    "dns1035Label",
    "dns1035LabelPrefix",
    "dns1123Label",
    "dns1123LabelPrefix",
    "dns1123Subdomain",
    "dns1123SubdomainPrefix",
    "labelValue",
    "qualifiedName",
    "uri",
    "uuid",
];

/// Lengths of patterns, as upstream takes them.
const URI_SIZE: u64 = 1103;
const BYTE_SIZE: u64 = 84;
const DATE_SIZE: u64 = 70;
const UUID_PATTERN: &str = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
static UUID: LazyLock<Option<Regex>> = LazyLock::new(|| pattern::compile(UUID_PATTERN).ok());

impl Format {
    /// How long the pattern is that upstream takes a format for, when it says what validation costs.
    pub fn pattern_size(self) -> u64 {
        match self.0 {
            "dns1123Label" | "dns1123LabelPrefix" | "dns1035Label" | "dns1035LabelPrefix" => 30,
            "dns1123Subdomain" | "dns1123SubdomainPrefix" | "qualifiedName" => 60,
            "labelValue" => 40,
            "uri" => URI_SIZE,
            "uuid" => UUID_PATTERN.len() as u64,
            "byte" => BYTE_SIZE,
            _ => DATE_SIZE,
        }
    }

    fn find(name: &str) -> Option<Format> {
        NAMES
            .iter()
            .find(|known| **known == name)
            .map(|name| Format(name))
    }

    pub fn name(&self) -> &'static str {
        self.0
    }

    /// What is wrong with a text.
    fn validate(self, text: &str) -> Vec<String> {
        let unless = |valid: bool, why: &str| {
            if valid {
                Vec::new()
            } else {
                vec![why.to_owned()]
            }
        };
        match self.0 {
            "dns1035Label" => names::dns1035_label(text),
            "dns1035LabelPrefix" => names::dns1035_label(&names::mask_trailing_dash(text)),
            "dns1123Label" => names::dns1123_label(text),
            "dns1123LabelPrefix" => names::dns1123_label(&names::mask_trailing_dash(text)),
            "dns1123Subdomain" => names::dns1123_subdomain(text),
            "dns1123SubdomainPrefix" => names::dns1123_subdomain(&names::mask_trailing_dash(text)),
            "labelValue" => names::label_value(text),
            "qualifiedName" => names::qualified_name(text),
            "byte" => unless(STANDARD.decode(text).is_ok(), "invalid base64"),
            "date" => unless(
                text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
                "invalid date",
            ),
            "datetime" => unless(knarr_meta::time::parse(text).is_some(), "invalid datetime"),
            "uri" => unless(super::Url::parse(text).is_some(), "invalid URI"),
            _ => {
                let matches = UUID.as_ref().is_some_and(|uuid| uuid.is_match(text));
                unless(matches, "does not match the UUID format")
            }
        }
    }
}

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    match (name, values) {
        ("format.named", [Val::Text(text)]) => {
            let found = Format::find(text.as_str()).map(|format| other(Other::Format(format)));
            Some(Ok(Val::Optional(found.map(Into::into))))
        }
        ("validate", [Val::Other(value), Val::Text(text)]) => match &**value {
            Other::Format(format) => {
                if let Err(exceeded) = cost.make(text.as_str().len().saturating_mul(4)) {
                    return Some(Err(exceeded.into()));
                }
                let wrong = format.validate(text.as_str());
                Some(Ok(match wrong.is_empty() {
                    true => Val::Optional(None),
                    false => Val::some(Val::list(wrong.into_iter().map(Val::made_text).collect())),
                }))
            }
            _ => None,
        },
        (name, []) => {
            let format = Format::find(name.strip_prefix("format.")?)?;
            Some(Ok(other(Other::Format(format))))
        }
        _ => None,
    }
}
