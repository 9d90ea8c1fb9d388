//! Tokens of service accounts that Secrets hold, as people make them for what cannot renew its token.

use anyhow::{Context, Result, ensure};
use knarr_testkit::eventually;

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// One of the account, one of an account that does not exist.
const SECRETS: &str = r#"
apiVersion: v1
kind: Secret
metadata:
  name: held
  annotations: {kubernetes.io/service-account.name: robot}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Secret
metadata:
  name: stray
  annotations: {kubernetes.io/service-account.name: nobody}
type: kubernetes.io/service-account-token
"#;

const WARNING: &str = "Warning: Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated \
                       secret-based tokens.";

#[test]
fn a_secrets_token_works_until_its_secret_goes() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        shell.run("create serviceaccount robot")?;
        shell.run("create rolebinding robot --clusterrole=view --serviceaccount=default:robot")?;
        shell.apply(SECRETS)?;
        let token = step("the secret is filled", || filled(&shell))?;
        let ask = format!(
            "--kubeconfig=/dev/null --server={} --insecure-skip-tls-verify --token={token} get configmaps",
            server(&shell)?
        );
        step("its token works, without a warning", || {
            let said = warnings(&shell, &ask)?;
            ensure!(said.is_empty(), "{said}");
            Ok(())
        })?;
        step("one that its account names brings a warning", || {
            let secrets = r#"--patch={"secrets":[{"name":"held"}]}"#;
            shell.words(&["patch", "serviceaccount", "robot", secrets])?;
            let said = warnings(&shell, &ask)?;
            ensure!(said.contains(WARNING), "{said}");
            Ok(())
        })?;
        step("one of no account is removed", || gone(&shell, "stray"))?;
        step("the token ends with the secret", || {
            shell.run("delete secret held")?;
            eventually(SOON, "the token is refused", || {
                ensure!(shell.run(&ask).is_err(), "the token still works");
                Ok(())
            })
        })?;
        step("a secret ends with its account", || {
            shell.apply(SECRETS)?;
            filled(&shell)?;
            shell.run("delete serviceaccount robot")?;
            gone(&shell, "held")
        })
    });
}

/// What kubectl says beside its output.
fn warnings(shell: &Shell<'_>, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = shell.output(&words, "")?;
    let said = output.stderr.trim().to_owned();
    output.success()?;
    Ok(said)
}

/// The token, once it is there with all that belongs to it.
fn filled(shell: &Shell<'_>) -> Result<String> {
    let mut token = String::new();
    eventually(SOON, "the secret is filled", || {
        let data = shell.get("secret held")?["data"].clone();
        for key in ["ca.crt", "namespace", "token"] {
            ensure!(data[key].is_string(), "it lacks {key}");
        }
        token = shell.words(&[
            "get",
            "secret",
            "held",
            "-o=go-template={{.data.token | base64decode}}",
        ])?;
        Ok(())
    })?;
    Ok(token)
}

fn server(shell: &Shell<'_>) -> Result<String> {
    let config = shell.words(&[
        "config",
        "view",
        "-o=jsonpath={.clusters[0].cluster.server}",
    ])?;
    config
        .starts_with("https://")
        .then_some(config)
        .context("the kubeconfig names no server")
}

fn gone(shell: &Shell<'_>, name: &str) -> Result<()> {
    eventually(SOON, "the secret is gone", || {
        let output = shell.run(&format!("get secret {name} --ignore-not-found"))?;
        ensure!(output.is_empty(), "{output}");
        Ok(())
    })
}
