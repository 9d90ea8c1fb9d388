use super::*;

#[test]
fn nodes_are_told_more_in_larger_clusters() {
    let mut current = Current::default();
    let told = [
        (1, "0"),
        (100, "0"),
        (101, "15"),
        // A few less change nothing.
        (95, "15"),
        (89, "0"),
        (5000, "300"),
        (1800, "300"),
        (1799, "60"),
        (0, "0"),
    ];
    for (nodes, seconds) in told {
        let before = current.seconds();
        let changed = current.resize(nodes);
        assert_eq!(current.seconds(), seconds, "{nodes} nodes");
        assert_eq!(changed, before != seconds, "{nodes} nodes");
    }
}
