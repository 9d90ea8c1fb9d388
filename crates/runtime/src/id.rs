//! Ids as containerd makes them: 64 hexadecimal digits.

/// A new random id.
pub fn new() -> String {
    let mut bytes = [0u8; 32];
    // Sandboxes are found by prefix in logs and by crictl; predictability gains nobody anything.
    fastrand::Rng::new().fill(&mut bytes);
    hex(&bytes)
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
