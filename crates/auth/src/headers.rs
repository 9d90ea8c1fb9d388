//! Header values as text.
//!
//! A header that is present and cannot be understood refuses the request: to go on without it would do something else than the
//! client asked for, in the worst case with more rights.

use http::{HeaderMap, HeaderName};
use knarr_meta::status::Status;

/// The first value of a header, as Go's `Header.Get`; empty where absent.
///
/// # Errors
/// 400 where it is no UTF-8.
pub fn text<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<&'r str, Status> {
    match headers.get(name) {
        None => Ok(""),
        Some(value) => decode(name.as_str(), value.as_bytes()),
    }
}

/// Every value of a header.
///
/// # Errors
/// 400 where one is no UTF-8.
pub fn texts<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Vec<&'r str>, Status> {
    let values = headers.get_all(name).into_iter();
    values
        .map(|value| decode(name.as_str(), value.as_bytes()))
        .collect()
}

fn decode<'r>(name: &str, value: &'r [u8]) -> Result<&'r str, Status> {
    std::str::from_utf8(value).map_err(|_| {
        Status::bad_request(format!("the value of the header {name} is not valid UTF-8"))
    })
}
