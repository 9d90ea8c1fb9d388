//! As much of HTTP/1.1 as this server needs: the head of a request, one response, close.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Bytes of a request's head that are read before giving up.
const MAX_HEAD_BYTES: u64 = 16 << 10;
/// Bytes of a request's body that are read and dropped, so that closing does not reset the connection.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// A request's first line, taken apart.
pub struct Request {
    pub method: String,
    pub path: String,
    query: String,
}

impl Request {
    /// Reads one request; `None` when the caller closed without a word or sent something else.
    pub fn read(stream: impl Read) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let mut head = (&mut reader).take(MAX_HEAD_BYTES);
        let mut first = String::new();
        head.read_line(&mut first)?;
        let mut body_bytes = 0;
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_bytes = value.trim().parse().unwrap_or(0);
            }
        }
        io::copy(
            &mut reader.take(body_bytes.min(MAX_BODY_BYTES)),
            &mut io::sink(),
        )?;
        Ok(Self::parse(&first))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    /// A query parameter's decoded value.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
    }
}

/// Undoes percent-encoding; what is not an escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a whole response of plain text.
pub fn respond(mut stream: impl Write, code: u16, body: &[u8], with_body: bool) -> io::Result<()> {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let mut response = format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if with_body {
        response.extend_from_slice(body);
    }
    stream.write_all(&response)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_apart() {
        let text =
            b"POST /file?path=%2Fetc%2Fa+b&x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        let request = Request::read(&text[..]).unwrap().unwrap();
        assert_eq!((&*request.method, &*request.path), ("POST", "/file"));
        assert_eq!(request.parameter("path").as_deref(), Some("/etc/a b"));
        assert_eq!(request.parameter("y"), None);
    }

    #[test]
    fn what_is_not_http_is_no_request() {
        for text in ["", "\r\n", "GET /\r\n\r\n", "\u{16}\u{3}\u{1} nonsense"] {
            assert!(
                Request::read(text.as_bytes()).unwrap().is_none(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
