//! What was found once stays mended: every kept input, and some seconds of new ones, a test a target.

use std::time::Duration;

use knarr_fuzz::{
    engine,
    targets::{self, Target},
};

const TIME: Duration = Duration::from_secs(3);
/// The frames of a build without optimisation are several times those of what is shipped, whose threads have 2 MiB.
const STACK_BYTES: usize = 16 << 20;

fn run(name: &'static str) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let thread = thread.spawn(move || run_here(name)).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run_here(name: &str) {
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
    cel: "cel",
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
    schema: "schema",
    selector: "selector",
    server: "server",
    spdy: "spdy",
    strategic_patch: "strategic-patch",
    time: "time",
    websocket: "websocket",
    yaml: "yaml",
}

struct Catches;

impl Target for Catches {
    fn seeds(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let parsed = std::thread::scope(|scope| {
            let parse = || assert!(!input.is_empty(), "a parser's panic");
            scope.spawn(parse).join()
        });
        Ok(u64::from(parsed.is_ok()))
    }
}

#[test]
fn a_panic_that_is_caught_is_a_finding() {
    assert_eq!(engine::check(&mut Catches, b"x"), Ok(1));
    let found = engine::check(&mut Catches, b"").expect_err("a finding");
    assert_eq!(found, "panicked, and the panic was caught");
}
