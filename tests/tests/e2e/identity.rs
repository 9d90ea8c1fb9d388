//! Who asks, by the word of others: an OpenID issuer that changes its keys, a file of tokens, a webhook; a configuration that
//! changes while it is used.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use knarr_testkit::{Cluster, Identity, NODE_IP, Options, Raw, eventually};
use knarr_webhook::testing::{Reaction, Server};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{SOON, step, with_cluster};

const PORT: u16 = 9444;
const LIFE_SECONDS: u64 = 600;

#[test]
fn others_say_who_asks() {
    with_cluster(Options::default(), |cluster| {
        let runtime = Runtime::new()?;
        let keys = [Signer::new("first")?, Signer::new("second")?];
        let rotated = Arc::new(AtomicBool::new(false));
        let server = step("an issuer", || {
            serve(
                cluster,
                &runtime,
                keys.each_ref().map(Signer::jwk),
                &rotated,
            )
        })?;
        let config = configure(cluster, &server)?;
        step("knarr up", || cluster.up())?;
        let story = Story {
            cluster,
            runtime,
            keys,
        };
        step("tokens of the issuer", || story.issuer())?;
        step("tokens that are not good", || story.refusals())?;
        step("the file", || story.file())?;
        step("the webhook", || story.webhook(&server))?;
        step("reviews", || story.reviews())?;
        step("new keys", || {
            rotated.store(true, Ordering::Relaxed);
            story.rotation()
        })?;
        step("nobody", || story.nobody())?;
        step("another configuration", || story.reload(&config, &server))?;
        step("an authorizer", || story.authorizer())
    });
}

struct Signer {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Result<Signer> {
        let (ring, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let failed = |_| anyhow::anyhow!("there is no key");
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(ring, &random).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(ring, pkcs8.as_ref(), &random);
        let pair = pair.map_err(|error| anyhow::anyhow!("no key: {error}"))?;
        Ok(Signer { pair, id })
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.id,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        })
    }

    /// A token of jane, with more claims.
    fn token(&self, more: &Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = json!({
            "iss": issuer_url(), "aud": "knarr", "sub": "jane", "groups": ["dev"], "team": "blue",
            "exp": now + LIFE_SECONDS,
        });
        for (claim, value) in more.as_object().into_iter().flatten() {
            claims[claim] = value.clone();
        }
        let header = json!({"alg": "ES256", "kid": self.id});
        let encode = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.ok().context("it cannot be signed")?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

fn issuer_url() -> String {
    format!("https://{NODE_IP}:{PORT}")
}

/// The issuer, and the webhook that knows one token.
fn serve(
    cluster: &Cluster,
    runtime: &Runtime,
    keys: [Value; 2],
    rotated: &Arc<AtomicBool>,
) -> Result<Server> {
    let address = SocketAddr::new(NODE_IP.parse()?, PORT);
    let listener = cluster.network().listen(address)?;
    let _entered = runtime.enter();
    let rotated = rotated.clone();
    let server = Server::on(listener, &[NODE_IP], move |path, review| {
        Reaction::Answer(match path {
            "/.well-known/openid-configuration" => {
                json!({"issuer": issuer_url(), "jwks_uri": format!("{}/keys", issuer_url())})
            }
            "/keys" if rotated.load(Ordering::Relaxed) => json!({"keys": keys}),
            "/keys" => json!({"keys": [keys[0]]}),
            "/authorize" => authorized(review),
            _ => reviewed(review),
        })
    });
    server.context("cannot serve")
}

fn reviewed(review: &Value) -> Value {
    let known = review["spec"]["token"] == "known-to-the-webhook";
    let user = json!({"username": "webby", "groups": ["hooked"]});
    let status = match known {
        true => json!({"authenticated": true, "user": user}),
        false => json!({"authenticated": false}),
    };
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

/// What the authorizer says: filo may not see config maps, and webby may see secrets.
fn authorized(review: &Value) -> Value {
    let (user, asked) = (
        &review["spec"]["user"],
        &review["spec"]["resourceAttributes"],
    );
    let status = match (user.as_str(), asked["resource"].as_str()) {
        (Some("filo"), Some("configmaps")) => {
            json!({"allowed": false, "denied": true, "reason": "not filo"})
        }
        (Some("webby"), Some("secrets")) => json!({"allowed": true}),
        _ => json!({"allowed": false}),
    };
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status})
}

/// Whom the server asks: the webhook about people who are not administrators, then as ever.
fn authorization(kubeconfig: &str) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [
            {"type": "Webhook", "name": "company", "webhook": {
                "timeout": "10s", "subjectAccessReviewVersion": "v1",
                "matchConditionSubjectAccessReviewVersion": "v1",
                "failurePolicy": "NoOpinion",
                "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
                "matchConditions": [{"expression": "request.user in ['filo', 'webby']"}],
            }},
            {"type": "Node", "name": "node"},
            {"type": "RBAC", "name": "rbac"},
        ],
    })
    .to_string()
}

/// What the server believes, with what is put before names.
fn configuration(server: &Server, prefix: &str) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]},
        "jwt": [{
            "issuer": {
                "url": issuer_url(), "audiences": ["knarr"], "certificateAuthority": server.authority,
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": prefix},
                "groups": {"expression": "claims.groups.map(g, 'oidc:' + g)"},
                "extra": [{"key": "example.org/team", "valueExpression": "claims.team"}],
            },
            "claimValidationRules": [{"expression": "claims.team in ['blue', 'red']", "message": "no such team"}],
            "userValidationRules": [{"expression": "!user.username.endsWith('root')"}],
        }],
    })
    .to_string()
}

fn configure(cluster: &mut Cluster, server: &Server) -> Result<PathBuf> {
    let directory = cluster.directory();
    let path = |name: &str| directory.join(name);
    let config = path("authentication.yaml");
    fs::write(&config, configuration(server, "oidc:"))?;
    fs::write(path("tokens.csv"), "from-the-file,filo,7,\"dev,ops\"\n")?;
    let ca = server.ca_bundle();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {
            "server": format!("{}/review", issuer_url()), "certificate-authority-data": ca,
        }}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}],
    });
    fs::write(path("webhook.yaml"), kubeconfig.to_string())?;
    let asked = kubeconfig.to_string().replace("/review", "/authorize");
    fs::write(path("authorizer.yaml"), asked)?;
    let authorizer = path("authorizer.yaml").display().to_string();
    fs::write(path("authorization.yaml"), authorization(&authorizer))?;
    for (flag, name) in [
        ("authentication-config", "authentication.yaml"),
        ("authorization-config", "authorization.yaml"),
        ("token-auth-file", "tokens.csv"),
        ("authentication-token-webhook-config-file", "webhook.yaml"),
    ] {
        cluster.add_flag(format!("--{flag}={}", path(name).display()));
    }
    Ok(config)
}

struct Story<'a> {
    cluster: &'a Cluster,
    runtime: Runtime,
    keys: [Signer; 2],
}

const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const TOKEN_REVIEW: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

impl Story<'_> {
    fn post(&self, identity: &Identity, path: &str, body: &Value) -> Result<Raw> {
        self.runtime.block_on(async {
            let client = self.cluster.client_as(identity).await?;
            let json = [("content-type", "application/json")];
            Raw::send(&client, "POST", path, &json, &body.to_string()).await
        })
    }

    /// Who a token is; an error with the code where it is nobody.
    fn who(&self, token: &str) -> Result<Value> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        });
        let answer = self.post(&Identity::Token(token.to_owned()), SELF_REVIEW, &review)?;
        match answer.code {
            201 => Ok(answer.body["status"]["userInfo"].clone()),
            code => bail!("{code}"),
        }
    }

    fn issuer(&self) -> Result<()> {
        let token = self.keys[0].token(&json!({"jti": "t1"}))?;
        // It is asked who it is when the server starts.
        eventually(SOON, "the issuer is known", || self.who(&token).map(drop))?;
        let user = self.who(&token)?;
        ensure!(user["username"] == "oidc:jane", "{user}");
        ensure!(
            user["groups"] == json!(["oidc:dev", "system:authenticated"]),
            "{user}"
        );
        ensure!(
            user["extra"]["example.org/team"] == json!(["blue"]),
            "{user}"
        );
        let id = &user["extra"]["authentication.kubernetes.io/credential-id"];
        ensure!(*id == json!(["JTI=t1"]), "{user}");
        Ok(())
    }

    fn refusals(&self) -> Result<()> {
        let [first, second] = &self.keys;
        for (what, token) in [
            ("of a key that nobody knows", second.token(&json!({}))?),
            ("for others", first.token(&json!({"aud": "others"}))?),
            ("that is over", first.token(&json!({"exp": 1}))?),
            (
                "of another issuer",
                first.token(&json!({"iss": "https://other"}))?,
            ),
            (
                "that a rule keeps out",
                first.token(&json!({"team": "green"}))?,
            ),
            (
                "of a user that a rule keeps out",
                first.token(&json!({"sub": "root"}))?,
            ),
        ] {
            let answer = self.who(&token).map_err(|error| error.to_string());
            ensure!(
                answer == Err("401".to_owned()),
                "a token {what}: {answer:?}"
            );
        }
        Ok(())
    }

    fn file(&self) -> Result<()> {
        let user = self.who("from-the-file")?;
        let groups = json!(["dev", "ops", "system:authenticated"]);
        let wanted = json!({"username": "filo", "uid": "7", "groups": groups});
        ensure!(user == wanted, "{user}");
        Ok(())
    }

    fn webhook(&self, server: &Server) -> Result<()> {
        let user = self.who("known-to-the-webhook")?;
        let groups = json!(["hooked", "system:authenticated"]);
        ensure!(
            user == json!({"username": "webby", "groups": groups}),
            "{user}"
        );
        ensure!(self.who("unknown").is_err());
        let calls = server.calls();
        for _ in 0..20 {
            self.who("known-to-the-webhook")?;
        }
        let more = server.calls().saturating_sub(calls);
        ensure!(more <= 1, "the webhook was asked {more} times more");
        Ok(())
    }

    fn reviews(&self) -> Result<()> {
        let review = |token: &str, audiences: Value| -> Result<Value> {
            let body = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": token, "audiences": audiences},
            });
            let answer = self.post(&Identity::Admin, TOKEN_REVIEW, &body)?;
            ensure!(answer.code == 201, "{}", answer.text);
            Ok(answer.body["status"].clone())
        };
        let token = self.keys[0].token(&json!({}))?;
        let status = review(&token, json!([]))?;
        ensure!(status["authenticated"] == true, "{status}");
        ensure!(status["user"]["username"] == "oidc:jane", "{status}");
        let elsewhere = review(&token, json!(["vault"]))?;
        ensure!(elsewhere["authenticated"] != true, "{elsewhere}");
        let unknown = review("unknown", json!([]))?;
        ensure!(unknown["authenticated"] != true, "{unknown}");
        Ok(())
    }

    fn rotation(&self) -> Result<()> {
        let token = self.keys[1].token(&json!({}))?;
        eventually(SOON, "the new key is known", || self.who(&token).map(drop))?;
        self.who(&self.keys[0].token(&json!({"jti": "t2"}))?)
            .map(drop)
    }

    fn authorizer(&self) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "filo"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "filo"}],
        });
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let bound = self.post(&Identity::Admin, bindings, &binding)?;
        ensure!(bound.code == 201, "{}", bound.text);
        for (token, resource, wanted) in [
            ("from-the-file", "configmaps", 403),
            ("from-the-file", "services", 200),
            ("known-to-the-webhook", "secrets", 200),
            ("known-to-the-webhook", "services", 403),
        ] {
            let path = format!("/api/v1/namespaces/default/{resource}");
            let answer = self.runtime.block_on(async {
                let identity = Identity::Token(token.to_owned());
                let client = self.cluster.client_as(&identity).await?;
                Raw::send(&client, "GET", &path, &[], "").await
            })?;
            ensure!(answer.code == wanted, "{token} {resource}: {}", answer.text);
            let denied = (token, resource) == ("from-the-file", "configmaps");
            ensure!(
                !denied || answer.text.contains("not filo"),
                "{}",
                answer.text
            );
        }
        Ok(())
    }

    fn nobody(&self) -> Result<()> {
        for (path, wanted) in [("/livez", 200), ("/readyz", 401)] {
            let code = self.runtime.block_on(async {
                let client = self.cluster.client_as(&Identity::Anonymous).await?;
                anyhow::Ok(Raw::send(&client, "GET", path, &[], "").await?.code)
            })?;
            ensure!(code == wanted, "{path}: {code}");
        }
        Ok(())
    }

    fn reload(&self, config: &PathBuf, server: &Server) -> Result<()> {
        fs::write(config, "this is none")?;
        fs::write(config, configuration(server, "new:"))?;
        let token = self.keys[0].token(&json!({"jti": "t3"}))?;
        eventually(SOON, "names have another prefix", || {
            let user = self.who(&token)?;
            ensure!(user["username"] == "new:jane", "{user}");
            Ok(())
        })?;
        fs::write(config, "this is none")?;
        self.who(&token)
            .map(drop)
            .context("a file that means nothing changes nothing")
    }
}
