//! Times: what is written reads as the same second.

use knarr_meta::time;

use crate::shape;

use super::{Target, texts};

pub struct Time;

impl Target for Time {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "2026-11-29T10:00:00Z",
            "2026-11-29T10:00:00.123456789+02:00",
            "9999-12-30T21:59:59Z",
            "2016-12-31T23:59:60Z",
            "-009999-01-02T01:59:59Z",
        ])
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some(at) = std::str::from_utf8(input).ok().and_then(time::parse) else {
            return Ok(0);
        };
        for written in [time::format_seconds(at), time::format_micro(at)] {
            let again =
                time::parse(&written).ok_or_else(|| format!("{written:?} does not read"))?;
            if again.as_second() != at.as_second() && at.as_second() >= 0 {
                return Err(format!("{written:?} is another second"));
            }
        }
        Ok(shape::of_data(
            std::str::from_utf8(input).unwrap_or_default(),
        ))
    }
}
