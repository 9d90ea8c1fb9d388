//! A node that starts again while no server answers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::api::core::v1::Node;
use knarr_join::{Error, Joined, Options, join_or_wait, rejoin};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, api, code, own, register, settings, until};

/// A port of this machine where nobody listens.
async fn nobody() -> SocketAddr {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    silent.local_addr().expect("an address")
}

/// A way to the cluster's server, until it is dropped.
struct Way {
    /// How often somebody has come by it.
    taken: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Way {
    /// What connects to `at` reaches the server from now on.
    async fn open(at: SocketAddr, cluster: &Cluster) -> Self {
        let listener = TcpListener::bind(at).await.expect("the port");
        let server = cluster.server.replace("https://", "");
        let (taken, end) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let (count, ended) = (taken.clone(), end.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let server = server.clone();
                tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
                    let mut to = TcpStream::connect(server).await.expect("the server");
                    // Ends with either side.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }));
            }
        }));
        Self {
            taken,
            _end: end.drop_guard(),
        }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

fn away(at: SocketAddr, options: &Options) -> Options {
    Options {
        servers: vec![format!("https://{at}").parse().expect("an address")],
        token: None,
        ..options.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_joined_starts_without_a_server() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let options = cluster.options("n1", [10, 9, 0, 1], Some(token));
    let joined = join_or_wait(&options).await.expect("a node");
    assert!(matches!(joined, Joined::Now(_)), "there is a server");

    let at = nobody().await;
    let away = away(at, &options);
    let (kept, error) = match join_or_wait(&away).await {
        Ok(Joined::Before(kept, error)) => (kept, error),
        Ok(Joined::Now(_)) => panic!("joined without a server"),
        Err(error) => panic!("{error}"),
    };
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(*kept.settings(), settings());
    assert_eq!(kept.ca_pem(), cluster.pki.ca_pem());

    // It is the node as soon as somebody answers, and has missed nothing.
    let waiting = tokio::spawn(async move {
        let joined = rejoin(&away, &kept).await.expect("the node");
        (joined.is_as(&kept), kept, away)
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "nobody answers");
    let _way = Way::open(at, &cluster).await;
    let (is_same, kept, away) = waiting.await.expect("an end");
    assert!(is_same);
    register(&kept, "n1", [10, 9, 0, 1]).await;
    let client = own(&kept, "n1");
    assert_eq!(code(api::<Node>(&client).get("n1").await), 200);

    // Its address is another one: it has to start with another certificate.
    let moved = Options {
        node_ips: vec![IpAddr::from([10, 9, 0, 7])],
        ..away
    };
    let joined = rejoin(&moved, &kept).await.expect("the node");
    assert!(!joined.is_as(&kept));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_joined_or_is_no_member_is_told_at_once() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let options = cluster.options("n1", [10, 9, 0, 1], Some(token));
    let stranger = away(nobody().await, &options);
    let error = join_or_wait(&stranger).await.err();
    assert!(matches!(error, Some(Error::NoToken)), "{error:?}");
    let stranger = Options {
        token: options.token.clone(),
        ..stranger
    };
    let error = join_or_wait(&stranger).await.err();
    assert!(
        matches!(error, Some(Error::Unreachable { .. })),
        "{error:?}"
    );

    // Who is another node by now, or has lost what it was told, waits for nobody either.
    join_or_wait(&options).await.expect("a node");
    let renamed = Options {
        node_name: "n2".to_owned(),
        ..stranger.clone()
    };
    let error = join_or_wait(&renamed).await.err();
    assert!(
        matches!(error, Some(Error::Unreachable { .. })),
        "{error:?}"
    );
    std::fs::write(options.pki_dir.join("cluster.json"), "{").expect("a file");
    let error = join_or_wait(&stranger).await.err();
    assert!(
        matches!(error, Some(Error::Unreachable { .. })),
        "{error:?}"
    );
}

/// Of two ways to its server a node has one that is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_by_another_server_and_back() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let at = [nobody().await, nobody().await];
    let mut ways = [
        Way::open(at[0], &cluster).await,
        Way::open(at[1], &cluster).await,
    ];
    let options = Options {
        servers: at
            .map(|at| format!("https://{at}").parse().expect("an address"))
            .into(),
        follows_servers: false,
        ..cluster.options("n1", [10, 9, 0, 1], Some(token))
    };
    let membership = knarr_join::join(&options).await.expect("a node");
    register(&membership, "n1", [10, 9, 0, 1]).await;
    let stop = CancellationToken::new();
    tokio::spawn(membership.run(stop.clone()));
    let nodes = api::<Node>(&own(&membership, "n1"));
    let first = usize::from(ways[0].taken() == 0);
    let other = 1 - first;
    assert_eq!(ways[other].taken(), 0, "one of them is its own");

    drop(std::mem::replace(
        &mut ways[first],
        Way::open(nobody().await, &cluster).await,
    ));
    until("the other one serves", async || {
        nodes.get("n1").await.is_ok()
    })
    .await;
    assert!(ways[other].taken() > 0);
    ways[first] = Way::open(at[first], &cluster).await;
    // A look, and then what is asked.
    until("it goes back", async || {
        nodes.get("n1").await.expect("an answer all the time");
        ways[first].taken() > 1
    })
    .await;
    stop.cancel();
}
