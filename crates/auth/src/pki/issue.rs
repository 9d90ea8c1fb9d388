//! What every certificate has that is made here: times and a number.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::SerialNumber;
use ring::rand::{SecureRandom, SystemRandom};

/// Time as rcgen wants it, without naming its time crate.
macro_rules! offset {
    ($time:expr) => {
        rcgen::date_time_ymd(1970, 1, 1)
            + $time
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default()
    };
}
pub(super) use offset;

pub(super) fn serial() -> SerialNumber {
    let mut bytes = [0u8; 16];
    // Uniqueness of serials is a convenience here (nothing is revoked by them); without randomness the clock must do.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        bytes = nanos.to_be_bytes();
    }
    // Positive and of full length, so that the DER has one form.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
