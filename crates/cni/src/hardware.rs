//! Hardware addresses that follow from addresses, so that whoever knows the one knows the other.

use std::net::IpAddr;

/// Locally administered: of IPv4 and of IPv6 addresses.
const IPV4: [u8; 2] = [0x0a, 0x58];
const IPV6: [u8; 2] = [0x0a, 0x5a];

/// The hardware address of who has an address. As unlike others' as the address; those of IPv6 are folded into 32 bits, so that addresses
/// of one range differ, and ranges of nodes do.
pub fn of(address: IpAddr) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = match address {
        IpAddr::V4(address) => (IPV4, address.octets()),
        IpAddr::V6(address) => {
            let words = address.octets();
            let words = words.chunks_exact(4);
            let folded = words.fold([0; 4], |mut all: [u8; 4], word| {
                all.iter_mut()
                    .zip(word)
                    .for_each(|(all, byte)| *all ^= byte);
                all
            });
            (IPV6, folded)
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
        assert_eq!(of("fd00::1:2"), [0x0a, 0x5a, 0xfd, 1, 0, 2]);
        assert_eq!(of("fd00:0:0:1::"), [0x0a, 0x5a, 0xfd, 0, 0, 1]);
    }
}
