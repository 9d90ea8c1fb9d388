//! Watches.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use http::{Response, StatusCode};
use knarr_meta::status::Status;
use knarr_registry::cache::watcher::{Start, WatchOptions, Watcher};

use super::{
    ask::Ask,
    convert::{self, Raw},
    list::{ListOptions, filter},
    shape::{IncludeObject, ShapeView},
};
use crate::{
    body::{Body, BoxError},
    negotiate::{Encoding, Shapes, not_acceptable},
    respond::{Answer, with_type},
};

/// The server ends a watch after this long or up to twice as long, chosen at random.
const MIN_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Answers a watch: the head at once, then events until the timeout.
pub async fn watch(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    if accepted.encoding == Encoding::Yaml {
        return Err(not_acceptable());
    }
    let options = ListOptions::parse(ask.request.query, true)?;
    let selection = filter(ask)?;
    let include = IncludeObject::parse(ask.request.query.get("includeObject"))?;
    let served = ask.served.clone();
    let cache = ask.core.registry.cache.clone();
    let resource = cache.of(ask.kind())?;
    let start = start(ask, &options).await?;
    let timeout = options
        .timeout
        .unwrap_or_else(|| MIN_TIMEOUT.mul_f64(1.0 + fastrand::f64()));
    let converting = ask.kind().strategy.conversion().is_some();
    let view = Arc::new(ShapeView::new(&cache, served, accepted, include));
    let watcher = Watcher::new(
        cache,
        resource,
        WatchOptions {
            filter: selection.filter,
            view: match converting {
                true => Some(Arc::new(Raw(view.clone()))),
                false => view.clone().if_needed(),
            },
            start,
            bookmarks: options.allow_bookmarks,
            timeout,
        },
    );
    let frames = match converting {
        true => {
            let registry = ask.core.registry.clone();
            convert::watch(registry, watcher, view, selection.converted)
        }
        false => watcher.boxed(),
    };
    let place = match ask.component {
        true => None,
        false => Some(ask.core.limits.watch(&ask.user.name)?),
    };
    let guard = (ask.core.metrics.watch_opened(), place);
    let stream = frames.map(move |frame| {
        // Lives as long as the stream.
        let _ = &guard;
        Ok::<_, BoxError>(frame)
    });
    let content_type = accepted.encoding.watch_content_type();
    let response: Response<Body> = with_type(StatusCode::OK, content_type, Body::stream(stream));
    Ok(response)
}

/// Where the watch begins, after waiting for what it asks to be at least as new as.
async fn start(ask: &Ask<'_>, options: &ListOptions) -> Result<Start, Status> {
    let cache = &ask.core.registry.cache;
    let annotated = options.send_initial_events == Some(true) && options.allow_bookmarks;
    match (options.resource_version, options.send_initial_events) {
        (version, Some(true)) => {
            match version {
                None => cache.fresh().await?,
                Some(version) => cache.at_least(version).await?,
            }
            Ok(Start::Now { annotated })
        }
        (None | Some(0), Some(false)) => {
            cache.fresh().await?;
            Ok(Start::After(cache.of(ask.kind())?.revision()))
        }
        (None, None) => {
            cache.fresh().await?;
            Ok(Start::Now { annotated: false })
        }
        (Some(0), None) => Ok(Start::Now { annotated: false }),
        (Some(version), _) => Ok(Start::After(version)),
    }
}
