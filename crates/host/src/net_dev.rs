//! What went through the interfaces of a network namespace: `/proc/PID/net/dev`.

/// One interface; counters since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub received: Traffic,
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// The interfaces of such a file but for loopback, as it lists them. Lines that are none are left out.
#[must_use]
pub fn interfaces(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        let traffic = |from: usize| match numbers.get(from..from + 4) {
            Some(&[bytes, packets, errors, dropped]) => Some(Traffic {
                bytes,
                packets,
                errors,
                dropped,
            }),
            _ => None,
        };
        // Eight columns each.
        Some(Interface {
            name: name.trim().to_owned(),
            received: traffic(0)?,
            sent: traffic(8)?,
        })
    };
    let all = text.lines().filter_map(interface);
    all.filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_read() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
 short: 1 2 3
";
        let received = Traffic {
            bytes: 1_000,
            packets: 10,
            errors: 1,
            dropped: 2,
        };
        let sent = Traffic {
            bytes: 2_000,
            packets: 20,
            errors: 3,
            dropped: 4,
        };
        let name = "eth0".to_owned();
        let wanted = Interface {
            name,
            received,
            sent,
        };
        assert_eq!(interfaces(text), [wanted]);
    }
}
