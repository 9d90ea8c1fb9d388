//! How long a request may take: upstream's `WithRequestDeadline`.

use std::time::Duration;

use knarr_auth::query::Query;
use knarr_meta::{duration, status::Status};

/// A request that is not long-running gets this long, as upstream.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What `?timeout=` asks for, within [`REQUEST_TIMEOUT`]; `None` where it asks for nothing less.
///
/// # Errors
///
/// 400 for what is no duration.
pub fn asked(query: &Query<'_>) -> Result<Option<Duration>, Status> {
    let text = query.get("timeout");
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = duration::parse(text).map_err(|error| {
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - {error}"
        ))
    })?;
    // Zero is no limit of the client's own.
    let asked = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0);
    let asked = asked.map(Duration::from_nanos);
    Ok(asked.filter(|asked| *asked < REQUEST_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Option<u64>, &str>) {
        let query = Query::parse(text).expect("a query");
        let got = asked(&query);
        let got = got.map(|asked| asked.map(|asked| asked.as_millis() as u64));
        let got = got.map_err(|status| status.message);
        assert_eq!(got, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn only_less_than_the_limit_counts() {
        check("", Ok(None));
        check("timeout=", Ok(None));
        check("timeout=1500ms", Ok(Some(1500)));
        check("timeout=34s", Ok(Some(34_000)));
        check("timeout=0s", Ok(None));
        check("timeout=-5s", Ok(None));
        check("timeout=1h", Ok(None));
        check(
            "timeout=5",
            Err(
                "invalid timeout specified in the request URL - time: missing unit in duration \"5\"",
            ),
        );
    }
}
