//! How much a pod may receive and send: what its annotations ask for, and what a runtime tells plugins by that.

use std::collections::HashMap;

use knarr_meta::quantity::{ParseError, Quantity};
use serde::{Deserialize, Serialize};

/// Of traffic to the pod, and from it; bits a second.
pub const INGRESS_ANNOTATION: &str = "kubernetes.io/ingress-bandwidth";
pub const EGRESS_ANNOTATION: &str = "kubernetes.io/egress-bandwidth";

/// Bits a second: `1k` and `1P`.
const RATE_MIN: i64 = 1_000;
const RATE_MAX: i64 = 1_000_000_000_000_000;
/// What runtimes say where nobody has said how much may come at once, in bits.
pub(crate) const ANY_BURST: u64 = u32::MAX as u64;

/// The capability `bandwidth`: bits a second, and bits that may come at once. A rate of 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    // containerd names them as its language does.
    #[serde(alias = "IngressRate")]
    pub ingress_rate: u64,
    #[serde(alias = "IngressBurst")]
    pub ingress_burst: u64,
    #[serde(alias = "EgressRate")]
    pub egress_rate: u64,
    #[serde(alias = "EgressBurst")]
    pub egress_burst: u64,
}

/// Why an annotation is no bandwidth; upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreasonable {
    #[error(transparent)]
    Quantity(#[from] ParseError),
    #[error("resource is unreasonably small (< 1kbit)")]
    Small,
    #[error("resource is unreasonably large (> 1Pbit)")]
    Large,
}

impl Bandwidth {
    /// What a pod's annotations ask for; nothing where there are none.
    ///
    /// # Errors
    /// Where one of them is no quantity, or out of bounds.
    pub fn of_annotations(
        annotations: &HashMap<String, String>,
    ) -> Result<Option<Self>, Unreasonable> {
        let rate = |name: &str| annotations.get(name).map(|text| rate(text)).transpose();
        let (ingress, egress) = (rate(INGRESS_ANNOTATION)?, rate(EGRESS_ANNOTATION)?);
        if ingress.is_none() && egress.is_none() {
            return Ok(None);
        }
        let burst = |rate: Option<u64>| rate.map_or(0, |_| ANY_BURST);
        Ok(Some(Self {
            ingress_rate: ingress.unwrap_or(0),
            ingress_burst: burst(ingress),
            egress_rate: egress.unwrap_or(0),
            egress_burst: burst(egress),
        }))
    }
}

fn rate(text: &str) -> Result<u64, Unreasonable> {
    match Quantity::parse(text)?.value() {
        ..RATE_MIN => Err(Unreasonable::Small),
        value if value > RATE_MAX => Err(Unreasonable::Large),
        value => Ok(value.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Option<Bandwidth>, String> {
        let all = pairs.iter();
        let all = all.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Bandwidth::of_annotations(&all.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_are_rates_within_bounds() {
        assert_eq!(asked(&[("kubernetes.io/other", "x")]), Ok(None));
        let both = asked(&[(INGRESS_ANNOTATION, "1k"), (EGRESS_ANNOTATION, "1P")]);
        let wanted = Bandwidth {
            ingress_rate: 1_000,
            ingress_burst: 4_294_967_295,
            egress_rate: 1_000_000_000_000_000,
            egress_burst: 4_294_967_295,
        };
        assert_eq!(both, Ok(Some(wanted)));
        let one = asked(&[(EGRESS_ANNOTATION, "10M")]).unwrap().unwrap();
        assert_eq!((one.ingress_rate, one.ingress_burst), (0, 0));
        assert_eq!(one.egress_rate, 10_000_000);
        for (text, wanted) in [
            ("999", "resource is unreasonably small (< 1kbit)"),
            ("-1M", "resource is unreasonably small (< 1kbit)"),
            ("2P", "resource is unreasonably large (> 1Pbit)"),
            ("10kM", "unable to parse quantity's suffix"),
            (
                "10Mbit",
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
        ] {
            for name in [INGRESS_ANNOTATION, EGRESS_ANNOTATION] {
                assert_eq!(asked(&[(name, text)]), Err(wanted.to_owned()), "{text}");
            }
        }
    }

    #[test]
    fn plugins_are_told_as_the_conventions_have_it() {
        let bandwidth = Bandwidth {
            egress_rate: 5,
            egress_burst: 6,
            ..Bandwidth::default()
        };
        let text = json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": 5, "egressBurst": 6});
        assert_eq!(json!(bandwidth), text);
        let told = json!({"IngressRate": 0, "IngressBurst": 0, "EgressRate": 5, "EgressBurst": 6});
        assert_eq!(
            serde_json::from_value::<Bandwidth>(told).unwrap(),
            bandwidth
        );
    }
}
