//! What was found once stays mended: every kept input, and a second of new ones, a test a target.

use std::time::Duration;

use knarr_fuzz::{engine, targets};

const TIME: Duration = Duration::from_secs(1);

fn run(name: &str) {
    let mut target = targets::start(name).expect("a target of that name");
    let plan = engine::Plan {
        time: TIME,
        random: fastrand::Rng::new(),
        keep: false,
        progress: &mut |_| {},
    };
    let report = engine::run(name, &mut *target, plan).expect("files");
    assert_eq!(report.findings, 0, "see tests/fuzz/findings/{name}");
    assert!(report.inputs > 0);
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested: &[&str] = &[$($name),*];
            let all: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(tested, all);
        }
    };
}

targets! {
    archive: "archive",
    cni: "cni",
    container_log: "container-log",
    continuation: "continue",
    dns: "dns",
    json_patch: "json-patch",
    jwt: "jwt",
    layer: "layer",
    merge_patch: "merge-patch",
    protobuf: "protobuf",
    quantity: "quantity",
    query: "query",
    selector: "selector",
    server: "server",
    spdy: "spdy",
    strategic_patch: "strategic-patch",
    time: "time",
    websocket: "websocket",
    yaml: "yaml",
}
