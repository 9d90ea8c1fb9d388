//! Hardware addresses that follow from addresses, so that whoever knows the one knows the other.

use std::net::IpAddr;

/// Locally administered: of IPv4 and of IPv6 addresses.
const IPV4: [u8; 2] = [0x0a, 0x58];
const IPV6: [u8; 2] = [0x0a, 0x5a];

/// The hardware address of who has an address. As unlike others' as the address, of IPv6 as its last 32 bits.
pub fn of(address: IpAddr) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = match address {
        IpAddr::V4(address) => (IPV4, address.octets()),
        IpAddr::V6(address) => {
            let [.., c, d, e, f] = address.octets();
            (IPV6, [c, d, e, f])
        }
    };
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_follow_from_the_address() {
        let of = |text: &str| super::of(text.parse().unwrap());
        assert_eq!(of("10.42.0.7"), [0x0a, 0x58, 10, 42, 0, 7]);
        assert_eq!(of("fd00::1:2"), [0x0a, 0x5a, 0, 1, 0, 2]);
    }
}
