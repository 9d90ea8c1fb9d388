//! Paths that are of no resource: everybody may learn whether the server is well and what version it is, whom it knows may learn
//! what it serves, accounts how their tokens are verified; the rest is for those who are given it.

use super::*;

/// ClusterRole `system:public-info-viewer`, which everybody has.
const OF_ALL: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// ClusterRole `system:discovery`, which everybody has who is known.
const OF_KNOWN: &[&str] = &[
    "/api",
    "/api/",
    "/api/v1",
    "/apis",
    "/apis/",
    "/apis/apps",
    "/apis/apps/v1",
    "/apis/example.com",
    "/apis/example.com/v1",
    "/openapi",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/openapi/v3/apis/example.com/v1",
];

/// ClusterRole `system:service-account-issuer-discovery`.
const OF_ACCOUNTS: &[&str] = &["/.well-known/openid-configuration", "/openid/v1/jwks"];

const OF_ADMINISTRATORS: &[&str] = &[
    "/",
    "/configz",
    "/debug/api_priority_and_fairness/dump_priority_levels",
    "/debug/api_priority_and_fairness/dump_queues",
    "/debug/api_priority_and_fairness/dump_requests",
    "/debug/flags/v",
    "/debug/pprof",
    "/debug/pprof/goroutine",
    "/debug/pprof/heap",
    "/debug/pprof/profile?seconds=1",
    "/flagz",
    "/healthz/etcd",
    "/healthz/ping",
    "/livez/ping",
    "/logs",
    "/logs/",
    "/logs/kube-apiserver.log",
    "/metrics",
    "/metrics/slis",
    "/openid",
    "/readyz/poststarthook/rbac/bootstrap-roles",
    "/statusz",
    "/swagger.json",
    "/swaggerapi",
    "/there-is-none",
    "/healthz/../metrics",
    "/version/../metrics",
    "//metrics",
];

/// They begin as what is given, and lead elsewhere for who resolves them.
const CROOKED: &[&str] = &[
    "/api/../metrics",
    "/apis/..%2fmetrics",
    "/openapi/../debug/pprof/heap",
];

#[tokio::test]
async fn paths_of_no_resource_are_for_those_who_are_given_them() {
    let cluster = cluster().await;
    let account = account("default");
    let person = user("ann", &["system:authenticated"]);
    let mut wrong = Vec::new();
    for (who, asker, given) in [
        ("nobody", nobody(), vec![OF_ALL]),
        ("a person", person, vec![OF_ALL, OF_KNOWN]),
        ("a node", node(), vec![OF_ALL, OF_KNOWN]),
        ("an account", account, vec![OF_ALL, OF_KNOWN, OF_ACCOUNTS]),
    ] {
        let all = [OF_ALL, OF_KNOWN, OF_ACCOUNTS, OF_ADMINISTRATORS];
        for path in all.iter().flat_map(|paths| paths.iter()) {
            let is_given = given.iter().any(|paths| paths.contains(path));
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                let may = is_given && method == Method::GET;
                let question = Question {
                    verb: method.as_str().to_lowercase(),
                    of: String::new(),
                    method,
                    uri: (*path).to_owned(),
                };
                let code = code(&cluster, &asker, &question).await;
                if may == matches!(code, 401 | 403) {
                    wrong.push(format!("{who}: {} {path}: {code}", question.method));
                }
            }
        }
        for path in CROOKED {
            let question = Question {
                verb: "get".to_owned(),
                of: String::new(),
                method: Method::GET,
                uri: (*path).to_owned(),
            };
            let code = code(&cluster, &asker, &question).await;
            if !matches!(code, 401 | 403 | 404) {
                wrong.push(format!("{who}: {path}: {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
