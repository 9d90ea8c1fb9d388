//! CPU time in control groups of version 2, where CRI speaks of version 1's shares.

/// Shares (2 to 262144) to weight (1 to 10000), by the curve of runc 1.3.2 and libcontainer, on which the defaults meet: 1024
/// shares are a weight of 100. The kubelet weighs pods by it and the runtime containers: two curves would make them unequal.
pub fn weight(shares: i64) -> i64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as i64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests;
