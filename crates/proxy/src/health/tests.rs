use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::*;

/// Longest wait for a server of this process.
const SOON: Duration = Duration::from_secs(20);

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn state(local_endpoints: usize, in_place: bool) -> State {
    State {
        key: key("web"),
        local_endpoints: AtomicUsize::new(local_endpoints),
        in_place: Arc::new(AtomicBool::new(in_place)),
    }
}

#[tokio::test]
async fn the_answer_is_upstreams() {
    let response = answer(&state(2, true));
    assert_eq!(response.status(), StatusCode::OK);
    let fields = [
        "content-type",
        "x-content-type-options",
        "x-load-balancing-endpoint-weight",
    ];
    let values = fields.map(|name| response.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(values, ["application/json", "nosniff", "2"]);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    expect_test::expect![[r#"
        {
        	"service": {
        		"namespace": "default",
        		"name": "web"
        	},
        	"localEndpoints": 2,
        	"serviceProxyHealthy": true
        }"#]]
    .assert_eq(&String::from_utf8_lossy(&body));
}

#[test]
fn without_endpoints_or_rules_the_node_is_not_to_be_used() {
    for (endpoints, in_place) in [(0, true), (2, false), (0, false)] {
        let response = answer(&state(endpoints, in_place));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

async fn ask(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream
        .write_all(b"GET /anything HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Asks until the answer fits.
async fn ask_until(at: SocketAddr, what: &str, fits: impl Fn(&std::io::Result<String>) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = ask(at).await;
        if fits(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {answer:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn servers_come_and_go_with_their_services() {
    let token = CancellationToken::new();
    let mut servers = HealthServers::new([Family::Ip], token.clone());
    servers.set_in_place(true);
    let (port, local_endpoints) = (free_port(), 1);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let health = Health {
        port,
        local_endpoints,
    };
    servers.set(&key("a"), Some(health));
    ask_until(at, "served", |answer| {
        answer.as_ref().is_ok_and(|text| {
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"name\": \"a\"")
        })
    })
    .await;
    let empty = Health {
        local_endpoints: 0,
        ..health
    };
    servers.set(&key("a"), Some(empty));
    ask_until(at, "changed", |answer| {
        answer
            .as_ref()
            .is_ok_and(|text| text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"))
    })
    .await;
    // The port changes hands: whoever has it next gets it as soon as it is free.
    servers.set(&key("b"), Some(health));
    servers.set(&key("a"), None);
    ask_until(at, "another's", |answer| {
        answer
            .as_ref()
            .is_ok_and(|text| text.contains("\"name\": \"b\""))
    })
    .await;
    servers.set(&key("b"), None);
    ask_until(at, "closed", Result::is_err).await;
    token.cancel();
    timeout(SOON, servers.stopped()).await.unwrap();
}

#[tokio::test]
async fn clients_of_both_families_are_answered() {
    let token = CancellationToken::new();
    let mut servers = HealthServers::new(Family::BOTH, token.clone());
    servers.set_in_place(true);
    let health = Health {
        port: free_port(),
        local_endpoints: 1,
    };
    servers.set(&key("a"), Some(health));
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        ask_until(SocketAddr::new(address, health.port), "served", |answer| {
            answer
                .as_ref()
                .is_ok_and(|text| text.contains("\"localEndpoints\": 1"))
        })
        .await;
    }
    token.cancel();
    timeout(SOON, servers.stopped()).await.unwrap();
}
