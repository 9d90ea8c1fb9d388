//! Serves the API alone from a directory, for kubectl and for measurements: `serve DIR [PORT]`.
//!
//! Keys, the store and `admin.kubeconfig` are made below DIR. Ends on Ctrl-C.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use knarr_apiserver::{Config, Server};
use knarr_auth::pki::Role;
use knarr_store::Embedded;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: serve DIR [PORT]")?);
    let port: u16 = args.next().map_or(Ok(6443), |p| p.parse())?;
    let started = std::time::Instant::now();
    let store = Arc::new(Embedded::open(dir.join("store"), Default::default())?);
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        extra_sans: vec!["127.0.0.1".into()],
        ..Config::on_loopback(dir.join("pki"))
    };
    let server = Server::new(config, store).await?;
    let kubeconfig = dir.join("admin.kubeconfig");
    server.pki().write_kubeconfig(
        Role::Admin,
        &format!("https://{}", server.address()),
        &kubeconfig,
    )?;
    tracing::info!(millis = started.elapsed().as_millis() as u64, kubeconfig = %kubeconfig.display(), "ready");
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    server.run(token).await?;
    Ok(())
}
