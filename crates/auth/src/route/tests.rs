use expect_test::{Expect, expect};

use super::*;

/// The request as the authorizer sees it, or the code of its refusal.
fn parsed(method: Method, uri: &str) -> Result<String, u16> {
    let request = http::Request::builder().method(method).uri(uri).body(());
    let (parts, ()) = request.expect("a request").into_parts();
    let decoded = Decoded::new(&parts).map_err(|status| status.code)?;
    let request = ApiRequest::parse(&parts.method, &decoded).map_err(|status| status.code)?;
    let (info, rest) = (&request.info, request.rest);
    Ok(match info.is_resource {
        false => format!("{} {}", info.verb, info.path),
        true => format!(
            "{} {}/{} {}/{}/{}/{} [{rest}] {}",
            info.verb,
            info.group,
            info.version,
            info.namespace,
            info.resource,
            info.name,
            info.subresource,
            info.selectors.fields
        ),
    })
}

fn check(method: Method, uri: &str, wanted: Expect) {
    wanted.assert_eq(&parsed(method, uri).expect("a request that means something"));
}

#[test]
fn parses_paths_as_upstream() {
    use Method as M;
    check(M::GET, "/", expect!["get /"]);
    check(M::GET, "/api", expect!["get /api"]);
    check(M::GET, "/api/v1", expect!["get /api/v1"]);
    check(M::GET, "/apis/apps/v1", expect!["get /apis/apps/v1"]);
    check(M::POST, "/healthz", expect!["post /healthz"]);
    check(M::GET, "/api/v1/pods", expect!["list /v1 /pods// [] "]);
    check(M::HEAD, "/api/v1/pods/", expect!["list /v1 /pods// [] "]);
    check(
        M::GET,
        "/api/v1/pods?watch=true",
        expect!["watch /v1 /pods// [] "],
    );
    check(
        M::GET,
        "/api/v1/pods?watch=false",
        expect!["list /v1 /pods// [] "],
    );
    check(
        M::GET,
        "/api/v1/watch/namespaces/n/pods/p",
        expect!["watch /v1 n/pods/p/ [] metadata.name=p"],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n/pods/p",
        expect!["get /v1 n/pods/p/ [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n/pods?fieldSelector=metadata.name%3Dp",
        expect!["list /v1 n/pods/p/ [] metadata.name=p"],
    );
    check(
        M::POST,
        "/api/v1/namespaces/n/pods/p/binding",
        expect!["create /v1 n/pods/p/binding [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces",
        expect!["list /v1 /namespaces// [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n",
        expect!["get /v1 n/namespaces/n/ [] "],
    );
    check(
        M::PUT,
        "/api/v1/namespaces/n/finalize",
        expect!["update /v1 n/namespaces/n/finalize [] "],
    );
    check(
        M::PATCH,
        "/apis/apps/v1/namespaces/n/deployments/d/scale",
        expect!["patch apps/v1 n/deployments/d/scale [] "],
    );
    check(
        M::DELETE,
        "/apis/apps/v1/namespaces/n/deployments",
        expect!["deletecollection apps/v1 n/deployments// [] "],
    );
    check(
        M::DELETE,
        "/apis/apps/v1/namespaces/n/deployments/d",
        expect!["delete apps/v1 n/deployments/d/ [] "],
    );
    check(
        M::GET,
        "/api/v1/nodes/a/proxy/stats/summary?x=1",
        expect!["get /v1 /nodes/a/proxy [stats/summary] "],
    );
    check(
        M::GET,
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        expect!["get rbac.authorization.k8s.io/v1 /clusterroles/system:node/ [] "],
    );
}

#[test]
fn what_is_authorized_is_what_is_served() {
    use Method as M;
    let pods = "/api/v1/namespaces/n/pods";
    check(
        M::GET,
        &format!("{pods}?fieldSelector&fieldSelector=metadata.name%3Dp"),
        expect!["list /v1 n/pods// [] "],
    );
    check(
        M::GET,
        &format!("{pods}?field%53elector=spec.nodeName%3Da&fieldSelector=metadata.name%3Dp"),
        expect!["list /v1 n/pods// [] spec.nodeName=a"],
    );
    // A comma or an equals sign in a value is no second term.
    check(
        M::GET,
        &format!("{pods}?fieldSelector=spec.nodeName%3D%5C%2Cmetadata.name%5C%3Dp"),
        expect![r"list /v1 n/pods// [] spec.nodeName=\,metadata.name\=p"],
    );
    check(
        M::DELETE,
        &format!("{pods}?fieldSelector=metadata.name%3Dp"),
        expect!["deletecollection /v1 n/pods// [] metadata.name=p"],
    );
    check(M::GET, "/metrics/", expect!["get /metrics"]);
    check(M::GET, "//metrics", expect!["get //metrics"]);
    for (method, uri, code) in [
        (M::GET, format!("{pods}?fieldSelector=%zz"), 400),
        (
            M::GET,
            format!("{pods}?a=1;fieldSelector=metadata.name%3Dp"),
            400,
        ),
        (M::GET, format!("{pods}/%ff"), 400),
        (M::GET, "/api/v1/watch".to_owned(), 404),
        (
            M::POST,
            "/api/v1/watch/namespaces/n/pods/p/exec".to_owned(),
            404,
        ),
        (
            M::DELETE,
            "/api/v1/watch/namespaces/n/pods/p".to_owned(),
            405,
        ),
        (
            M::GET,
            "/api/v1/watch/namespaces/n/pods/p?fieldSelector=metadata.name%3Dq".to_owned(),
            400,
        ),
        (M::GET, "/api/v1/namespaces/n/namespaces/m".to_owned(), 404),
        (M::DELETE, "/api/v1/namespaces/n/namespaces".to_owned(), 404),
    ] {
        assert_eq!(parsed(method, &uri), Err(code), "{uri}");
    }
}
