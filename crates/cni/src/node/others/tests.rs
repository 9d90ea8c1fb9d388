use super::{super::tests::in_namespace, *};

fn command(program: &str, arguments: &[&str]) -> String {
    super::super::tests::command(program, arguments)
}

fn instance(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn pods(ranges: &[&str]) -> Vec<Prefix> {
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

/// As Docker leaves it.
const DROPPING: &str = "add table ip filter; \
    add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; \
    add chain ip filter DOCKER-USER; \
    add rule ip filter FORWARD counter jump DOCKER-USER";

fn rules(family: &str) -> Vec<String> {
    let chain = command("nft", &["list", "chain", family, "filter", "FORWARD"]);
    let lines = chain.lines().map(str::trim);
    let rules = lines.filter(|line| line.contains("accept") || line.contains("jump"));
    rules.map(str::to_owned).collect()
}

#[test]
fn what_is_forwarded_for_pods_passes_chains_of_others() {
    in_namespace(|| async {
        let (own, other) = (instance("k7c2xmpa"), instance("k2222222"));
        // Nobody drops anything yet.
        admit(&own, Purpose::Pods, &pods(&["10.42.0.0/16", "fd42::/48"])).unwrap();
        command("nft", &[DROPPING]);
        command("nft", &[&DROPPING.replace(" ip ", " ip6 ")]);
        for _ in 0..2 {
            admit(&own, Purpose::Pods, &pods(&["10.42.0.0/16", "fd42::/48"])).unwrap();
        }
        let jump = "counter packets 0 bytes 0 jump DOCKER-USER";
        let of = |id: &str, from: &str, way: &str, range: &str| {
            format!("{from} {range} accept comment \"knarr-cni-{id} {way} {range}\"")
        };
        let both = |id: &str, what: &str, family: &str, range: &str| {
            [
                of(
                    id,
                    &format!("{family} saddr"),
                    &format!("{what} from"),
                    range,
                ),
                of(id, &format!("{family} daddr"), &format!("{what} to"), range),
            ]
        };
        let first = both("k7c2xmpa", "pods", "ip", "10.42.0.0/16");
        assert_eq!(rules("ip"), [&first[..], &[jump.to_owned()]].concat());
        let second = both("k7c2xmpa", "pods", "ip6", "fd42::/48");
        assert_eq!(rules("ip6"), [&second[..], &[jump.to_owned()]].concat());

        // Each cluster and purpose has its own; ranges that it has no more go.
        admit(&other, Purpose::Pods, &pods(&["10.50.0.0/16"])).unwrap();
        admit(&own, Purpose::Nodes, &pods(&["10.99.0.0/24"])).unwrap();
        admit(&own, Purpose::Pods, &pods(&["10.60.0.0/16"])).unwrap();
        let made = rules("ip");
        assert_eq!(made.len(), 7, "{made:#?}");
        for wanted in [
            both("k7c2xmpa", "pods", "ip", "10.60.0.0/16"),
            both("k7c2xmpa", "nodes", "ip", "10.99.0.0/24"),
            both("k2222222", "pods", "ip", "10.50.0.0/16"),
        ] {
            assert!(made[..6].windows(2).any(|two| *two == wanted), "{made:#?}");
        }
        assert_eq!(rules("ip6"), [jump]);

        dismiss(&own).unwrap();
        let left = both("k2222222", "pods", "ip", "10.50.0.0/16");
        assert_eq!(rules("ip"), [&left[..], &[jump.to_owned()]].concat());
        dismiss(&other).unwrap();
        assert_eq!(rules("ip"), [jump]);
    });
}

#[test]
fn firewalls_of_other_names_are_their_administrators() {
    in_namespace(|| async {
        command(
            "nft",
            &[
                "add table ip own; add chain ip own FORWARD { type filter hook forward priority 0; policy drop; }; \
               add table ip filter; add chain ip filter FORWARD",
            ],
        );
        let before = command("nft", &["list", "ruleset"]);
        admit(
            &instance("k7c2xmpa"),
            Purpose::Pods,
            &pods(&["10.42.0.0/16"]),
        )
        .unwrap();
        assert_eq!(command("nft", &["list", "ruleset"]), before);
    });
}
