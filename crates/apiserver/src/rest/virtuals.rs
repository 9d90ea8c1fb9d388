//! What is never stored: reviews and tokens are posted, the health of components is read.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use knarr_admission::request::Operation;
use knarr_api::{core::component_status, kind::Part, schema::written};
use knarr_meta::{GroupResource, status::Status};
use knarr_registry::{
    cache::{
        entry::{self, Entry},
        filter::Filter,
        resource::Slice,
    },
    managed::Managed,
    write::{
        Phase, check_namespace, create,
        owners::{self, When},
    },
};

use super::{
    ask::{Ask, WriteOptions},
    decode::{self, Expected},
    modify::managed_write_of,
    pods, render, shape,
};
use crate::{
    handlers::{CreateHandler, Creation},
    negotiate::Shapes,
    respond::{self, Answer},
};

/// Answers a GET of what is made when it is read.
pub async fn get(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let name = ask.request.info.name;
    let entries = component_statuses(ask).await;
    let entry = entries.iter().find(|entry| &*entry.key == name);
    let entry = entry.ok_or_else(|| {
        // Upstream names it as one, here alone.
        let one = GroupResource::new("", ask.kind().singular.to_string());
        Status::not_found(one, name)
    })?;
    shape::object(ask, StatusCode::OK, entry, accepted).await
}

/// Answers a list of what is made when it is read: all of it, of no revision.
pub async fn list(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::List)?;
    let filter = Filter::new(ask.kind(), ask.namespace(), ask.request.selectors()?)?;
    let mut entries = component_statuses(ask).await;
    entries.retain(|entry| filter.matches(entry));
    let slice = Slice {
        revision: 0,
        entries,
        more: false,
        remaining: None,
    };
    render::render(ask, slice, accepted).await
}

/// The only kind of this sort.
async fn component_statuses(ask: &Ask<'_>) -> Vec<Arc<Entry>> {
    let core = ask.core;
    let health = core.components.health(&core.registry.cache).await;
    let entries = health.iter().map(|(name, health)| {
        let json = entry::encode(&component_status::of(name, health));
        Arc::new(Entry::bare(ask.kind(), (*name).to_owned(), 0, json))
    });
    entries.collect()
}

/// Answers a POST through the handler registered for the resource or `resource/subresource`.
pub async fn create(ask: &Ask<'_>, body: Bytes) -> Answer {
    let accepted = ask.accepted(Shapes::None)?;
    let kind = ask.kind();
    if kind.storage.is_none()
        && !ask
            .core
            .handlers
            .contains_key(&(&*kind.group, &*kind.resource))
    {
        // Bindings are posted to a resource of their own as well as to the pod.
        return pods::bind(ask, body).await;
    }
    let options = WriteOptions::parse(ask.request, "CreateOptions")?;
    let handler = handler(ask)?;
    let definition;
    let expected = match kind
        .subresource(ask.request.info.subresource)
        .and_then(|s| s.kind)
    {
        None => Expected::of(ask),
        Some((group, version, kind)) => {
            definition = definition_of(group, version, kind);
            Expected {
                group,
                version,
                kind,
                definition: &definition,
                strategy: None,
                emptied: None,
            }
        }
    };
    let mut tree = decode::body(ask, &body, &expected, options.validation)?;
    let write = managed_write_of(ask, &options);
    create::forget_system_fields(&mut tree);
    check_namespace(&write, &mut tree)?;
    owners::dedup(&write, &mut tree, When::Asked);
    // A subresource's object is of another kind than its parent, whose fields are not its own.
    if let Managed::Update(manager) = write.managed
        && ask.request.info.subresource.is_empty()
    {
        written::complete(expected.definition, &mut tree);
        manager.update(kind, Part::Main, None, &mut tree, &[]);
    }
    for phase in [Phase::Mutate, Phase::Validate] {
        ask.core
            .registry
            .admit(
                &write,
                Operation::Create,
                ask.request.info.name,
                phase,
                Some(&mut tree),
                None,
            )
            .await?;
    }
    let creation = Creation {
        kind,
        user: ask.user,
        namespace: ask.namespace(),
        name: ask.request.info.name,
        dry_run: options.dry_run,
    };
    let mut answer = handler.create(creation, tree).await?;
    written::complete(expected.definition, &mut answer);
    Ok(respond::tree(StatusCode::CREATED, &answer, accepted))
}

/// The one that is registered for the resource or `resource/subresource`.
fn handler(ask: &Ask<'_>) -> Result<Arc<dyn CreateHandler>, Status> {
    let kind = ask.kind();
    let name = match ask.request.info.subresource {
        "" => kind.resource.to_string(),
        subresource => format!("{}/{subresource}", kind.resource),
    };
    let handlers = &ask.core.handlers;
    handlers
        .iter()
        .find(|((group, resource), _)| *group == kind.group && *resource == name)
        .map(|(_, handler)| handler.clone())
        .ok_or_else(Status::method_not_allowed)
}

/// Schema name of a built-in type: `authentication.k8s.io/v1 TokenRequest` is `io.k8s.api.authentication.v1.TokenRequest`.
pub fn definition_of(group: &str, version: &str, kind: &str) -> String {
    let group = match group.split('.').next().unwrap_or("") {
        "" => "core",
        first => first,
    };
    format!("io.k8s.api.{group}.{version}.{kind}")
}
