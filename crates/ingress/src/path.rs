//! Paths of requests, as rules compare them.
//!
//! What a request is for is decided by what its path means, and passed on as it was written: a server that resolves `/a/../b` or
//! `/a//b` must not be reached by a rule for `/a` that lets in whom the one for `/b` keeps out.

/// Longest path that is looked at.
pub const MAX_BYTES: usize = 8 << 10;

/// The path with `%XX` decoded, and without empty, `.` and `..` segments. None of one that is too long, does not begin with `/`,
/// leads above the root or has a NUL.
pub fn normalize(path: &str) -> Option<String> {
    if path.len() > MAX_BYTES || !path.starts_with('/') {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    if decoded.contains('\0') {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = true;
    for segment in decoded.split('/') {
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop()?;
            }
            segment => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if directory {
        normal.push('/');
    }
    Some(normal)
}

/// The ways to be a prefix of a path element by element, the longest first: `/a/b`, `/a`, and the empty one.
pub fn prefixes(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let whole = path.strip_suffix('/').unwrap_or(path);
    std::iter::successors(Some(whole), |path| Some(path.rsplit_once('/')?.0))
        .filter(move |prefix| prefix.len() <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_by_what_they_mean() {
        let cases = [
            ("/", Some("/")),
            ("/a", Some("/a")),
            ("/a/", Some("/a/")),
            ("//a///b", Some("/a/b")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a/..", Some("/")),
            ("/a/.", Some("/a/")),
            ("/%61%2fb", Some("/a/b")),
            ("/x/%2e%2e/admin", Some("/admin")),
            ("/x%2f..%2fadmin", Some("/admin")),
            ("/..", None),
            ("/a/../../b", None),
            ("a", None),
            ("*", None),
            ("/%00", None),
            ("/a%ff", Some("/a\u{fffd}")),
        ];
        for (path, expected) in cases {
            assert_eq!(normalize(path).as_deref(), expected, "{path}");
        }
        assert_eq!(normalize(&format!("/{}", "a".repeat(MAX_BYTES))), None);
    }

    #[test]
    fn prefixes_by_element() {
        let all = |path| prefixes(path, MAX_BYTES).collect::<Vec<_>>();
        assert_eq!(all("/a/b"), ["/a/b", "/a", ""]);
        assert_eq!(all("/a/b/"), ["/a/b", "/a", ""]);
        assert_eq!(all("/"), [""]);
        assert_eq!(prefixes("/aaaa/b/c", 5).collect::<Vec<_>>(), ["/aaaa", ""]);
    }
}
