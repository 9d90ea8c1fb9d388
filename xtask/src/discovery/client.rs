//! What asks a server for its documents.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Ground, run as run_program};
use serde_json::Value;

use crate::reference::{component::API_URL, pki};

/// Of one document.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
const REQUEST_SECONDS: &str = "50";

/// The administrator, by the files that both servers' authorities are laid out in.
pub struct Client<'g> {
    pub ground: &'g Ground,
    pub dir: &'g Path,
}

impl Client<'_> {
    /// A JSON document.
    pub fn get(&self, path: &str, accept: &str) -> Result<Value> {
        let pki = |file: &str| self.dir.join(pki::FOLDER).join(file);
        let ca = pki("ca.crt");
        ensure!(ca.is_file(), "the server has no authority yet");
        let mut command = self.ground.network().command("curl");
        command
            .args(["--silent", "--show-error", "--fail", "--max-time"])
            .arg(REQUEST_SECONDS)
            .arg("--cacert")
            .arg(ca)
            .arg("--cert")
            .arg(pki("admin.crt"))
            .arg("--key")
            .arg(pki("admin.key"))
            .arg("--header")
            .arg(format!("Accept: {accept}"))
            .arg(format!("{API_URL}{path}"));
        let text = run_program(command, REQUEST_DEADLINE)?.success()?;
        serde_json::from_str(&text).with_context(|| format!("{path} is no JSON"))
    }
}
