use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{PortMapping, plugin::ipam};

fn network(instance: &str) -> NodeNetwork {
    NodeNetwork {
        instance: instance.parse().unwrap(),
        data_dir: PathBuf::from("/var/lib/knarr test"),
        node_ips: vec![IpAddr::from([192, 168, 1, 2])],
        cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        dns_listen: DnsListen {
            ipv4: Ipv4Addr::new(169, 254, 20, 10),
            ipv6: "fd6b:6e61:7272::a".parse().unwrap(),
        },
    }
}

fn both(instance: &str) -> NodeNetwork {
    let mut network = network(instance);
    network.node_ips.push("2001:db8::2".parse().unwrap());
    network.cluster_cidrs.push("fd42::/48".parse().unwrap());
    network.service_cidrs.push("fd43::/112".parse().unwrap());
    network
}

/// Runs `work` in a network namespace that ends with it; says so where that is not allowed.
pub(super) fn in_namespace<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send) {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            command("ip", &["link", "set", "lo", "up"]);
            command("ip", &["address", "add", "192.168.1.2/32", "dev", "lo"]);
            command("ip", &["address", "add", "2001:db8::2/128", "dev", "lo"]);
            // The thread's own files of /proc are of the new namespace.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work());
        });
        there.join().unwrap();
    });
}

pub(super) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Rules, routes and addresses of the calling thread's namespace.
fn state() -> String {
    [
        "nft list ruleset ip",
        "nft list ruleset ip6",
        "ip -4 route show table main",
        "ip -4 -oneline address",
        "ip -6 route show table main",
        "ip -6 -oneline address show scope global",
        "ip -brief link",
    ]
    .map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        command(words[0], &words[1..])
    })
    .join("")
}

#[test]
fn maps_keep_their_elements_and_chains_are_rewritten() {
    let both = both("abcdefgh");
    let scripts: Vec<String> = both
        .parts()
        .map(|part| rules::ruleset(part).to_string())
        .collect();
    let script = &scripts[0];
    assert!(!script.contains("flush table"));
    assert!(!script.contains("flush map"));
    let chains = script
        .lines()
        .filter_map(|line| line.strip_prefix("add chain "));
    for chain in chains {
        let name = chain.split(' ').nth(2).unwrap();
        let flushed = script.contains(&format!("flush chain ip knarr-cni-abcdefgh {name}\n"));
        // What other nodes may send goes on while this one starts again.
        assert_eq!(flushed, ![TO_PEERS, FROM_PEERS].contains(&name), "{name}");
    }
    assert!(
        script.contains(
            "ip daddr 10.42.0.0/16 oifname != \"lo\" oifname != \"knarrabcd*\" goto fenced"
        )
    );
    assert!(
        scripts[1].contains(
            "ip6 daddr fd42::/48 oifname != \"lo\" oifname != \"knarrabcd*\" goto fenced"
        )
    );
    // What a setting of links does for IPv4.
    let forged = "iifname \"knarrabcd*\" fib saddr . iif oif missing drop";
    assert!(!script.contains("fib saddr .") && scripts[1].contains(forged));
}

#[test]
fn odd_directories_are_no_comment() {
    assert_eq!(comment(Path::new("/a b")).as_deref(), Some("/a b"));
    for odd in ["/a\"b", "/a\nb", "/a\\b", &format!("/{}", "a".repeat(200))] {
        assert_eq!(comment(Path::new(odd)), None, "{odd}");
    }
}

/// The kernel has the last word.
#[test]
fn the_kernel_accepts_the_ruleset_twice() {
    in_namespace(|| async {
        let network = network("abcdefgh");
        let table = table(&network.instance);
        prepare(&network).await.unwrap();
        let element = format!("add element ip {table} hostports {{ tcp . 80 : 10.42.0.2 . 8080 }}");
        command("nft", &element.split(' ').collect::<Vec<_>>());
        prepare(&network).await.unwrap();
        let listing = state();
        assert!(
            listing.contains("10.42.0.2 . 8080"),
            "elements survive: {listing}"
        );
        assert_eq!(
            listing.matches("masquerade").count(),
            3,
            "rules are not doubled: {listing}"
        );
    });
}

#[test]
fn each_family_has_a_table_while_the_cluster_has_it() {
    in_namespace(|| async {
        let untouched = state();
        let (one, both) = (network("abcdefgh"), both("abcdefgh"));
        prepare(&both).await.unwrap();
        let made = state();
        for there in [
            "table ip6 knarr-cni-abcdefgh",
            "fib saddr . iif oif missing drop",
            "fd43::/112 dev ks-abcdefgh",
            "unreachable fd42::/48",
            "fd6b:6e61:7272::a/128",
        ] {
            assert!(made.contains(there), "{there}: {made}");
        }
        let forwarding = command("sysctl", &["-n", "net.ipv6.conf.all.forwarding"]);
        assert_eq!(forwarding.trim(), "1");
        prepare(&both).await.unwrap();
        assert_eq!(state(), made);
        prepare(&one).await.unwrap();
        assert!(!state().contains("ip6 knarr-cni"));
        teardown(&one.instance, one.dns_listen).await.unwrap();
        assert_eq!(state(), untouched);
    });
}

#[test]
fn a_namespace_has_one_cluster_and_only_that_one_removes_it() {
    in_namespace(|| async {
        let (first, second) = (network("aaaabbbb"), network("ccccdddd"));
        let dns = first.dns_listen;
        let untouched = state();
        assert!(!check(None, dns.ipv4).await.unwrap());
        prepare(&first).await.unwrap();
        let made = state();
        assert!(check(Some(&first.instance), dns.ipv4).await.unwrap());
        for own in [None, Some(&second.instance)] {
            let error = check(own, dns.ipv4).await.unwrap_err().to_string();
            assert!(
                error.contains("another cluster on /var/lib/knarr test (aaaabbbb)"),
                "{error}"
            );
        }
        assert!(matches!(prepare(&second).await, Err(Error::Taken { .. })));
        teardown(&second.instance, dns).await.unwrap();
        assert_eq!(state(), made, "the second has changed something");
        teardown(&first.instance, dns).await.unwrap();
        teardown(&first.instance, dns).await.unwrap();
        assert_eq!(state(), untouched);
        prepare(&second).await.unwrap();
    });
}

#[test]
fn an_address_that_somebody_else_has_is_named() {
    in_namespace(|| async {
        command("ip", &["address", "add", "169.254.20.10/32", "dev", "lo"]);
        let error = check(None, network("aaaabbbb").dns_listen.ipv4)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the address of cluster DNS, 169.254.20.10, is in use on lo"
        );
    });
}

#[test]
fn overlapping_addresses_and_routes_are_found() {
    in_namespace(|| async {
        let network = network("aaaabbbb");
        command("ip", &["route", "add", "10.0.0.0/8", "dev", "lo"]);
        let (pods, services) = (network.cluster_cidrs[0], network.service_cidrs[0]);
        for range in [pods, services] {
            assert_eq!(overlap(range).await.unwrap(), None, "a wider route is none");
        }
        command("ip", &["route", "add", "10.43.7.0/24", "dev", "lo"]);
        let found = overlap(services).await.unwrap();
        assert_eq!(found.as_deref(), Some("10.43.7.0/24 on lo"));
        command("ip", &["address", "add", "10.42.0.1/24", "dev", "lo"]);
        let found = overlap(pods).await.unwrap();
        assert_eq!(found.as_deref(), Some("10.42.0.1/32 on lo"));
        command("ip", &["address", "add", "fd42:0:0:1::1/64", "dev", "lo"]);
        let found = overlap("fd42::/48".parse().unwrap()).await.unwrap();
        assert_eq!(found.as_deref(), Some("fd42:0:0:1::1/128 on lo"));
    });
}

/// What a firewall that is loaded anew does, and what a plugin does beside it.
#[test]
fn what_others_do_to_the_rules_is_undone() {
    in_namespace(|| async {
        let network = both("abcdefgh");
        let table = table(&network.instance);
        let data = tempfile::tempdir().unwrap();
        let ipam = ipam::Ipam::open(
            data.path(),
            "knarr",
            &["10.42.0.0/24", "fd42::/64"].map(|subnet| subnet.parse().unwrap()),
        )
        .unwrap();
        let port = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "tcp".to_owned(),
            host_ip: String::new(),
        };
        let addresses = ipam.allocate("s1", "eth0", &[port], None).unwrap();
        drop(ipam);
        let leases = Leases {
            data_dir: data.path().to_owned(),
            network: "knarr".to_owned(),
        };
        let kept = Kept::prepare(network, leases).await.unwrap();
        let whole = state();
        for address in addresses {
            let element = format!("tcp . 8080 : {address} . 80");
            assert!(whole.contains(&element), "{whole}");
        }
        let token = CancellationToken::new();
        let keeping = tokio::spawn(kept.run(token.clone()));
        // The plugin's own changes are none.
        let others = format!("add element ip {table} hostports {{ tcp . 1 : 10.42.0.9 . 1 }}");
        command("nft", &others.split(' ').collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(state().contains("10.42.0.9"), "nothing was made anew");
        for harm in [
            "flush ruleset".to_owned(),
            format!("delete table ip {table}"),
            format!("flush chain ip {table} postrouting"),
            format!("insert rule ip {table} fence drop"),
            format!("flush chain ip6 {table} fence"),
            format!("delete table ip6 {table}"),
        ] {
            command("nft", &harm.split(' ').collect::<Vec<_>>());
            let deadline = Instant::now() + Duration::from_secs(20);
            while state() != whole {
                assert!(Instant::now() < deadline, "{harm}: {}", state());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        token.cancel();
        keeping.await.unwrap();
    });
}

#[test]
fn another_address_is_noticed_when_the_old_one_is_gone() {
    in_namespace(|| async {
        let instance = "abcdefgh".parse().unwrap();
        let old = both("abcdefgh").node_ips;
        let waiting = tokio::spawn(async move { moved(&instance, &old).await });
        let ip = |arguments: &str| command("ip", &arguments.split(' ').collect::<Vec<_>>());
        // One more, none at all, the same again: each is no reason to move.
        ip("address add 192.168.7.3/32 dev lo");
        ip("address del 192.168.7.3/32 dev lo");
        ip("address del 192.168.1.2/32 dev lo");
        tokio::time::sleep(Duration::from_millis(300)).await;
        ip("address add 192.168.1.2/32 dev lo");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished());
        ip("address del 192.168.1.2/32 dev lo");
        ip("address add 192.168.7.3/32 dev lo");
        let moved = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert_eq!(moved.unwrap().unwrap().to_string(), "192.168.7.3");
    });
}
