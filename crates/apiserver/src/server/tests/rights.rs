//! Every verb of every resource and subresource that discovery tells of, asked by those who have no rights of their own: what is
//! not refused is what upstream's default roles and its Node authorizer allow.

mod namespaced;
mod paths;

use std::collections::BTreeSet;

use tower::Service;

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Far fewer would mean that discovery was not read.
const FEWEST_QUESTIONS: usize = 600;

/// Verbs that are allowed, of resources: `GROUP/RESOURCE` or `GROUP/RESOURCE/SUBRESOURCE`; the core group has no name.
type Allowed = &'static [(&'static str, &'static [&'static str])];

/// ClusterRole `system:basic-user`, which everybody has who is known.
const OF_AUTHENTICATED: Allowed = &[(
    "create",
    &[
        "authentication.k8s.io/selfsubjectreviews",
        "authorization.k8s.io/selfsubjectaccessreviews",
        "authorization.k8s.io/selfsubjectrulesreviews",
    ],
)];

/// A review of blanks is one of no token: it is nobody's where nobody may ask, and otherwise just not known.
#[tokio::test(flavor = "multi_thread")]
async fn reviews_of_no_token_are_of_nobody_where_that_is_allowed() {
    const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
    let nobody = json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]});
    let review = |token: &str| json!({"spec": {"token": token, "audiences": ["a"]}});
    for (anonymous, wanted) in [
        (
            "{enabled: true}",
            json!({"authenticated": true, "user": nobody, "audiences": ["a"]}),
        ),
        (
            "{enabled: true, conditions: [{path: /livez}]}",
            json!({"user": {}}),
        ),
        ("{enabled: false}", json!({"user": {}})),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("authentication.yaml");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {anonymous}\n"
        );
        std::fs::write(&file, text).expect("a file");
        let server = open_with(dir.path(), |config| {
            config.identities.config_file = Some(file)
        })
        .await;
        let cluster = Cluster { server, dir };
        let blank = cluster.create(REVIEWS, review(" ")).await;
        assert_eq!(blank["status"], wanted, "{anonymous}");
        let wrong = cluster.create(REVIEWS, review("x")).await;
        assert_eq!(
            wrong["status"],
            json!({"user": {}, "error": "invalid bearer token"})
        );
    }
}

/// ClusterRole `system:cluster-trust-bundle-discovery`.
const OF_SERVICE_ACCOUNTS: Allowed = &[(
    "get list watch",
    &["certificates.k8s.io/clustertrustbundles"],
)];

/// Upstream's `NodeRules` (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go) as far as its Node authorizer
/// (plugin/pkg/auth/authorizer/node/node_authorizer.go) allows them of objects that no pod of the node refers to.
const OF_NODES: Allowed = &[
    (
        "create",
        &[
            "authentication.k8s.io/tokenreviews",
            "authorization.k8s.io/localsubjectaccessreviews",
            "authorization.k8s.io/subjectaccessreviews",
        ],
    ),
    (
        "get list watch",
        &[
            "/services",
            "certificates.k8s.io/certificatesigningrequests",
            "certificates.k8s.io/clustertrustbundles",
            "node.k8s.io/runtimeclasses",
            "storage.k8s.io/csidrivers",
        ],
    ),
    ("get", &["/endpoints"]),
    ("create update patch", &["/events", "events.k8s.io/events"]),
    (
        "create",
        &["certificates.k8s.io/certificatesigningrequests"],
    ),
    // The authorizer does not know what they are of: NodeRestriction refuses those of others.
    (
        "create",
        &[
            "/nodes",
            "/pods",
            "/pods/eviction",
            "certificates.k8s.io/podcertificaterequests",
            "resource.k8s.io/resourceslices",
        ],
    ),
    ("update patch", &["/nodes", "/nodes/status", "/pods/status"]),
    ("delete", &["/pods"]),
];

/// A question to the server.
#[derive(Clone, Debug)]
struct Question {
    verb: String,
    /// As in [`Allowed`].
    of: String,
    method: Method,
    uri: String,
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn entries<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

fn method(verb: &str) -> Method {
    match verb {
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" | "deletecollection" => Method::DELETE,
        _ => Method::GET,
    }
}

/// The questions about a resource of a group-version, whose path is `prefix`, in a namespace and across all.
fn about(group: &str, prefix: &str, resource: &Value, namespace: &str) -> Vec<Question> {
    let name = resource["resource"].as_str().expect("a name");
    let own = format!("/namespaces/{namespace}");
    let places = match &resource["scope"] {
        scope if scope == "Namespaced" => vec![own.as_str(), ""],
        _ => vec![""],
    };
    let mut questions = Vec::new();
    let mut ask = |verb: &str, of: String, uri: String| {
        questions.push(Question {
            verb: verb.to_owned(),
            of,
            method: method(verb),
            uri,
        });
    };
    for (nth, place) in places.iter().enumerate() {
        for verb in texts(&resource["verbs"]) {
            let of_all = matches!(verb, "list" | "watch");
            let end = match verb {
                "list" | "create" => "",
                // Who may do it must not lose what gives the right to.
                "deletecollection" => "?dryRun=All",
                "watch" => "?watch=true",
                _ => "/x",
            };
            // Across namespaces there are lists and watches only.
            if nth == 0 || of_all {
                ask(
                    verb,
                    format!("{group}/{name}"),
                    format!("{prefix}{place}/{name}{end}"),
                );
            }
            if verb == "watch" {
                ask(
                    verb,
                    format!("{group}/{name}"),
                    format!("{prefix}/watch{place}/{name}"),
                );
            }
        }
    }
    for subresource in entries(resource, "subresources") {
        let sub = subresource["subresource"].as_str().expect("a name");
        for verb in texts(&subresource["verbs"]) {
            let uri = format!("{prefix}{}/{name}/x/{sub}", places[0]);
            ask(verb, format!("{group}/{name}/{sub}"), uri.clone());
            if sub == "proxy" {
                ask(
                    verb,
                    format!("{group}/{name}/{sub}"),
                    format!("{uri}/metrics"),
                );
            }
        }
    }
    questions
}

/// Everything there is to ask of a namespace, and of what is in none.
async fn questions(cluster: &Cluster, namespace: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    for root in ["/api", "/apis"] {
        let document = cluster.get_as(root, AGGREGATED).await.body;
        for group in entries(&document, "items") {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in entries(group, "versions") {
                let number = version["version"].as_str().expect("a version");
                let prefix = match name {
                    "" => format!("/api/{number}"),
                    name => format!("/apis/{name}/{number}"),
                };
                for resource in entries(version, "resources") {
                    questions.extend(about(name, &prefix, resource, namespace));
                }
            }
        }
    }
    assert!(questions.len() > FEWEST_QUESTIONS, "{}", questions.len());
    for custom in ["example.com/widgets/scale", "example.com/gears/status"] {
        let asked = questions.iter().any(|question| question.of == custom);
        assert!(asked, "nothing is asked of {custom}");
    }
    questions
}

/// A cluster with custom kinds, in namespaces and in none.
async fn cluster() -> Cluster {
    let cluster = Cluster::with_widgets().await;
    let mut gears = custom::definition().to_string();
    for (of, to) in [("idget", "ear"), ("Namespaced", "Cluster")] {
        gears = gears.replace(of, to);
    }
    for (of, to) in [("wears", "gears"), ("Wear", "Gear"), ("\"wd\"", "\"gr\"")] {
        gears = gears.replace(of, to);
    }
    let gears = serde_json::from_str(&gears).expect("JSON");
    cluster.create(custom::DEFINITIONS, gears).await;
    cluster.established("gears.example.com").await;
    cluster
}

/// Who asks.
struct Asker {
    user: UserInfo,
    /// Whom the user acts as: a client of this process is always authenticated, and nobody is not.
    acts_as: Option<&'static str>,
}

/// The code of an answer, of which a watch's does not end.
async fn code(cluster: &Cluster, asker: &Asker, question: &Question) -> u16 {
    let content_type = match question.verb.as_str() {
        "patch" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = match question.method {
        Method::GET | Method::DELETE => Bytes::new(),
        _ => Bytes::from_static(b"{}"),
    };
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(&question.uri)
        .header("content-type", content_type);
    if let Some(name) = asker.acts_as {
        request = request.header("impersonate-user", name);
    }
    let request = request.body(Full::new(body)).expect("a request");
    let mut service = cluster.server.client_service(asker.user.clone());
    let response = tokio::time::timeout(DEADLINE, service.call(request))
        .await
        .expect("an answer in time")
        .expect("infallible");
    response.status().as_u16()
}

fn user(name: &str, groups: &[&str]) -> Asker {
    let user = UserInfo {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        ..UserInfo::default()
    };
    Asker {
        user,
        acts_as: None,
    }
}

fn nobody() -> Asker {
    Asker {
        user: authn::server(),
        acts_as: Some("system:anonymous"),
    }
}

/// The account `nobody` of a namespace.
fn account(namespace: &str) -> Asker {
    let name = format!("system:serviceaccount:{namespace}:nobody");
    let of_namespace = format!("system:serviceaccounts:{namespace}");
    user(
        &name,
        &[
            "system:serviceaccounts",
            &of_namespace,
            "system:authenticated",
        ],
    )
}

fn node() -> Asker {
    user(
        "system:node:test",
        &["system:nodes", "system:authenticated"],
    )
}

/// Asks everything; what was not refused has to be allowed.
async fn assert_refused(cluster: &Cluster, asker: &Asker, allowed: &[Allowed]) {
    let allowed: BTreeSet<(&str, &str)> = allowed
        .iter()
        .flat_map(|rows| rows.iter())
        .flat_map(|(verbs, resources)| {
            let verbs = verbs.split(' ');
            verbs.flat_map(|verb| resources.iter().map(move |resource| (verb, *resource)))
        })
        .collect();
    let mut wrong = Vec::new();
    let mut asked = BTreeSet::new();
    for question in questions(cluster, "default").await {
        let code = code(cluster, asker, &question).await;
        let key = (question.verb.as_str(), question.of.as_str());
        asked.insert((question.verb.clone(), question.of.clone()));
        if !matches!(code, 401 | 403) && !allowed.contains(&key) {
            wrong.push(format!("{} {}: {code}", question.method, question.uri));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (verb, of) in allowed {
        let key = (verb.to_owned(), of.to_owned());
        assert!(asked.contains(&key), "there is no {verb} of {of}");
    }
}

#[tokio::test]
async fn nobody_is_refused_everything() {
    let cluster = cluster().await;
    assert_refused(&cluster, &nobody(), &[]).await;
}

#[tokio::test]
async fn a_user_without_rights_may_ask_about_itself() {
    let cluster = cluster().await;
    assert_refused(
        &cluster,
        &account("default"),
        &[OF_AUTHENTICATED, OF_SERVICE_ACCOUNTS],
    )
    .await;
}

#[tokio::test]
async fn a_node_may_what_every_node_may() {
    let cluster = cluster().await;
    assert_refused(&cluster, &node(), &[OF_AUTHENTICATED, OF_NODES]).await;
}
