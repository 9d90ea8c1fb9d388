//! The REST verbs: from a parsed request to an answer, the same for every kind.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod apply;
pub mod ask;
mod budget;

pub mod continuation;
mod convert;
pub mod decode;
pub mod delete;
pub mod delete_options;
mod eviction;
pub mod list;
pub mod messages;
pub mod modify;
pub mod patch;
pub mod pods;
pub mod read;
pub mod render;
mod rows;
pub mod scale;
pub mod shape;
mod version;
pub mod virtuals;
pub mod watch;

use bytes::Bytes;
use knarr_api::{
    Kind,
    kind::{Part, Verb},
};
use knarr_meta::{object, status::Status};
use knarr_registry::{cache::filter::Filter, object_key};
use serde_json::Value;

use self::ask::Ask;
pub use crate::verbs::long_running;
use crate::{respond::Answer, yaml};

/// Whether upstream's router knows a request of this verb for a kind's objects: what it does not know it warns of nothing.
pub fn is_routed(kind: &Kind, verb: &str) -> bool {
    let has = |verb| kind.verbs.contains(&verb);
    match verb {
        "create" => has(Verb::Create),
        "update" => has(Verb::Update),
        "patch" => has(Verb::Patch),
        "delete" => has(Verb::Delete),
        "deletecollection" => has(Verb::DeleteCollection),
        _ => true,
    }
}

/// Answers a GET of an object.
pub async fn get(ask: &Ask<'_>) -> Answer {
    match ask.kind().verbs.contains(&Verb::Get) {
        true if ask.kind().storage.is_none() => virtuals::get(ask).await,
        true => read::get(ask).await,
        false => Err(Status::method_not_allowed()),
    }
}

/// Answers requests without a body.
pub async fn read(ask: &Ask<'_>) -> Answer {
    let (kind, info) = (ask.kind(), &ask.request.info);
    let verb = match info.verb {
        "list" => Verb::List,
        "watch" => Verb::Watch,
        _ => Verb::Get,
    };
    if info.subresource.is_empty() {
        if !kind.verbs.contains(&verb) {
            // A watch comes to where lists are made, if there are any: what it asks for is looked at first.
            if verb != Verb::Watch || !kind.verbs.contains(&Verb::List) {
                return Err(Status::method_not_allowed());
            }
            list::ListOptions::parse(ask.request.query, true)?;
            Filter::new(kind, ask.namespace(), ask.request.selectors()?)?;
            return Err(Status::method_not_supported(ask.group_resource(), "watch"));
        }
        return match verb {
            Verb::List if kind.storage.is_none() => virtuals::list(ask).await,
            Verb::Get if kind.storage.is_none() => virtuals::get(ask).await,
            Verb::List => list::list(ask).await,
            Verb::Watch => watch::watch(ask).await,
            _ => read::get(ask).await,
        };
    }
    if info.verb != "get" {
        return Err(Status::method_not_allowed());
    }
    allowed(ask, Verb::Get)?;
    match info.subresource {
        "scale" => scale::get(ask).await,
        "log" => pods::log(ask).await,
        _ => read::get(ask).await,
    }
}

/// Answers requests that may have a body.
pub async fn write(ask: &Ask<'_>, body: Bytes) -> Answer {
    let (kind, info) = (ask.kind(), &ask.request.info);
    let verb = match info.verb {
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        _ => return Err(Status::method_not_allowed()),
    };
    // Admission and handlers judge by the cache: it must have what was acknowledged before.
    ask.core.registry.cache.fresh().await?;
    if !info.subresource.is_empty() {
        allowed(ask, verb)?;
        return subresource(ask, verb, body).await;
    }
    // A name decides between POST, which has none, and the rest, which need one.
    let named = !info.name.is_empty();
    let wants_name = matches!(verb, Verb::Update | Verb::Patch | Verb::Delete);
    if !kind.verbs.contains(&verb) || named != wants_name {
        return Err(match kind.verbs.contains(&verb) {
            // A definition that goes takes no more objects.
            false if verb == Verb::Create && !named && !kind.is_built_in() => {
                let why = "create not allowed while custom resource definition is terminating";
                Status::forbidden(ask.group_resource(), &own_name(&body), why)
            }
            true | false => Status::method_not_allowed(),
        });
    }
    match verb {
        Verb::Create if kind.storage.is_none() => virtuals::create(ask, body).await,
        Verb::Create => modify::create(ask, body).await,
        Verb::Update => modify::update(ask, body, Part::Main).await,
        Verb::Patch => patch::patch(ask, body, Part::Main).await,
        Verb::Delete => delete::delete(ask, body).await,
        _ => delete::collection(ask, body).await,
    }
}

/// The name that a body gives its object; empty where it is not read.
fn own_name(body: &[u8]) -> String {
    let tree: Option<Value> = serde_json::from_slice(body).ok();
    let tree = tree.or_else(|| yaml::parse(body).ok());
    tree.map_or_else(String::new, |tree| object::name(&tree).to_owned())
}

/// Size of the object that a write names, as it is stored.
pub fn stored_bytes(ask: &Ask<'_>) -> usize {
    let name = ask.request.info.name;
    let Ok(resource) = ask.core.registry.cache.of(ask.kind()) else {
        return 0;
    };
    let key = object_key(ask.kind(), ask.namespace(), name);
    resource.get(&key).map_or(0, |entry| entry.size())
}

async fn subresource(ask: &Ask<'_>, verb: Verb, body: Bytes) -> Answer {
    match (ask.request.info.subresource, verb) {
        ("status", Verb::Update) => modify::update(ask, body, Part::Status).await,
        ("status", Verb::Patch) => patch::patch(ask, body, Part::Status).await,
        ("scale", Verb::Update) => scale::update(ask, body).await,
        ("scale", Verb::Patch) => scale::patch(ask, body).await,
        ("binding", Verb::Create) => pods::bind(ask, body).await,
        ("eviction", Verb::Create) => eviction::evict(ask, body).await,
        (_, Verb::Create) => virtuals::create(ask, body).await,
        (_, verb) => {
            let name = ask
                .kind()
                .subresource(ask.request.info.subresource)
                .map_or("", |s| s.name);
            match verb {
                Verb::Update => modify::update(ask, body, Part::Subresource(name)).await,
                Verb::Patch => patch::patch(ask, body, Part::Subresource(name)).await,
                _ => Err(Status::method_not_allowed()),
            }
        }
    }
}

/// 404 for a subresource the kind does not have, 405 for a verb the subresource does not have.
pub fn allowed(ask: &Ask<'_>, verb: Verb) -> Result<(), Status> {
    let info = &ask.request.info;
    let missing = || match ask.kind().is_built_in() {
        true => Status::path_not_found(),
        // Upstream finds the definition first, and then no part of the object by this name.
        false => Status::not_found(ask.group_resource(), info.name),
    };
    let subresource = ask
        .kind()
        .subresource(info.subresource)
        .ok_or_else(missing)?;
    match subresource.verbs.contains(&verb) && !ask.request.info.name.is_empty() {
        true => Ok(()),
        false => Err(Status::method_not_allowed()),
    }
}
