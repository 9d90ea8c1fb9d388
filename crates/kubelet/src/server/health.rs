//! `/healthz` with its checks, and what came of them: upstream's `healthz.InstallHandler` and `slis`.

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{Body, not_found, summary, text};
use crate::{logs::read::pairs, stats::Checks};

/// Answers for all checks, or for the one that is named.
pub(super) fn serve(checks: &Checks, name: Option<&str>, query: &str) -> Response<Body> {
    if let Some(name) = name {
        return match Checks::has(name) {
            true => text(StatusCode::OK, "ok"),
            false => not_found(),
        };
    }
    let query = pairs(query);
    let of = |wanted: &str| {
        let found = query.iter().filter(move |(key, _)| key == wanted);
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let excluded = of("exclude");
    let mut said = String::new();
    for (check, left_out) in checks.make(|name| excluded.iter().any(|e| e == name)) {
        let result = if left_out { "excluded: ok" } else { "ok" };
        said.push_str(&format!("[+]{check} {result}\n"));
    }
    let mut unknown: Vec<String> = excluded
        .into_iter()
        .filter(|name| !Checks::has(name))
        .map(|name| format!("{name:?}"))
        .collect();
    unknown.sort();
    unknown.dedup();
    if !unknown.is_empty() {
        let names = unknown.join(",");
        said.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {names}\n"
        ));
    }
    said.push_str("healthz check passed\n");
    let body = match of("verbose").is_empty() {
        true => "ok".to_owned(),
        false => said,
    };
    let mut response = text(StatusCode::OK, body);
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// `/metrics/slis`, which a DELETE begins anew.
pub(super) fn indicators(checks: &Checks, method: &Method) -> Response<Body> {
    if *method == Method::DELETE {
        checks.reset();
        return text(StatusCode::OK, "metrics reset\n");
    }
    summary::prometheus(checks.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn said(name: Option<&str>, query: &str) -> (u16, String) {
        let answer = serve(&Checks::default(), name, query);
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn checks_are_told_to_those_who_ask_for_them() {
        for (name, query, status, wanted) in [
            (None, "", 200, "ok"),
            (Some("ping"), "", 200, "ok"),
            (Some("syncloop"), "verbose", 200, "ok"),
            (Some("other"), "", 404, "404 page not found\n"),
            (
                None,
                "verbose",
                200,
                "[+]ping ok\n[+]log ok\n[+]syncloop ok\n[+]device-plugin ok\nhealthz check passed\n",
            ),
            (
                None,
                "verbose=1&exclude=log&exclude=x",
                200,
                "[+]ping ok\n[+]log excluded: ok\n[+]syncloop ok\n[+]device-plugin ok\n\
                 warn: some health checks cannot be excluded: no matches for \"x\"\n\
                 healthz check passed\n",
            ),
        ] {
            let told = said(name, query).await;
            assert_eq!(told, (status, wanted.to_owned()), "{name:?} {query}");
        }
    }
}
