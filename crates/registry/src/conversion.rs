//! Custom resources whose versions a webhook converts.
//!
//! An object stays in the store, and in the watch cache, in the version in which it was written: only who asks for another one pays
//! for its conversion. What differs from the version that is wanted is converted together, in one call. A webhook may change
//! anything but what an object is: of its metadata it may set labels and annotations, nothing else. Behaviour and wording are those
//! of upstream's `apiextensions-apiserver/pkg/apiserver/conversion`.

mod review;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use knarr_admission::request::Converter;
use knarr_api::{Kind, apiextensions::custom_resource::Conversion};
use knarr_meta::{
    names, object,
    status::{Reason, Status},
};
use knarr_webhook::{Bounds, ClientConfig};
use serde_json::{Value, value::RawValue};

use crate::Registry;

/// One call takes so long at most, as any request of client-go that says nothing else in upstream's tests.
const TIMEOUT: Duration = Duration::from_secs(30);
/// About the bytes of objects that one call converts; a longer list takes more calls.
const CALL_BYTES: usize = 8 << 20;
/// Most bytes of an answer: objects may grow, in bounds.
const ANSWER_BYTES: usize = 32 << 20;

impl Registry {
    /// A stored object in the version of a kind.
    ///
    /// # Errors
    /// 500 where its webhook does not convert it.
    pub async fn in_version(&self, kind: &Kind, tree: Value) -> Result<Value, Status> {
        if kind.strategy.conversion().is_none() {
            let mut tree = tree;
            kind.from_stored(&mut tree);
            return Ok(tree);
        }
        let mut converted = self.convert(kind, vec![tree], true).await?;
        converted
            .pop()
            .ok_or_else(|| Status::internal("nothing was converted"))
    }

    /// Stored objects in the version of a kind, in their order.
    ///
    /// # Errors
    /// As [`Registry::in_version`].
    pub async fn all_in_version(
        &self,
        kind: &Kind,
        trees: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        self.convert(kind, trees, false).await
    }

    /// An object as it is stored: in the version that the definition says.
    pub(crate) async fn in_stored_version(
        &self,
        kind: &Kind,
        tree: &Value,
    ) -> Result<Value, Status> {
        let mut stored = tree.clone();
        let resource = self.cache.of(kind)?;
        if kind.strategy.conversion().is_some() {
            return self.in_version(&resource.kind, stored).await;
        }
        kind.to_stored(&mut stored);
        // The version that is stored may know less. What cannot be read is what was stored in another version: this is not.
        let _ = resource.kind.strategy.read(&mut stored);
        Ok(stored)
    }

    async fn convert(
        &self,
        kind: &Kind,
        mut trees: Vec<Value>,
        single: bool,
    ) -> Result<Vec<Value>, Status> {
        let wanted = kind.api_version();
        let Some(conversion) = kind.strategy.conversion() else {
            trees.iter_mut().for_each(|tree| kind.from_stored(tree));
            return Ok(trees);
        };
        let mut others: Vec<usize> = (0..trees.len())
            .filter(|at| object::api_version(&trees[*at]) != wanted)
            .collect();
        while !others.is_empty() {
            let (mut bytes, mut objects) = (0usize, Vec::new());
            for at in &others {
                let tree = trees[*at].take();
                let json = serde_json::value::to_raw_value(&tree).map_err(Status::internal)?;
                bytes = bytes.saturating_add(json.get().len());
                objects.push((tree, json));
                if bytes >= CALL_BYTES {
                    break;
                }
            }
            let converted = self.call(conversion, kind, &objects, single).await?;
            for (at, tree) in others.drain(..objects.len()).zip(converted) {
                trees[at] = tree;
            }
        }
        // What its webhook made of an object is held to the version's schema.
        for tree in &mut trees {
            let _ = kind.strategy.read(tree);
        }
        Ok(trees)
    }

    /// Objects of other versions, converted by one call.
    async fn call(
        &self,
        conversion: &Conversion,
        kind: &Kind,
        objects: &[(Value, Box<RawValue>)],
        single: bool,
    ) -> Result<Vec<Value>, Status> {
        let failed = |what: String| {
            let from = match single {
                true => objects
                    .first()
                    .map_or_else(String::new, |one| review::shown(&one.0)),
                false => format!("{}, Kind={}", kind.api_version(), kind.list_kind()),
            };
            let why = format!("conversion webhook for {from} {what}");
            Status::new(500, Reason::Unknown, why)
        };
        let Some(version) = review::Version::of(&conversion.reviews) else {
            let why = "no supported conversion review versions";
            return Err(Status::new(500, Reason::Unknown, why));
        };
        let client = ClientConfig::new(&conversion.client)
            .map_err(|error| failed(format!("failed: {error}")))?;
        let uid = names::new_uid();
        let wanted = kind.api_version();
        let question = {
            let objects: Vec<&RawValue> = objects.iter().map(|(_, json)| &**json).collect();
            review::encode(version, &uid, &wanted, &objects)
        };
        let bounds = Bounds {
            time: TIMEOUT,
            answer_bytes: ANSWER_BYTES,
        };
        let answer = self
            .webhooks
            .call(&client, Bytes::from(question), bounds)
            .await
            .map_err(|error| failed(format!("failed: {}", error.reason())))?;
        let mut converted = review::decode(version, &uid, &answer)
            .map_err(|why| failed(format!("failed: {why}")))?;
        if converted.len() != objects.len() {
            let (got, expected) = (converted.len(), objects.len());
            return Err(failed(format!(
                "returned {got} objects, expected {expected}"
            )));
        }
        for (index, ((from, _), to)) in objects.iter().zip(&mut converted).enumerate() {
            let checked = review::check(from, to, &wanted);
            checked.map_err(|why| failed(why.told(index, single)))?;
        }
        Ok(converted)
    }
}

#[async_trait]
impl Converter for Registry {
    async fn convert(&self, object: Value, to: &Kind) -> Result<Value, Status> {
        if to.strategy.conversion().is_some() {
            return self.in_version(to, object).await;
        }
        ().convert(object, to).await
    }
}
