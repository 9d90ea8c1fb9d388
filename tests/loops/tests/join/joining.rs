//! Who may join, and what is said to who may not.

use k8s_openapi::api::core::v1::{Node, Service};
use knarr_auth::bootstrap_token::BootstrapToken;
use knarr_client::Clients;
use knarr_join::{Error, JoinToken, Options};
use kube::api::{Api, DeleteParams, ListParams};

use crate::cluster::{Cluster, api, code, own, refused, register, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_once_by_a_token() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let options = cluster.options("n1", [10, 9, 0, 1], Some(token));
    let membership = knarr_join::join(&options).await.expect("a node");
    assert_eq!(*membership.settings(), settings());
    assert_eq!(membership.ca_pem(), cluster.pki.ca_pem());
    register(&membership, "n1", [10, 9, 0, 1]).await;

    // Its parts act under accounts of their own.
    let clients = membership.clients();
    for (account, allowed) in [
        ("kube-dns", 200),
        ("kube-proxy", 200),
        ("network-policy", 403),
    ] {
        let client = clients.as_service_account("kube-system", account);
        let listed = api::<Service>(&client).list(&ListParams::default()).await;
        assert_eq!(code(listed), allowed, "{account}");
    }
    let stranger = clients.as_user("system:kube-scheduler", &[]);
    let listed = api::<Service>(&stranger).list(&ListParams::default()).await;
    let error = listed.expect_err("no credentials");
    assert!(
        format!("{error:?}").contains("system:kube-scheduler"),
        "{error:?}"
    );

    // The second start takes what is there.
    let again = Options {
        token: None,
        ..options
    };
    let membership = knarr_join::join(&again).await.expect("the node");
    let own = own(&membership, "n1");
    assert_eq!(code(api::<Node>(&own).get("n1").await), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_end_with_the_node() {
    let cluster = Cluster::start().await;
    let membership = cluster.node("n1", [10, 9, 0, 1]).await;
    let dns = membership
        .clients()
        .as_service_account("kube-system", "kube-dns");
    let services = api::<Service>(&dns);
    services
        .list(&ListParams::default())
        .await
        .expect("services");
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    let deleted = nodes.delete("n1", &DeleteParams::default()).await;
    deleted.expect("deleted");
    // Its old token is refused now, and there is another one once the node is back.
    let listing = tokio::spawn(async move { services.list(&ListParams::default()).await });
    register(&membership, "n1", [10, 9, 0, 1]).await;
    let listed = listing.await.expect("an answer");
    assert_eq!(code(listed), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_join_is_told_why() {
    let cluster = Cluster::start().await;
    let good = cluster.token().await;
    let options = |token: Option<JoinToken>| cluster.options("n1", [10, 9, 0, 1], token);

    let wrong = BootstrapToken::new(good.token.id(), "0123456789abcdef").expect("a token");
    let wrong = JoinToken {
        token: wrong,
        ca: good.ca,
    };
    crate::cluster::until("the token signs", async || {
        matches!(
            refused(&options(Some(wrong.clone()))).await,
            Error::TokenSecret { .. }
        )
    })
    .await;
    let unknown = BootstrapToken::new("zzzzzz", "0123456789abcdef").expect("a token");
    let unknown = JoinToken {
        token: unknown,
        ca: good.ca,
    };
    let error = refused(&options(Some(unknown))).await;
    assert!(matches!(error, Error::TokenUnknown { .. }), "{error}");

    let bare = JoinToken {
        ca: None,
        ..good.clone()
    };
    let fresh = Options {
        pki_dir: cluster.machine("fresh"),
        ..options(Some(bare))
    };
    assert!(matches!(refused(&fresh).await, Error::NoHash));
    let fresh = Options {
        token: None,
        ..fresh
    };
    assert!(matches!(refused(&fresh).await, Error::NoToken));

    let other = Cluster::start().await;
    let foreign = JoinToken {
        ca: Some(other.hash()),
        ..good.clone()
    };
    let fresh = Options {
        token: Some(foreign),
        ..fresh
    };
    let error = refused(&fresh).await;
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
    // The directory knows the first cluster.
    let error = refused(&Options {
        servers: fresh.servers.clone(),
        ..options(Some(other.token().await))
    })
    .await;
    assert!(matches!(error, Error::OtherCluster { .. }), "{error}");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    drop(silent);
    let away = format!("https://127.0.0.1:{port}")
        .parse()
        .expect("an address");
    let fresh = Options {
        servers: vec![away],
        ..fresh
    };
    let error = refused(&fresh).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_one_node() {
    let cluster = Cluster::start().await;
    let _first = cluster.node("n1", [10, 9, 0, 1]).await;
    let token = cluster.token().await;
    let second = Options {
        pki_dir: cluster.machine("second"),
        ..cluster.options("n1", [10, 9, 0, 2], Some(token))
    };
    let error = refused(&second).await;
    assert!(
        matches!(&error, Error::NameTaken { name } if name == "n1"),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "a node named n1 exists: remove it (kubectl delete node n1), or name this one with --node-name"
    );
    let taken = Options {
        node_name: "n2".to_owned(),
        node_ips: vec![[10, 9, 0, 1].into()],
        ..second.clone()
    };
    let error = refused(&taken).await.to_string();
    assert!(
        error.contains("10.9.0.1 is the address of node n1"),
        "{error}"
    );
}

/// Cloned machines that start at once ask for one name before there is a Node of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_at_once_one_gets_the_name() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let options = |dir: &str| Options {
        pki_dir: cluster.machine(dir),
        ..cluster.options("n1", [10, 9, 0, 1], Some(token.clone()))
    };
    let (a, b) = (options("a"), options("b"));
    let (a, b) = futures::future::join(knarr_join::join(&a), knarr_join::join(&b)).await;
    let (joined, error) = match (a, b) {
        (Ok(joined), Err(error)) | (Err(error), Ok(joined)) => (joined, error),
        (a, b) => panic!("{:?} {:?}", a.err(), b.err()),
    };
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    register(&joined, "n1", [10, 9, 0, 1]).await;
}
