//! DELETE of one object and of a collection.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use knarr_api::verb;
use knarr_auth::{authz, request::RequestInfo};
use knarr_meta::{
    object,
    status::{self, Status},
};
use knarr_registry::{
    cache::entry::Entry,
    object_key,
    write::{DeleteOptions, Write},
};

use super::{
    ask::Ask,
    delete_options,
    list::{self, ListOptions},
    modify::write_of,
    render, shape,
};
use crate::{
    negotiate::Shapes,
    respond::{self, Answer},
};

/// Deletes of one collection under way at once: they share fsyncs.
const CONCURRENT_DELETES: usize = 32;

pub async fn delete(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = delete_options::parse(ask, &body)?;
    let name = ask.request.info.name;
    if let Some(why) = ask.kind().strategy.undeletable(name) {
        return Err(Status::forbidden(ask.group_resource(), name, why));
    }
    if options.only_unreadable {
        check_unreadable(ask)?;
    }
    let write = Write {
        options: &options,
        ..write_of(ask, options.dry_run)
    };
    let deleted = ask
        .core
        .registry
        .delete(&write, ask.request.info.name, &options)
        .await?;
    let code = match !deleted.gone && options.orphan_dependents == Some(false) {
        true => StatusCode::ACCEPTED,
        false => StatusCode::OK,
    };
    let returns = verb::returns_deleted(&ask.kind().group, &ask.kind().resource);
    if deleted.gone && !returns {
        let uid = object::uid(&deleted.entry.tree()).to_owned();
        let tree = status::success(&ask.group_resource(), ask.request.info.name, &uid);
        return Ok(respond::tree(code, &tree, accepted));
    }
    shape::object(ask, code, &deleted.entry, accepted).await
}

/// That the object is one that cannot be read, and that the user may delete such.
fn check_unreadable(ask: &Ask<'_>) -> Result<(), Status> {
    const VERB: &str = "unsafe-delete-ignore-read-errors";
    let name = ask.request.info.name;
    let wanted = RequestInfo {
        verb: VERB,
        ..ask.request.info.clone()
    };
    authz::check(&*ask.core.authorizer, ask.user, &wanted).map_err(|_| {
        let why = format!("not permitted to do {VERB:?}, reason: ");
        Status::forbidden(ask.group_resource(), name, why)
    })?;
    let key = object_key(ask.kind(), ask.namespace(), name);
    let resource = ask.core.registry.cache.of(ask.kind())?;
    match resource.get(&key) {
        None => Ok(()),
        Some(_) => Err(Status::conflict(
            ask.group_resource(),
            name,
            format_args!(
                "StorageError: invalid object, Code: 4, Key: {}{key}, ResourceVersion: 0, AdditionalErrorMsg: unsafe deletion \
                 is not allowed because the object is decodable from storage",
                resource.prefix
            ),
        )),
    }
}

/// Deletes everything selected; answers with the list of what it was before.
pub async fn collection(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::List)?;
    let mut list_options = ListOptions::parse(ask.request.query, false)?;
    list_options.pin();
    let options = delete_options::of_collection(ask, &body)?;
    let selection = list::filter(ask)?;
    let slice = match list::select(ask, &selection, &list_options).await? {
        Ok(slice) => slice,
        Err(expired) => return Ok(expired),
    };
    let write = Write {
        options: &options,
        ..write_of(ask, options.dry_run)
    };
    // Said of the request, whether there is anything to delete or not.
    write.warn_of_orphans(&options);
    let one = async |entry: &Arc<Entry>| {
        let (namespace, name) = entry.namespaced_name();
        let write = Write { namespace, ..write };
        match ask.core.registry.delete(&write, name, &options).await {
            // Someone else may have been faster.
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    };
    let () = stream::iter(&slice.entries)
        .map(one)
        .buffered(CONCURRENT_DELETES)
        .try_collect()
        .await?;
    if selection.filter.selects_everything() && selection.converted.is_none() {
        delete_damaged(ask, &write, &options).await?;
    }
    render::render(ask, slice, accepted).await
}

/// Those that no list shows, because they cannot be read, go with the collection too.
async fn delete_damaged(
    ask: &Ask<'_>,
    write: &Write<'_>,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let prefix = object_key(ask.kind(), ask.namespace(), "");
    for key in ask
        .core
        .registry
        .cache
        .of(ask.kind())?
        .damaged
        .under(&prefix)
    {
        let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
        let write = Write {
            namespace,
            ..*write
        };
        ask.core.registry.delete(&write, name, options).await?;
    }
    Ok(())
}
