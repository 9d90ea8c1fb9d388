use std::io::{Read, Write};

use flate2::{
    Compression,
    read::{DeflateDecoder, GzDecoder},
    write::{DeflateEncoder, GzEncoder},
};
use futures::TryStreamExt;
use http::HeaderValue;

use super::*;
use crate::backend::Location;

const PREFIX: &str = "/api/v1/namespaces/shop/pods/web/proxy";

fn rewriter() -> Rewriter {
    let path = format!("{PREFIX}/logs/log.log");
    let location = Location {
        path: &path,
        rest: "logs/log.log",
        query: "",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("api:6443"));
    Rewriter::new(&location, "10.42.0.5:80".to_owned(), &headers)
}

/// A page in pieces of some size, as it comes out.
async fn passed(page: &[u8], coding: &'static str, size: usize) -> Result<Vec<u8>, BoxError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    let links = Links::new(Coding::of(&headers).expect("a coding"), rewriter());
    let pieces: Vec<_> = page
        .chunks(size)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let out = rewritten(futures::stream::iter(pieces), links);
    let out: Vec<Bytes> = out.try_collect().await?;
    Ok(out.concat())
}

async fn rewrite(page: &str) -> String {
    let whole = passed(page.as_bytes(), "", usize::MAX)
        .await
        .expect("a page");
    for size in [1, 7] {
        let again = passed(page.as_bytes(), "", size).await.expect("a page");
        assert!(again == whole, "in pieces of {size}");
    }
    String::from_utf8(whole).expect("text")
}

/// Upstream's attributes, said once more: its table is the fact.
#[tokio::test]
async fn every_attribute_of_upstreams_table_is_rewritten() {
    for (tag, attributes) in [
        ("a", "href"),
        ("applet", "codebase"),
        ("area", "href"),
        ("audio", "src"),
        ("base", "href"),
        ("blockquote", "cite"),
        ("body", "background"),
        ("button", "formaction"),
        ("command", "icon"),
        ("del", "cite"),
        ("embed", "src"),
        ("form", "action"),
        ("frame", "longdesc src"),
        ("head", "profile"),
        ("html", "manifest"),
        ("iframe", "longdesc src"),
        ("img", "longdesc src usemap"),
        ("input", "src usemap formaction"),
        ("ins", "cite"),
        ("link", "href"),
        ("object", "classid codebase data usemap"),
        ("q", "cite"),
        ("script", "src"),
        ("source", "src"),
        ("video", "poster src"),
    ] {
        for attribute in attributes.split(' ') {
            let page = format!("<{tag} {attribute}=\"/x\" title=\"/x\">");
            let wanted = format!("<{tag} {attribute}=\"{PREFIX}/x\" title=\"/x\">");
            assert_eq!(rewrite(&page).await, wanted);
        }
    }
    // What upstream leaves out.
    for page in [
        "<img srcset=\"/x\">",
        "<a src=\"/x\">",
        "<track src=\"/x\">",
        "<div style=\"background: url(/x)\" data-href=\"/x\">",
        "<!-- <a href=\"/x\"> -->",
        "<script>document.write('<a href=\"/x\">')</script>",
        "<textarea><a href=\"/x\"></textarea>",
    ] {
        assert_eq!(rewrite(page).await, page);
    }
}

/// The cases of upstream's `transport_test.go`, for a server that does not know by which name it is called.
#[tokio::test]
async fn links_of_this_server_go_through_the_proxy() {
    for (link, wanted) in [
        ("kubelet.log", "kubelet.log"),
        ("../x", "../x"),
        ("#top", "#top"),
        ("?x=1", "?x=1"),
        ("", ""),
        ("mailto:a@b", "mailto:a@b"),
        ("javascript:f('/x')", "javascript:f('/x')"),
        ("/google.log", "PREFIX/google.log"),
        ("/google.log/", "PREFIX/google.log/"),
        ("/", "PREFIX/"),
        ("/a?b=/c#/d", "PREFIX/a?b=/c#/d"),
        ("/a?b=1&amp;c=2", "PREFIX/a?b=1&amp;c=2"),
        ("http://google.com/k.js", "http://google.com/k.js"),
        ("//google.com/k.js", "//google.com/k.js"),
        ("http://10.42.0.5:80/k.js", "PREFIX/k.js"),
        ("//10.42.0.5:80/k.js", "PREFIX/k.js"),
        ("http://10.42.0.5:80", "http://10.42.0.5:80"),
        ("http://api:6443/k.js", "http://api:6443PREFIX/k.js"),
        ("PREFIX/k.js", "PREFIX/k.js"),
        ("http://api:6443PREFIX/k.js", "http://api:6443PREFIX/k.js"),
        ("/bad%zz", "/bad%zz"),
        ("/a b/ü", "PREFIX/a%20b/%C3%BC"),
    ] {
        let put = |text: &str| format!("<p><a href=\"{}\">x</a>", text.replace("PREFIX", PREFIX));
        assert_eq!(rewrite(&put(link)).await, put(wanted), "{link}");
    }
}

#[tokio::test]
async fn the_rest_of_a_page_is_as_it_was() {
    let page = "<!DOCTYPE html><HTML><body class=a  id='b'>\r\n<Img SRC='/x.png'/>&amp; ü <b>unclosed<p>\u{0}";
    assert_eq!(
        rewrite(page).await,
        format!(
            "<!DOCTYPE html><HTML><body class=a  id='b'>\r\n<Img SRC=\"{PREFIX}/x.png\" />&amp; ü <b>unclosed<p>\u{0}"
        )
    );
    let bytes = b"<p>\xff\xfe<a href=\"/x\">\xe9";
    let out = passed(bytes, "", 3).await.expect("a page");
    assert!(out.starts_with(b"<p>\xff\xfe<a href=") && out.ends_with(b"\">\xe9"));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("a write");
    encoder.finish().expect("an end")
}

fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("a write");
    encoder.finish().expect("an end")
}

#[tokio::test]
async fn compressed_pages_stay_compressed() {
    let long = "long body test".repeat(4_097);
    for text in ["short body test", long.as_str()] {
        let page = format!("<a href=\"/x\">{text}</a>");
        let wanted = format!("<a href=\"{PREFIX}/x\">{text}</a>");
        let mut plain = String::new();
        for size in [1, 1_000, usize::MAX] {
            plain.clear();
            let out = passed(&gzip(&page), "gzip", size).await.expect("a page");
            GzDecoder::new(&*out)
                .read_to_string(&mut plain)
                .expect("gzip");
            assert!(plain == wanted);
            plain.clear();
            let out = passed(&deflate(&page), "deflate", size)
                .await
                .expect("a page");
            DeflateDecoder::new(&*out)
                .read_to_string(&mut plain)
                .expect("deflate");
            assert!(plain == wanted);
        }
    }
}

#[tokio::test]
async fn a_page_that_breaks_off_or_is_no_page_ends_with_an_error() {
    let whole = gzip(&"<a href=\"/x\">".repeat(1_000));
    assert!(passed(&whole[..whole.len() / 2], "gzip", 64).await.is_err());
    assert!(passed(b"no gzip at all", "gzip", 64).await.is_err());
}

/// A tag that does not end, and one that ends too late: both pass as they are, and what is held of them is bounded.
#[tokio::test]
async fn a_page_of_one_tag_takes_bounded_memory() {
    let tag = format!("<a title=\"{}", "x".repeat(3 * MEMORY_BYTES));
    for page in [tag.clone(), format!("{tag}\" href=\"/x\"><a href=\"/y\">")] {
        let out = passed(page.as_bytes(), "", 64 << 10).await.expect("a page");
        assert!(out == page.as_bytes(), "{} of {}", out.len(), page.len());
    }
    // Pages are not held: what came before leaves at once.
    let mut links = Links::new(Coding::Identity, rewriter());
    let page = "<p>text</p>".repeat(10_000);
    let out = links.write(page.as_bytes()).expect("a piece");
    assert!(out.len() + 100 > page.len(), "{}", out.len());
}

#[test]
fn pages_are_told_by_their_type() {
    for (kind, wanted) in [
        ("text/html", true),
        ("text/html; charset=utf-8", true),
        (" text/html ;x", true),
        ("text/plain", false),
        ("application/xhtml+xml", false),
        ("", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        assert_eq!(is_page(&headers), wanted, "{kind}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    assert!(Coding::of(&headers).is_none());
}
