use super::*;

const GI: u64 = 1 << 30;

fn amounts(memory: u64) -> Amounts {
    Amounts::from([(RESOURCE.to_owned(), memory * GI)])
}

/// Nodes of 10 GiB of which one is kept.
fn policy(nodes: usize) -> Static {
    let totals = (0..nodes).map(|node| (node, amounts(10))).collect();
    let kept = (0..nodes).map(|node| (node, amounts(1))).collect();
    Static::new(machine::empty(&totals, &kept), None).unwrap()
}

fn demand(name: &str, role: Role, memory: u64) -> Demand {
    Demand {
        name: name.to_owned(),
        role,
        cpus: 0,
        memory: amounts(memory),
    }
}

fn one(uid: &str, memory: u64) -> Pod {
    Pod {
        uid: uid.to_owned(),
        containers: vec![demand("a", Role::Main, memory)],
    }
}

fn hints(policy: &Static, pod: &Pod) -> Vec<(u64, bool)> {
    let hints = policy.hints(pod, &pod.containers[0]).unwrap_or_default();
    let list = hints.get(RESOURCE).into_iter().flatten();
    list.map(|hint| (hint.nodes.unwrap().0, hint.preferred))
        .collect()
}

fn anywhere(preferred: bool) -> Hint {
    Hint {
        nodes: None,
        preferred,
    }
}

fn free(policy: &Static) -> Vec<u64> {
    let nodes = policy.state().machine.values();
    nodes.map(|node| node.memory[RESOURCE].free / GI).collect()
}

#[test]
fn small_demands_come_from_one_node_and_large_ones_from_several() {
    let mut policy = policy(2);
    assert_eq!(
        hints(&policy, &one("u", 5)),
        [(1, true), (2, true), (3, false)]
    );
    assert_eq!(hints(&policy, &one("u", 12)), [(3, true)]);
    assert_eq!(hints(&policy, &one("u", 19)), []);
    let pod = one("u", 5);
    policy
        .allocate(&pod, &pod.containers[0], anywhere(true))
        .unwrap();
    assert_eq!(free(&policy), [4, 9]);
    // It stays where it is.
    assert_eq!(hints(&policy, &pod), [(1, true)]);
    // A node that serves by itself serves no group.
    assert_eq!(hints(&policy, &one("v", 6)), [(2, true)]);
    assert_eq!(hints(&policy, &one("v", 12)), []);
    let large = one("v", 12);
    let error = policy
        .allocate(&large, &large.containers[0], anywhere(true))
        .unwrap_err();
    let said = "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available";
    assert_eq!(error.to_string(), said);
    policy.remove("u", "a");
    assert_eq!(free(&policy), [9, 9]);
    policy
        .allocate(&large, &large.containers[0], anywhere(true))
        .unwrap();
    assert_eq!(free(&policy), [0, 6]);
    // Nor does one of a group serve by itself.
    assert_eq!(hints(&policy, &one("w", 1)), [(3, false)]);
    policy.remove("v", "a");
    assert_eq!(
        hints(&policy, &one("w", 1)),
        [(1, true), (2, true), (3, false)]
    );
}

#[test]
fn a_hint_that_does_not_suffice_is_widened() {
    let mut policy = policy(3);
    let pod = one("u", 12);
    let narrow = |preferred| Hint {
        nodes: Some(Mask(2)),
        preferred,
    };
    policy
        .allocate(&pod, &pod.containers[0], narrow(true))
        .unwrap();
    let given = policy.given("u", "a").unwrap();
    assert_eq!(given[0].nodes, [0, 1]);
    assert_eq!(free(&policy), [0, 6, 9]);
    let other = one("v", 8);
    let error = policy
        .allocate(&other, &other.containers[0], narrow(true))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "[memorymanager] failed to find NUMA nodes to extend the current topology hint"
    );
}

#[test]
fn init_containers_leave_theirs() {
    let mut policy = policy(1);
    let pod = Pod {
        uid: "u".to_owned(),
        containers: vec![
            demand("init", Role::Init, 4),
            demand("side", Role::Sidecar, 1),
            demand("a", Role::Main, 3),
        ],
    };
    assert_eq!(pod.memory(), amounts(4));
    for container in &pod.containers {
        policy.allocate(&pod, container, anywhere(true)).unwrap();
    }
    assert_eq!(free(&policy), [5]);
    // All of them together have what the pod has.
    let size = |name: &str| policy.given("u", name).unwrap()[0].size / GI;
    assert_eq!((size("init"), size("side"), size("a")), (0, 1, 3));
    for container in &pod.containers {
        policy.remove("u", &container.name);
    }
    assert_eq!(free(&policy), [9]);
    assert_eq!(policy.state().machine[&0].assignments, 0);
}

#[test]
fn huge_pages_are_taken_out_of_the_memory() {
    let mut totals = amounts(10);
    totals.insert("hugepages-1Gi".to_owned(), 4 * GI);
    let machine = machine::empty(
        &BTreeMap::from([(0, totals)]),
        &Reserved::from([(0, amounts(1))]),
    );
    let policy = Static::new(machine, None).unwrap();
    let sizes: Vec<_> = policy
        .allocatable()
        .iter()
        .map(|b| (b.resource.clone(), b.size / GI))
        .collect();
    assert_eq!(
        sizes,
        [("hugepages-1Gi".to_owned(), 4), (RESOURCE.to_owned(), 5)]
    );
}

#[test]
fn a_state_is_taken_over_if_the_machine_is_the_same() {
    let mut before = policy(2);
    let pod = one("u", 12);
    before
        .allocate(&pod, &pod.containers[0], anywhere(true))
        .unwrap();
    let state = before.state().clone();
    let again = |nodes: usize, state: &State| {
        let machine = policy(nodes).state().machine.clone();
        Static::new(machine, Some(state.clone())).map(|policy| policy.state().clone())
    };
    assert_eq!(again(2, &state), Ok(state.clone()));
    let said = "[memorymanager] (pod: u, container: a) the memory assignment uses the NUMA that does not exist";
    assert_eq!(again(1, &state), Err(said.to_owned()));
    let different =
        "[memorymanager] the expected machine state is different from the real one".to_owned();
    assert_eq!(again(3, &state), Err(different));
    let lost = State {
        machine: Machine::new(),
        ..state
    };
    assert!(again(2, &lost).unwrap_err().contains("can not be empty"));
}

#[test]
fn what_is_reserved_adds_up() {
    let by_node = Reserved::from([(0, amounts(1)), (1, amounts(1))]);
    assert!(reserved(by_node.clone(), &amounts(2)).is_ok());
    let error = reserved(by_node, &amounts(3)).unwrap_err();
    assert!(error.contains("is not equal to the value"), "{error}");
    let error = reserved(Reserved::new(), &amounts(1)).unwrap_err();
    assert!(
        error.starts_with("the total amount \"0\" of type \"memory\""),
        "{error}"
    );
    let none = Static::new(
        machine::empty(&BTreeMap::from([(0, amounts(1))]), &Reserved::new()),
        None,
    );
    assert_eq!(
        none.unwrap_err(),
        "[memorymanager] you should specify the system reserved memory"
    );
}
