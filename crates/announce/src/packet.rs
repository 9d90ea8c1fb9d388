//! Questions for addresses and answers to them, as they are on the link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHER_ARP: [u8; 2] = [0x08, 0x06];
const ETHER_IPV6: [u8; 2] = [0x86, 0xdd];
/// Ethernet, IPv4, and the lengths of both addresses.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// What a router has not passed on.
const HOP_LIMIT: u8 = 255;
const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// An advertisement with the one option that it has here.
const ADVERTISEMENT_BYTES: u8 = 32;

/// Somebody wants to know who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) target: IpAddr,
    /// Who asks.
    pub(crate) mac: Mac,
    ip: IpAddr,
}

/// `N` bytes from `at` on.
fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// What a frame asks; `None` of all that is no question, or none that may be answered.
pub(crate) fn question(frame: &[u8]) -> Option<Question> {
    let mac: Mac = bytes(frame, 6)?;
    // An answer goes to one machine alone.
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return None;
    }
    match bytes(frame, 12)? {
        ETHER_ARP => arp(frame, mac),
        ETHER_IPV6 => solicitation(frame, mac),
        _ => None,
    }
}

fn arp(frame: &[u8], mac: Mac) -> Option<Question> {
    let is_request = bytes(frame, 14)? == ARP_HEAD && bytes(frame, 20)? == ARP_REQUEST;
    let sender: Mac = bytes(frame, 22)?;
    let ip = Ipv4Addr::from(bytes::<4>(frame, 28)?);
    let target = Ipv4Addr::from(bytes::<4>(frame, 38)?);
    // Of one's own address nobody asks; that is an announcement.
    (is_request && sender == mac && ip != target).then_some(Question {
        target: target.into(),
        mac,
        ip: ip.into(),
    })
}

fn solicitation(frame: &[u8], mac: Mac) -> Option<Question> {
    let packet = frame.get(14..)?;
    let is_icmp = packet.first()? >> 4 == 6 && *packet.get(6)? == ICMPV6;
    let length = usize::from(u16::from_be_bytes(bytes(packet, 4)?));
    let message = packet.get(40..40_usize.checked_add(length)?)?;
    let source: [u8; 16] = bytes(packet, 8)?;
    let destination: [u8; 16] = bytes(packet, 24)?;
    let is_fine = is_icmp
        && *packet.get(7)? == HOP_LIMIT
        && message.get(..2)? == [SOLICITATION, 0]
        && checksum(&source, &destination, message) == 0;
    let target = Ipv6Addr::from(bytes::<16>(message, 8)?);
    let ip = Ipv6Addr::from(source);
    (is_fine && !target.is_multicast() && !ip.is_multicast()).then_some(Question {
        target: target.into(),
        mac,
        ip: ip.into(),
    })
}

/// The answer that the address is at `own`.
pub(crate) fn answer(question: &Question, own: Mac) -> Option<Vec<u8>> {
    match (question.target, question.ip) {
        (IpAddr::V4(target), IpAddr::V4(asking)) => Some(arp_frame(
            question.mac,
            own,
            ARP_REPLY,
            target,
            (question.mac, asking),
        )),
        // Who has no address yet looks whether somebody has the one that it wants.
        (IpAddr::V6(target), IpAddr::V6(asking)) if asking.is_unspecified() => Some(advertisement(
            group_mac(ALL_NODES),
            own,
            target,
            ALL_NODES,
            0,
        )),
        (IpAddr::V6(target), IpAddr::V6(asking)) => {
            Some(advertisement(question.mac, own, target, asking, SOLICITED))
        }
        _ => None,
    }
}

/// What tells all neighbours that the address is at `own` from now on. Of IPv4 as a request and as a reply: some heed the one, some the other.
pub(crate) fn announcements(address: IpAddr, own: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => [ARP_REQUEST, ARP_REPLY]
            .map(|operation| arp_frame(BROADCAST, own, operation, address, (BROADCAST, address)))
            .to_vec(),
        IpAddr::V6(address) => {
            vec![advertisement(
                group_mac(ALL_NODES),
                own,
                address,
                ALL_NODES,
                0,
            )]
        }
    }
}

fn arp_frame(
    to: Mac,
    own: Mac,
    operation: [u8; 2],
    address: Ipv4Addr,
    (target_mac, target): (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = Vec::new();
    for part in [&to[..], &own, &ETHER_ARP, &ARP_HEAD, &operation] {
        frame.extend_from_slice(part);
    }
    for part in [&own[..], &address.octets(), &target_mac, &target.octets()] {
        frame.extend_from_slice(part);
    }
    frame
}

fn advertisement(to: Mac, own: Mac, address: Ipv6Addr, whom: Ipv6Addr, solicited: u8) -> Vec<u8> {
    let (source, destination) = (address.octets(), whom.octets());
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, solicited | OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&source);
    message.extend_from_slice(&TARGET_LINK_ADDRESS);
    message.extend_from_slice(&own);
    let sum = checksum(&source, &destination, &message).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    let mut frame = Vec::new();
    let head = [0x60, 0, 0, 0, 0, ADVERTISEMENT_BYTES, ICMPV6, HOP_LIMIT];
    for part in [
        &to[..],
        &own,
        &ETHER_IPV6,
        &head,
        &source,
        &destination,
        &message,
    ] {
        frame.extend_from_slice(part);
    }
    frame
}

/// Of ICMPv6, with what it takes of the header (RFC 8200); nothing of a message whose checksum is right.
fn checksum(source: &[u8; 16], destination: &[u8; 16], message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo = [
        &source[..],
        destination,
        &length.to_be_bytes(),
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let words = pseudo.chunks(2).chain(message.chunks(2));
    let sum = words.fold(0_u64, |sum, word| {
        let high = word.first().copied().unwrap_or_default();
        let low = word.get(1).copied().unwrap_or_default();
        sum.saturating_add(u64::from(u16::from_be_bytes([high, low])))
    });
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff).saturating_add(folded >> 16);
    }
    !u16::try_from(folded).unwrap_or_default()
}

/// The group that is asked for an address.
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKING: Mac = [2, 0, 0, 0, 0, 1];
    const OWN: Mac = [2, 0, 0, 0, 0, 9];

    fn arp_request(sender: &str, target: &str) -> Vec<u8> {
        let (sender, target): (Ipv4Addr, Ipv4Addr) =
            (sender.parse().unwrap(), target.parse().unwrap());
        arp_frame(BROADCAST, ASKING, ARP_REQUEST, sender, ([0; 6], target))
    }

    fn neighbour_solicitation(source: &str, target: &str) -> Vec<u8> {
        let (source, target): (Ipv6Addr, Ipv6Addr) =
            (source.parse().unwrap(), target.parse().unwrap());
        let group = solicited_node(target);
        let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        message.extend([1, 1]);
        message.extend(ASKING);
        let sum = checksum(&source.octets(), &group.octets(), &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [&group_mac(group)[..], &ASKING, &ETHER_IPV6].concat();
        frame.extend([0x60, 0, 0, 0, 0, 32, ICMPV6, 255]);
        frame.extend(source.octets());
        frame.extend(group.octets());
        frame.extend(message);
        frame
    }

    #[test]
    fn questions_are_answered_to_who_asks() {
        let asked = question(&arp_request("192.0.2.2", "192.0.2.64")).unwrap();
        assert_eq!(asked.target, "192.0.2.64".parse::<IpAddr>().unwrap());
        let answered = answer(&asked, OWN).unwrap();
        assert_eq!(answered.len(), 42);
        assert_eq!(answered[..6], ASKING);
        assert_eq!(answered[20..22], ARP_REPLY);
        assert_eq!(answered[22..28], OWN);
        assert_eq!(answered[28..32], [192, 0, 2, 64]);
        assert_eq!(answered[38..42], [192, 0, 2, 2]);
        let asked = question(&neighbour_solicitation("fd00::2", "fd00::64")).unwrap();
        assert_eq!(asked.target, "fd00::64".parse::<IpAddr>().unwrap());
        let answered = answer(&asked, OWN).unwrap();
        assert_eq!(answered[..6], ASKING);
        assert_eq!(answered[54], ADVERTISEMENT);
        assert_eq!(answered[58], SOLICITED | OVERRIDE);
        let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let (from, to) = (octets("fd00::64"), octets("fd00::2"));
        assert_eq!(checksum(&from, &to, &answered[54..]), 0);
        assert_eq!(answered[answered.len() - 6..], OWN);
        // Who looks whether an address is free tells everybody.
        let asked = question(&neighbour_solicitation("::", "fd00::64")).unwrap();
        let answered = answer(&asked, OWN).unwrap();
        assert_eq!(answered[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(answered[58], OVERRIDE);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let arp = arp_request("192.0.2.2", "192.0.2.64");
        let ndp = neighbour_solicitation("fd00::2", "fd00::64");
        for frame in [&arp, &ndp] {
            for length in 0..frame.len() {
                assert!(
                    question(&frame[..length]).is_none() || length >= 78,
                    "{length}"
                );
            }
        }
        assert!(question(&arp_request("192.0.2.64", "192.0.2.64")).is_none());
        let changed = |frame: &[u8], at: usize, to: u8| {
            let mut frame = frame.to_vec();
            frame[at] = to;
            question(&frame)
        };
        assert_eq!(changed(&arp, 21, 2), None, "a reply");
        assert_eq!(changed(&arp, 6, 3), None, "from a group");
        assert_eq!(changed(&arp, 22, 4), None, "for somebody else");
        assert_eq!(changed(&ndp, 21, 64), None, "through a router");
        assert_eq!(changed(&ndp, 54, 136), None, "an advertisement");
        assert_eq!(changed(&ndp, 77, 1), None, "a wrong checksum");
        assert_eq!(changed(&ndp, 19, 255), None, "longer than it is");
    }

    #[test]
    fn announcements_reach_everybody() {
        let all = announcements("192.0.2.64".parse().unwrap(), OWN);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|frame| frame[..6] == BROADCAST));
        // Nobody answers them.
        assert!(all.iter().all(|frame| question(frame).is_none()));
        let all = announcements("fd00::64".parse().unwrap(), OWN);
        assert_eq!(all[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(all[0][58], OVERRIDE);
    }
}
