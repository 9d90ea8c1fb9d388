//! A node that starts again while no server answers.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Node;
use knarr_join::{Error, Joined, Options, join_or_wait, rejoin};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{Cluster, api, code, own, register, settings};

/// A port of this machine where nobody listens.
async fn nobody() -> SocketAddr {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    silent.local_addr().expect("an address")
}

/// What connects to `at` reaches the cluster's server from now on.
async fn lead(at: SocketAddr, cluster: &Cluster) {
    let listener = TcpListener::bind(at).await.expect("the port");
    let server = cluster.server.replace("https://", "");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(server).await.expect("the server");
                // Ends with either side.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
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
    lead(at, &cluster).await;
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
