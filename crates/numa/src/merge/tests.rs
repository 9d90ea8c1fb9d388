use super::*;

fn hint(text: &str) -> Hint {
    let preferred = text.ends_with('!');
    let mask = text.trim_end_matches('!');
    Hint {
        nodes: (mask != "*").then(|| Mask(mask.parse().unwrap())),
        preferred,
    }
}

fn provider(text: &str) -> Option<Hints> {
    let list = match text {
        "-" => return None,
        "none" => Vec::new(),
        list => list.split(',').map(hint).collect(),
    };
    Some(Hints::from([("r".to_owned(), list)]))
}

/// Columns: nodes, policy, whether near nodes are preferred, what providers say, upstream's choice, whether it admits.
#[test]
fn upstream_chooses_the_same() {
    for line in include_str!("upstream.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [count, policy, closest, providers, chosen, admitted] = columns[..] else {
            panic!("{line}");
        };
        let numbers: Vec<usize> = (0..count.parse().unwrap()).collect();
        // Pairs of nodes are near each other.
        let distance = |from: usize, to: usize| match (from == to, from / 2 == to / 2) {
            (true, _) => 10,
            (_, true) => 12,
            _ => 20,
        };
        let row = |from: &usize| {
            let row = numbers.iter().map(|to| distance(*from, *to)).collect();
            (*from, row)
        };
        let policy = match policy {
            "best-effort" => Policy::BestEffort,
            "restricted" => Policy::Restricted,
            _ => Policy::SingleNumaNode,
        };
        let options = Options {
            prefer_closest: closest == "true",
            ..Options::default()
        };
        let nodes = Nodes {
            distances: numbers.iter().map(row).collect(),
            numbers,
        };
        let merger = Merger::new(policy, options, nodes).unwrap();
        let providers: Vec<_> = providers.split(' ').map(provider).collect();
        let made = merger.merge(&providers);
        assert_eq!(made, (hint(chosen), admitted == "true"), "{line}");
    }
}

#[test]
fn options_are_upstreams() {
    let parse = |name: &str, value: &str| {
        Options::parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    };
    assert!(
        parse("prefer-closest-numa-nodes", "t")
            .unwrap()
            .prefer_closest
    );
    assert_eq!(
        parse("max-allowable-numa-nodes", "16").unwrap().most_nodes,
        16
    );
    for (name, value, error) in [
        (
            "max-allowable-numa-nodes",
            "4",
            "the minimum value of \"max-allowable-numa-nodes\" should not be less than 8",
        ),
        (
            "prefer-closest-numa-nodes",
            "yes",
            "bad value for option \"prefer-closest-numa-nodes\": strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        (
            "nearest",
            "true",
            "unknown Topology Manager Policy option: \"nearest\"",
        ),
    ] {
        assert_eq!(parse(name, value).unwrap_err(), error);
    }
    let nodes = Nodes {
        numbers: (0..9).collect(),
        ..Nodes::default()
    };
    let many = |policy| Merger::new(policy, Options::default(), nodes.clone()).map(|_| ());
    assert_eq!(many(Policy::None), Ok(()));
    let refused = "unsupported on machines with more than 8 NUMA Nodes".to_owned();
    assert_eq!(many(Policy::BestEffort), Err(refused));
}
