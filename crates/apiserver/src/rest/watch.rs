//! Watches.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use http::{Response, StatusCode};
use knarr_meta::status::Status;
use knarr_registry::cache::{
    Cache,
    output::{Frames, View},
    sharing::Shared,
    watcher::{Start, WatchOptions, Watcher},
};
use knarr_states::{Change, Changes, Offer};

use super::{
    ask::Ask,
    convert::{self, Raw},
    list::{ListOptions, Match, filter},
    shape::{IncludeObject, ShapeView},
};
use crate::{
    body::{Body, BoxError},
    negotiate::{Encoding, Shapes, not_acceptable},
    respond::{self, Answer, with_type},
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
    let place = match ask.component {
        true => None,
        false => Some(ask.core.limits.watch(&ask.user.name)?),
    };
    // Lives as long as the stream.
    let guard = (ask.core.metrics.watch_opened(), place, ask.audit.ending());
    let wanted = WatchOptions {
        filter: selection.filter,
        start,
        bookmarks: options.allow_bookmarks,
        timeout,
    };
    if ask.is_shared(accepted) {
        let changes = Watcher::new(cache.clone(), resource, wanted, Shared::default());
        return Ok(shared(&cache, holding(guard, changes)));
    }
    let converting = ask.kind().strategy.conversion().is_some();
    let shape = Arc::new(ShapeView::new(&cache, served, accepted, include));
    let view = match converting {
        true => Some(Arc::new(Raw(shape.clone())) as Arc<dyn View>),
        false => shape.clone().if_needed(),
    };
    let frames = Frames::new(resource.kind.clone(), view);
    let watcher = Watcher::new(cache, resource, wanted, frames);
    let frames = match converting {
        true => {
            let registry = ask.core.registry.clone();
            convert::watch(registry, watcher, shape, selection.converted)
        }
        false => watcher.boxed(),
    };
    let stream = holding(guard, frames).map(Ok::<_, BoxError>);
    let content_type = accepted.encoding.watch_content_type();
    let response: Response<Body> = with_type(StatusCode::OK, content_type, Body::stream(stream));
    Ok(response)
}

/// The stream with what it holds until it is dropped.
fn holding<G, S>(guard: G, stream: S) -> impl Stream<Item = S::Item> + Send + 'static
where
    G: Send + 'static,
    S: Stream + Send + 'static,
{
    stream.map(move |item| {
        let _ = &guard;
        item
    })
}

/// The answer to an informer of this process.
fn shared(
    cache: &Cache,
    events: impl Stream<Item = Vec<Change>> + Send + 'static,
) -> Response<Body> {
    let changes = Changes {
        events: events.boxed(),
        recent: cache.recent.clone(),
    };
    let mut response = respond::json(StatusCode::OK, Body::empty());
    response.extensions_mut().insert(Offer::new(changes));
    response
}

/// Where the watch begins, after waiting for what it asks to be at least as new as.
async fn start(ask: &Ask<'_>, options: &ListOptions) -> Result<Start, Status> {
    let cache = &ask.core.registry.cache;
    // Who asks for the state without saying how is told of its end, too.
    let unsaid = options.send_initial_events.is_none() && options.version_match == Match::Unset;
    let annotated =
        options.allow_bookmarks && (unsaid || options.send_initial_events == Some(true));
    match (options.resource_version, options.send_initial_events) {
        (version, Some(true)) => {
            let reached = match version {
                None => cache.fresh().await,
                Some(version) => cache.at_least(version).await,
            };
            // The watch has begun by then: its first event says that there is no state so new.
            Ok(match reached {
                Ok(()) => Start::Now { annotated },
                Err(status) => Start::Failed(Box::new(status)),
            })
        }
        (None | Some(0), Some(false)) => {
            cache.fresh().await?;
            Ok(Start::After(cache.of(ask.kind())?.revision()))
        }
        (None, None) => {
            cache.fresh().await?;
            Ok(Start::Now { annotated })
        }
        (Some(0), None) => Ok(Start::Now { annotated }),
        (Some(version), _) => Ok(Start::After(version)),
    }
}
