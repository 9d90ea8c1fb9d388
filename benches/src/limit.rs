//! What hyper and rustls alone can do here: a server that answers every request with the same bytes.
//!
//! It runs as a child process (`knarr-bench serve-limit`), so that it shares nothing with the generator but the
//! machine, just as the API server does.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::io::AsyncReadExt;

use crate::{
    http::{Endpoint, Protocol},
    kubeconfig::Access,
    server::Server,
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::bind().await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", server.url)?;
        out.write_all(server.pem.as_bytes())?;
        out.flush()?;
        drop(out);
        let mut parent = tokio::io::stdin();
        let mut nothing = [0];
        let answer = move |_| {
            let answer = Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()));
            async move { answer.unwrap_or_default() }
        };
        tokio::select! {
            ended = server.serve(answer) => ended.map(|never| match never {}),
            _ = parent.read(&mut nothing) => Ok(()),
        }
    })?;
    // Reading standard input is a thread that does not end.
    runtime.shutdown_background();
    Ok(())
}
