use expect_test::{Expect, expect};

use super::*;

/// `name addresses ranges`, of which the last two are divided by commas.
fn claims(own: &[&str], peers: &[&str]) -> Claims {
    let ranges = |text: &str| {
        text.split(',')
            .map(|range| range.parse().unwrap())
            .collect()
    };
    let peers = peers.iter().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let peer = Peer {
            uid: String::new(),
            addresses: words[1].split(',').map(|a| a.parse().unwrap()).collect(),
            pods: ranges(words[2]),
        };
        (words[0].to_owned(), peer)
    });
    Claims {
        own: own.iter().map(|range| range.parse().unwrap()).collect(),
        peers: peers.collect(),
        refused: BTreeSet::new(),
    }
}

/// Addresses of 192.0.2.0/24 and fd01:: are on a link, those of 203.0.113.0/24 nowhere, and 198.51.100.9 is ours.
fn see(address: IpAddr) -> Seen {
    let text = address.to_string();
    match text.as_str() {
        "198.51.100.9" => Seen::Own,
        _ if text.starts_with("203.") => Seen::Unreachable,
        _ if text.starts_with("198.") => Seen::Routed,
        _ => Seen::OnLink {
            index: 2,
            name: "eth0".to_owned(),
        },
    }
}

fn check(reach: Reach, claims: &Claims, expected: Expect) {
    let wanted = plan(reach, &["192.0.2.1".parse().unwrap()], claims, see);
    let mut text = String::new();
    for (range, hop) in &wanted.routes {
        let link = match &hop.link {
            Link::Real { name, .. } => name,
            Link::Overlay => "overlay",
        };
        let source = hop
            .source
            .map_or_else(String::new, |source| format!(" from {source}"));
        text += &format!("{range} via {} on {link}{source}\n", hop.gateway);
    }
    if let Some(overlay) = &wanted.overlay {
        text += &format!("overlay {:02x?} {:?}\n", overlay.hardware, overlay.inside);
        for (hardware, far) in &overlay.far {
            text += &format!("far {hardware:02x?} {:?} at {}\n", far.inside, far.address);
        }
    }
    for refusal in &wanted.refused {
        text += &format!("{} refused: {}\n", refusal.node, refusal.reason);
    }
    expected.assert_eq(&text);
}

#[test]
fn nodes_on_a_link_are_next_hops_and_others_are_behind_the_overlay() {
    let claims = claims(
        &["10.42.0.0/24"],
        &[
            "near 192.0.2.2 10.42.1.0/24",
            "far 198.51.100.3 10.42.2.0/24",
        ],
    );
    check(
        Reach::Auto,
        &claims,
        expect![[r#"
            10.42.1.0/24 via 192.0.2.2 on eth0 from 192.0.2.1
            10.42.2.0/24 via 10.42.2.0 on overlay from 10.42.0.0
            overlay [0a, 58, 0a, 2a, 00, 00] [10.42.0.0]
            far [0a, 58, 0a, 2a, 02, 00] [10.42.2.0] at 198.51.100.3
        "#]],
    );
    check(
        Reach::Direct,
        &claims,
        expect![[r#"
            10.42.1.0/24 via 192.0.2.2 on eth0 from 192.0.2.1
            far refused: its address 198.51.100.3 is on no link of this machine
        "#]],
    );
    check(
        Reach::Overlay,
        &claims,
        expect![[r#"
            10.42.1.0/24 via 10.42.1.0 on overlay from 10.42.0.0
            10.42.2.0/24 via 10.42.2.0 on overlay from 10.42.0.0
            overlay [0a, 58, 0a, 2a, 00, 00] [10.42.0.0]
            far [0a, 58, 0a, 2a, 01, 00] [10.42.1.0] at 192.0.2.2
            far [0a, 58, 0a, 2a, 02, 00] [10.42.2.0] at 198.51.100.3
        "#]],
    );
}

#[test]
fn both_families_share_the_overlay() {
    check(
        Reach::Overlay,
        &claims(
            &["10.42.0.0/24", "fd00:0::/64"],
            &["far 198.51.100.3,fd01::3 10.42.2.0/24,fd00:0:0:2::/64"],
        ),
        expect![[r#"
            10.42.2.0/24 via 10.42.2.0 on overlay from 10.42.0.0
            fd00:0:0:2::/64 via fd00:0:0:2:: on overlay from fd00::
            overlay [0a, 58, 0a, 2a, 00, 00] [10.42.0.0, fd00::]
            far [0a, 58, 0a, 2a, 02, 00] [10.42.2.0, fd00:0:0:2::] at 198.51.100.3
        "#]],
    );
}

#[test]
fn who_cannot_be_reached_is_named() {
    check(
        Reach::Auto,
        &claims(
            &[],
            &[
                "lost 203.0.113.1 10.42.1.0/24",
                "own 198.51.100.9 10.42.2.0/24",
                "far 198.51.100.3 10.42.3.0/24",
                "other 192.0.2.4 fd00::/64",
            ],
        ),
        expect![[r#"
            lost refused: there is no way to its address 203.0.113.1
            other refused: it has no address of the family of its pods, fd00::/64
            own refused: its address 198.51.100.9 is one of this machine's
        "#]],
    );
}
