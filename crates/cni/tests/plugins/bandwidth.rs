//! How fast pods are that may not be faster.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{kit::Namespace, routed::Node};

/// Bits a second.
const RATE: f64 = 16_000_000.0;
/// What is sent to measure it: more than a second's worth, and much more than what may come at once.
const BYTES: usize = 2_500_000;
/// How long any of it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of two pods, the second of which has these limits.
struct Pods {
    node: Node,
    pods: [Namespace; 2],
}

const ADDRESSES: [&str; 2] = ["10.1.2.3", "10.1.2.4"];

impl Pods {
    fn new(limits: &Value) -> Option<Self> {
        let node = Node::new()?;
        node.run("sysctl -q net.ipv4.ip_forward=1");
        let pods = [Namespace::new(), Namespace::new()];
        let of_second = json!({"runtimeConfig": {"bandwidth": limits}, "mtu": 1400});
        for (id, pod, more) in [
            ("a", &pods[0], json!({"mtu": 1400})),
            ("b", &pods[1], of_second),
        ] {
            let (code, result) = node.call("ADD", id, Some(pod), &more);
            assert_eq!(code, 0, "{result}");
        }
        Some(Self { node, pods })
    }

    /// Bits a second, from one to the other, as the receiver sees them.
    fn rate(&self, from: usize, to: usize) -> f64 {
        let listener = self.pods[to].within(|| TcpListener::bind((ADDRESSES[to], 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let mut sender =
            self.pods[from].within(|| TcpStream::connect((ADDRESSES[to], port)).unwrap());
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sending = thread::spawn(move || sender.write_all(&vec![0; BYTES]).unwrap());
        let start = Instant::now();
        let mut received = vec![0; BYTES];
        receiver.read_exact(&mut received).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        sending.join().unwrap();
        8.0 * BYTES as f64 / seconds
    }

    fn assert_rates(&self, what: &str, to_second: bool, from_second: bool) {
        for (from, to, is_limited) in [(0, 1, to_second), (1, 0, from_second)] {
            let rate = self.rate(from, to);
            let fits = match is_limited {
                // The moment's worth that comes at once is on top; a machine that is busy is slower.
                true => (0.4 * RATE..1.2 * RATE).contains(&rate),
                false => rate > 3.0 * RATE,
            };
            assert!(fits, "{what}: {rate} bits a second from {from} to {to}");
        }
    }

    fn end(&self) {
        for id in ["a", "b"] {
            assert_eq!(
                self.node.call("DEL", id, None, &json!({})),
                (0, Value::Null)
            );
        }
        assert_eq!(self.node.links(), 0);
    }
}

#[test]
fn a_pod_is_no_faster_than_it_may_be() {
    let burst = u32::MAX;
    for (what, limits, to_it, from_it) in [
        (
            "to it",
            json!({"ingressRate": RATE as u64, "ingressBurst": burst, "egressRate": 0, "egressBurst": 0}),
            true,
            false,
        ),
        (
            "from it",
            json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": RATE as u64, "egressBurst": burst}),
            false,
            true,
        ),
        // As containerd writes it.
        (
            "both",
            json!({"IngressRate": RATE as u64, "IngressBurst": burst, "EgressRate": RATE as u64, "EgressBurst": burst}),
            true,
            true,
        ),
    ] {
        let Some(pods) = Pods::new(&limits) else {
            return;
        };
        pods.assert_rates(what, to_it, from_it);
        pods.end();
    }
}

/// The slowest and the fastest that there can be.
#[test]
fn bounds_are_limits_too() {
    for rate in [1_000_u64, 1_000_000_000_000_000] {
        let limits =
            json!({"ingressRate": rate, "ingressBurst": 0, "egressRate": rate, "egressBurst": 0});
        let Some(pods) = Pods::new(&limits) else {
            return;
        };
        let queues = pods.node.run("tc qdisc show");
        assert_eq!(queues.matches("qdisc tbf").count(), 2, "{queues}");
        pods.end();
    }
}

/// What a sandbox has left behind that nobody knows of any more.
#[test]
fn the_second_link_is_collected() {
    let limits =
        json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": 1_000_000, "egressBurst": 0});
    let Some(pods) = Pods::new(&limits) else {
        return;
    };
    assert_eq!(pods.node.links(), 3);
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]});
    assert_eq!(pods.node.call("GC", "", None, &valid), (0, Value::Null));
    assert_eq!(pods.node.links(), 1);
}
