//! What was found once stays mended: every kept input, and some seconds of new ones.

use std::time::Duration;

use knarr_fuzz::{engine, targets};

const SECONDS: Duration = Duration::from_secs(2);

#[test]
fn no_target_has_a_finding() {
    for (name, mut target) in targets::all() {
        let report = engine::run(name, &mut *target, SECONDS, fastrand::Rng::new(), false);
        let report = report.expect("files");
        assert!(report.findings.is_empty(), "{name}: {:?}", report.findings);
        assert!(report.inputs > 0);
    }
}
