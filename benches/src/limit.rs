//! What hyper and rustls alone can do here: a server that answers every request with the same bytes.
//!
//! It runs as a child process (`knarr-bench serve-limit`), so that it shares nothing with the generator but the
//! machine, just as the API server does.

use std::{
    convert::Infallible,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use crate::{
    http::{Endpoint, Protocol},
    kubeconfig::Access,
};

const END_OF_CERTIFICATE: &str = "-----END CERTIFICATE-----";

/// The child; ended when dropped.
pub struct Limit {
    child: Child,
    pub endpoint: Endpoint,
    _body: tempfile::NamedTempFile,
}

impl Limit {
    /// Starts a server of `body` in the network namespace of the calling thread.
    pub fn start(body: &[u8], protocol: Protocol) -> Result<Self> {
        let file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        fs::write(file.path(), body).context("cannot write the bytes to serve")?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve-limit")
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the bare server")?;
        let announced = announcement(&mut child);
        let (server, pem) = match announced {
            Ok(announced) => announced,
            Err(error) => {
                reap(&mut child);
                return Err(error);
            }
        };
        let access = Access {
            server,
            tls_server_name: None,
            authorities: Some(vec![CertificateDer::from_pem_slice(pem.as_bytes())?]),
            client_certificate: None,
            token: None,
        };
        let endpoint = Endpoint::new(&access, protocol)?;
        Ok(Self {
            child,
            endpoint,
            _body: file,
        })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        reap(&mut self.child);
    }
}

fn reap(child: &mut Child) {
    // Both can only fail when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The URL on the first line, then the certificate.
fn announcement(child: &mut Child) -> Result<(String, String)> {
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let server = lines.next().context("the bare server ended at once")??;
    let mut pem = String::new();
    for line in lines {
        let line = line?;
        pem.push_str(&line);
        pem.push('\n');
        if line == END_OF_CERTIFICATE {
            break;
        }
    }
    Ok((server, pem))
}

/// `knarr-bench serve-limit FILE`: serves until its input is closed.
pub fn serve(body: PathBuf) -> Result<()> {
    let body = Bytes::from(fs::read(&body).with_context(|| format!("{}", body.display()))?);
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "https://{}", listener.local_addr()?)?;
        out.write_all(made.cert.pem().as_bytes())?;
        out.flush()?;
        drop(out);
        let mut parent = tokio::io::stdin();
        let mut nothing = [0];
        tokio::select! {
            result = accept(listener, TlsAcceptor::from(Arc::new(tls)), body) => result,
            _ = parent.read(&mut nothing) => Ok(()),
        }
    })?;
    // Reading standard input is a thread that does not end.
    runtime.shutdown_background();
    Ok(())
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, body: Bytes) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (tls, body) = (tls.clone(), body.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else {
                return;
            };
            let service = service_fn(move |_| {
                let answer = Response::builder()
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(answer.unwrap_or_default()) }
            });
            // Its only peer is the generator, which reports what it misses.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
