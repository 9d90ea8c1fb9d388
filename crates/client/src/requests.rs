//! How many requests a client has sent, and what came of them: client-go's `rest_client_requests_total`.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use parking_lot::Mutex;

/// What upstream calls the code of a request that was not answered.
const NO_ANSWER: &str = "<error>";

/// Requests of clients that share it.
#[derive(Debug, Default)]
pub struct Requests(Mutex<BTreeMap<(&'static str, Option<StatusCode>), u64>>);

impl Requests {
    /// Counts one; `code` is that of the answer.
    pub(crate) fn count(&self, method: &Method, code: Option<StatusCode>) {
        let mut all = self.0.lock();
        *all.entry((known(method), code)).or_default() += 1;
    }

    /// Code and method, with how many requests there were.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let all = self.0.lock();
        let told = |code: &Option<StatusCode>| match code {
            Some(code) => code.as_str().to_owned(),
            None => NO_ANSWER.to_owned(),
        };
        all.iter()
            .map(|((method, code), count)| (told(code), *method, *count))
            .collect()
    }
}

/// Names of methods are few, whoever makes them up.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "OTHER",
    }
}
