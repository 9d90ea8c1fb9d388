use super::*;
use crate::take::tests::machine;

fn set(text: &str) -> CpuSet {
    text.parse().unwrap()
}

fn demand(name: &str, role: Role, cpus: usize) -> Demand {
    Demand {
        name: name.to_owned(),
        role,
        cpus,
        memory: BTreeMap::new(),
    }
}

fn pod(uid: &str, containers: Vec<Demand>) -> Pod {
    Pod {
        uid: uid.to_owned(),
        containers,
    }
}

fn policy(shape: &str, reserved: &str, options: Options) -> Static {
    let reserved = set(reserved);
    Static::new(machine(shape), (reserved.len(), reserved), options, None).unwrap()
}

fn allocate(policy: &mut Static, pod: &Pod) -> Result<(), Error> {
    let mut all = pod.containers.iter();
    all.try_for_each(|container| policy.allocate(pod, container, None))
}

#[test]
fn the_first_core_is_reserved_where_only_a_number_is_named() {
    let policy = Static::new(
        machine("1,1,1,4,2"),
        (2, CpuSet::new()),
        Options::default(),
        None,
    );
    let policy = policy.unwrap();
    assert_eq!(policy.allocatable().to_string(), "1-3,5-7");
    assert_eq!(policy.shared().to_string(), "0-7");
    let strict = Options {
        strict_reservation: true,
        ..Options::default()
    };
    assert_eq!(
        super::tests::policy("1,1,1,4,2", "0,4", strict)
            .shared()
            .to_string(),
        "1-3,5-7"
    );
    let error = Static::new(
        machine("1,1,1,2,1"),
        (1, set("7")),
        Options::default(),
        None,
    );
    assert!(error.unwrap_err().contains("unknown CPU ID: 7"));
}

#[test]
fn whole_cpus_leave_the_shared_pool_and_come_back() {
    let mut policy = policy("1,1,1,4,2", "0,4", Options::default());
    let of = pod(
        "u",
        vec![demand("a", Role::Main, 2), demand("b", Role::Main, 0)],
    );
    allocate(&mut policy, &of).unwrap();
    assert_eq!(policy.given("u", "a"), Some(&set("1,5")));
    assert_eq!(policy.given("u", "b"), None);
    assert_eq!(policy.shared().to_string(), "0,2-4,6-7");
    // Once more is no more.
    allocate(&mut policy, &of).unwrap();
    assert_eq!(policy.shared().to_string(), "0,2-4,6-7");
    let greedy = pod("v", vec![demand("a", Role::Main, 5)]);
    let error = allocate(&mut policy, &greedy).unwrap_err();
    let said = "not enough cpus available to satisfy request: requested=5, available=4";
    assert_eq!(
        (error.to_string().as_str(), error.reason()),
        (said, "UnexpectedAdmissionError")
    );
    policy.remove("u", "a");
    assert_eq!(policy.shared().to_string(), "0-7");
    assert!(policy.state().given.is_empty());
}

#[test]
fn init_containers_leave_theirs_and_sidecars_do_not() {
    let mut policy = policy("1,1,1,4,2", "0,4", Options::default());
    let of = pod(
        "u",
        vec![
            demand("init", Role::Init, 4),
            demand("side", Role::Sidecar, 1),
            demand("a", Role::Main, 2),
        ],
    );
    assert_eq!(of.cpus(), 4);
    allocate(&mut policy, &of).unwrap();
    let init = policy.given("u", "init").unwrap().clone();
    let side = policy.given("u", "side").unwrap().clone();
    let main = policy.given("u", "a").unwrap().clone();
    assert_eq!((init.len(), side.len(), main.len()), (4, 1, 2));
    assert!(side.intersection(&main).is_empty());
    assert_eq!(
        init.union(&side).union(&main),
        init,
        "nothing more is taken than init had"
    );
    policy.remove("u", "init");
    assert!(policy.shared().intersection(&main).is_empty());
    policy.remove("u", "a");
    policy.remove("u", "side");
    assert_eq!(policy.shared().to_string(), "0-7");
}

#[test]
fn whole_cores_are_all_or_nothing() {
    let options = Options {
        whole_cores: true,
        ..Options::default()
    };
    let mut policy = policy("1,1,1,4,2", "0", options);
    let of = |uid: &str, cpus: usize| pod(uid, vec![demand("a", Role::Main, cpus)]);
    let odd = allocate(&mut policy, &of("u", 3)).unwrap_err();
    let said = "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2";
    assert_eq!(
        (odd.to_string().as_str(), odd.reason()),
        (said, "SMTAlignmentError")
    );
    // CPU 4 is on the reserved core, and no core by itself.
    let many = allocate(&mut policy, &of("u", 8)).unwrap_err();
    let said = "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2";
    assert_eq!(
        (many.to_string().as_str(), many.reason()),
        (said, "SMTAlignmentError")
    );
    allocate(&mut policy, &of("u", 6)).unwrap();
    assert_eq!(policy.given("u", "a"), Some(&set("1-3,5-7")));
}

#[test]
fn hints_name_the_nodes_that_have_enough() {
    let mut policy = policy("2,1,1,3,2", "0,6", Options::default());
    let shown = |hints: Option<Vec<Hint>>| {
        let hints = hints.map(|hints| {
            let hints = hints.iter().map(|h| (h.nodes.unwrap().0, h.preferred));
            hints.collect::<Vec<_>>()
        });
        hints.unwrap_or_default()
    };
    let of = |cpus: usize| pod("u", vec![demand("a", Role::Main, cpus)]);
    let hints = |policy: &Static, cpus: usize| {
        let pod = of(cpus);
        shown(policy.hints(&pod, &pod.containers[0]))
    };
    assert_eq!(hints(&policy, 0), []);
    assert_eq!(hints(&policy, 4), [(1, true), (2, true), (3, false)]);
    assert_eq!(hints(&policy, 6), [(2, true), (3, false)]);
    assert_eq!(hints(&policy, 8), [(3, true)]);
    assert_eq!(hints(&policy, 11), []);
    let pod = of(4);
    policy
        .allocate(&pod, &pod.containers[0], Some(Mask(2)))
        .unwrap();
    assert_eq!(policy.given("u", "a"), Some(&set("3-4,9-10")));
    // They stay where they are, after a restart too.
    assert_eq!(hints(&policy, 4), [(2, true), (3, false)]);
    assert_eq!(shown(policy.pod_hints(&pod)), [(2, true), (3, false)]);
    assert_eq!(hints(&policy, 2), []);
}

#[test]
fn a_state_is_taken_over_if_it_can_be_so() {
    let check = |shared: &str, given: &str, strict: bool, said: &str| {
        let containers = BTreeMap::from([("a".to_owned(), set(given))]);
        let state = State {
            shared: set(shared),
            given: BTreeMap::from([("u".to_owned(), containers)]),
        };
        let options = Options {
            strict_reservation: strict,
            ..Options::default()
        };
        let made = Static::new(
            machine("1,1,1,4,1"),
            (1, set("0")),
            options,
            Some(state.clone()),
        );
        match made {
            Ok(policy) => assert_eq!((policy.state(), said), (&state, "")),
            Err(error) => assert_eq!(error, said),
        }
    };
    check("0-1,3", "2", false, "");
    check("1,3", "2", true, "");
    check("", "2", false, "default cpuset cannot be empty");
    check(
        "1,3",
        "2",
        false,
        "not all reserved cpus: \"0\" are present in defaultCpuSet: \"1,3\"",
    );
    check(
        "0-1,3",
        "2",
        true,
        "some of strictly reserved cpus: \"0\" are present in defaultCpuSet: \"0-1,3\"",
    );
    check(
        "0-3",
        "2",
        false,
        "pod: u, container: a cpuset: \"2\" overlaps with default cpuset \"0-3\"",
    );
    check(
        "0-1",
        "2",
        false,
        "current set of available CPUs \"0-3\" doesn't match with CPUs in state \"0-2\"",
    );
}

#[test]
fn options_are_upstreams() {
    let parse = |options: &[(&str, &str)]| {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Options::parse(&options.collect())
    };
    let parsed = parse(&[
        ("full-pcpus-only", "true"),
        ("distribute-cpus-across-numa", "1"),
    ]);
    assert!(parsed.is_ok_and(|options| options.whole_cores && options.across_nodes));
    for (options, error) in [
        (
            &[("align-by-socket", "true")][..],
            "CPU Manager Policy Alpha-level Options not enabled, but option \"align-by-socket\" provided",
        ),
        (
            &[("fast", "true")],
            "unknown CPU Manager Policy option: \"fast\"",
        ),
        (
            &[("full-pcpus-only", "yes")],
            "bad value for option \"full-pcpus-only\": strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        (
            &[
                ("prefer-align-cpus-by-uncorecache", "true"),
                ("distribute-cpus-across-numa", "true"),
            ],
            "static policy options prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at the same time",
        ),
    ] {
        assert_eq!(parse(options).unwrap_err(), error);
    }
}
