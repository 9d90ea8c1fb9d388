//! The links of proxied pages, rewritten as they pass.
//!
//! Nothing is held but a tag that has not ended, in bounded memory; a page that needs more passes as it is from there on. Upstream
//! holds the whole page.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, Method, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lol_html::{
    AsciiCompatibleEncoding, MemorySettings, Selector,
    errors::RewritingError,
    send::{Element, ElementContentHandlers, HtmlRewriter, Settings},
};
use parking_lot::Mutex;

use super::{coding::Coding, rewrite::Rewriter};
use crate::{
    body::{Body, BoxError},
    passing,
    server::limits::Place,
};

/// Most memory that the tags of one page take.
const MEMORY_BYTES: usize = 1 << 20;
/// Compressed bytes that are looked at in one turn: they may be a thousand times as many.
const PIECE_BYTES: usize = 4 << 10;

/// The attributes that hold a URL, by tag: upstream's `atomsToAttrs`.
const ATTRIBUTES: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Selects the tags of [`ATTRIBUTES`].
static TAGS: LazyLock<Option<Selector>> = LazyLock::new(|| {
    let tags = ATTRIBUTES.map(|(tag, _)| tag);
    tags.join(",").parse().ok()
});

/// Passes an answer on, with its links rewritten where it is a page in a coding that is understood.
pub fn streamed(
    response: Response<Incoming>,
    method: &Method,
    rewriter: Rewriter,
    place: Place,
) -> Response<Body> {
    let coding = Coding::of(response.headers()).filter(|_| is_page(response.headers()));
    let (Some(coding), true) = (coding, method != Method::HEAD) else {
        return passing::streamed(response, place);
    };
    let (mut head, body) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let links = Links::new(coding, rewriter);
    let pieces = body
        .into_data_stream()
        .map(|piece| piece.map_err(BoxError::from));
    passing::answer(&head, rewritten(pieces, links), place)
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim() == "text/html"
}

/// The pieces of a page as they come out; an error ends it.
fn rewritten(
    pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    links: Links,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let state = (Box::pin(pieces), Some(links), Bytes::new());
    futures::stream::unfold(state, async |(mut pieces, mut links, mut piece)| {
        let turn = async {
            loop {
                let Some(page) = links.as_mut() else {
                    return Ok(None);
                };
                if piece.is_empty() {
                    match pieces.next().await {
                        Some(next) => piece = next?,
                        None => {
                            let end = links.take().map(Links::end).transpose()?;
                            return Ok(end.filter(|end| !end.is_empty()));
                        }
                    }
                }
                let out = page.write(&piece.split_to(piece.len().min(PIECE_BYTES)))?;
                if !out.is_empty() {
                    return Ok(Some(out));
                }
            }
        };
        let out: Result<Option<Bytes>, BoxError> = turn.await;
        if out.is_err() {
            links = None;
        }
        out.transpose().map(|out| (out, (pieces, links, piece)))
    })
}

/// Takes what leaves a page.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// One page on its way.
struct Links {
    coding: Coding,
    /// `None` once a tag needed more memory than it may: what was held has left, and the rest passes as it is.
    page: Option<HtmlRewriter<'static, Sink>>,
    /// What has left the page.
    out: Arc<Mutex<Vec<u8>>>,
}

impl Links {
    fn new(coding: Coding, rewriter: Rewriter) -> Links {
        let memory = MemorySettings::new()
            .with_max_allowed_memory_usage(MEMORY_BYTES)
            .with_graceful_bail_out_on_memory_limit_exceeded(true);
        let mut settings = Settings::new_send()
            // Bytes that are no UTF-8 pass as they are; upstream takes every page for UTF-8 too.
            .with_encoding(AsciiCompatibleEncoding::utf_8())
            .with_memory_settings(memory)
            .with_strict(false);
        if let Some(tags) = TAGS.as_ref() {
            let handlers =
                ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
                    rewrite_element(element, &rewriter);
                    Ok(())
                });
            settings = settings
                .append_element_content_handler((std::borrow::Cow::Borrowed(tags), handlers));
        }
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = out.clone();
        let sink: Sink = Box::new(move |bytes| sink.lock().extend_from_slice(bytes));
        Links {
            coding,
            page: Some(HtmlRewriter::new(settings, sink)),
            out,
        }
    }

    /// Takes a piece of the page; what can leave it by now.
    fn write(&mut self, piece: &[u8]) -> Result<Bytes, BoxError> {
        let plain = self.coding.decode(piece)?;
        self.rewrite(&plain)?;
        let out = std::mem::take(&mut *self.out.lock());
        Ok(self.coding.encode(out)?)
    }

    fn end(mut self) -> Result<Bytes, BoxError> {
        let plain = self.coding.decoded()?;
        self.rewrite(&plain)?;
        if let Some(page) = self.page.take() {
            tolerate(page.end())?;
        }
        let out = std::mem::take(&mut *self.out.lock());
        Ok(self.coding.encoded(out)?)
    }

    fn rewrite(&mut self, plain: &[u8]) -> Result<(), BoxError> {
        match &mut self.page {
            None => self.out.lock().extend_from_slice(plain),
            Some(page) => {
                if !tolerate(page.write(plain))? {
                    self.page = None;
                }
            }
        }
        Ok(())
    }
}

/// False where the limit of memory was met: the rewriter has let go of all it held, and is of no more use.
fn tolerate(result: Result<(), RewritingError>) -> Result<bool, BoxError> {
    match result {
        Ok(()) => Ok(true),
        Err(RewritingError::MemoryLimitExceeded(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn rewrite_element(element: &mut Element<'_, '_>, rewriter: &Rewriter) {
    let tag = element.tag_name();
    let known = ATTRIBUTES.iter().find(|(name, _)| *name == tag);
    for name in known.map_or(&[][..], |(_, names)| names) {
        let url = element
            .get_attribute(name)
            .and_then(|url| rewriter.url(&url));
        if let Some(url) = url
            && let Err(error) = element.set_attribute(name, &url)
        {
            tracing::debug!(%error, name, "a link cannot be rewritten");
        }
    }
}

#[cfg(test)]
mod tests;
