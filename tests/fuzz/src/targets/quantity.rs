//! Quantities: what is written reads as the same amount.

use knarr_meta::Quantity;

use crate::shape;

use super::{Target, texts};

pub struct QuantityText;

impl Target for QuantityText {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "0",
            "100m",
            "1.5Gi",
            "12e6",
            "-1E-3",
            "9223372036854775807",
            "0.000000001",
            "1Ei",
            "+.5k",
            "1000000n",
        ])
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Ok(text) = std::str::from_utf8(input) else {
            return Ok(0);
        };
        let quantity = match Quantity::parse(text) {
            Ok(quantity) => quantity,
            Err(error) => return Ok(shape::of(&error.to_string())),
        };
        // Whatever the amount is, asking for it ends nothing.
        let _ = (
            quantity.value(),
            quantity.milli_value(),
            quantity.as_f64(),
            quantity.is_integer(),
        );
        let written = quantity.to_string();
        match Quantity::parse(&written) {
            Ok(again) if again.to_string() == written && again.value() == quantity.value() => {
                Ok(shape::of_data(&written))
            }
            Ok(again) => Err(format!("{text:?} is written {written:?}, which is {again}")),
            Err(error) => Err(format!(
                "{text:?} is written {written:?}, which does not read: {error}"
            )),
        }
    }
}
