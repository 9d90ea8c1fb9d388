//! Objects in protobuf: one, a page, what a watch shows. Stored objects become messages once, and are kept as such.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use knarr_api::{Kind, Served};
use knarr_meta::status::Status;
use knarr_registry::cache::{
    Cache,
    entry::Entry,
    message::{Message, put_varint, varint_size},
    resource::Slice,
};
use serde_json::Value;

use super::{ask::Ask, continuation::list_meta, version::served_tree};
use crate::{
    body::{Body, CHUNK_BYTES, Chunks},
    metadata,
    negotiate::{Encoding, MetaVersion, Shape},
    protobuf::{self, Envelope},
    respond::{self, Answer},
};

/// Most objects of a list whose messages are held from when their sizes are taken until they are sent.
const HELD_MESSAGES: usize = 1024;
/// Objects of a list that become messages before others get a turn.
const TURN_OBJECTS: usize = 64;

/// Makes the objects of a request messages.
pub struct Encoder {
    cache: Arc<Cache>,
    served: Served,
    /// Metadata alone, in this version.
    partial: Option<MetaVersion>,
    envelope: Envelope,
}

impl Encoder {
    /// For a shape that was negotiated for protobuf: not a Table.
    pub fn new(cache: Arc<Cache>, served: Served, shape: Shape) -> Encoder {
        let partial = match shape {
            Shape::Partial(version) => Some(version),
            Shape::Object | Shape::Table(_) => None,
        };
        let envelope = match partial {
            Some(version) => Envelope::new(version.api_version(), "PartialObjectMetadata"),
            None => Envelope::new(&served.api_version(), &served.kind.kind),
        };
        Encoder {
            cache,
            served,
            partial,
            envelope,
        }
    }

    /// An object as a whole body, at a revision.
    pub fn body(&self, entry: &Entry, revision: u64) -> Result<Bytes, Status> {
        let message = self.message(entry)?;
        let at_hand = match self.partial {
            Some(_) => None,
            None => message.body(revision),
        };
        if let Some(body) = at_hand {
            return Ok(body);
        }
        let size = self.size(&message, revision);
        let mut out = BytesMut::with_capacity(self.envelope.size(size));
        self.envelope.open(&mut out, size);
        self.write(&message, &mut out, revision);
        self.envelope.close(&mut out);
        Ok(out.freeze())
    }

    fn message(&self, entry: &Entry) -> Result<Arc<Message>, Status> {
        let kind = &self.served.kind;
        let hides = !metadata::is_stored(&*kind.strategy);
        let made = if self.partial.is_some() && hides {
            let mut metadata = serde_json::from_slice(entry.metadata()).unwrap_or_default();
            metadata::hide(&*kind.strategy, &mut metadata);
            protobuf::metadata_only(&metadata, entry.revision).map(Arc::new)
        } else if self.partial.is_some() || self.served.is_stored() {
            kept(&self.cache, kind, entry)
        } else {
            let tree = served_tree(&self.served, entry);
            let api_version = self.served.api_version();
            protobuf::object(&api_version, &kind.kind, &tree, entry.revision).map(Arc::new)
        };
        made.map_err(|error| told(error, entry))
    }

    fn size(&self, message: &Message, revision: u64) -> usize {
        match self.partial {
            Some(_) => message.partial_size(revision),
            None => message.size(revision),
        }
    }

    fn write(&self, message: &Message, out: &mut BytesMut, revision: u64) {
        match self.partial {
            Some(_) => message.write_partial(out, revision),
            None => message.write(out, revision),
        }
    }

    /// What a list of such objects is, and the fields of its metadata and of its items.
    fn list(&self) -> (Envelope, u32, u32) {
        match self.partial {
            Some(version) => {
                let envelope = Envelope::new(version.api_version(), "PartialObjectMetadataList");
                match version {
                    MetaVersion::V1 => (envelope, 1, 2),
                    MetaVersion::V1beta1 => (envelope, 2, 1),
                }
            }
            None => {
                let kind = self.served.kind.list_kind();
                (Envelope::new(&self.served.api_version(), &kind), 1, 2)
            }
        }
    }
}

/// The message of a stored object, which is kept; of a kind without messages of its own, that of its metadata alone.
fn kept(cache: &Cache, kind: &Kind, entry: &Entry) -> Result<Arc<Message>, protobuf::Error> {
    let make = || {
        let api_version = kind.api_version();
        match protobuf::knows(&api_version, &kind.kind) {
            true => {
                let tree = serde_json::from_slice(&entry.json).unwrap_or_default();
                protobuf::object(&api_version, &kind.kind, &tree, entry.revision)
            }
            false => {
                let metadata = serde_json::from_slice(entry.metadata()).unwrap_or_default();
                protobuf::metadata_only(&metadata, entry.revision)
            }
        }
    };
    cache.messages.of(&entry.message, |_| true, make)
}

fn told(error: protobuf::Error, entry: &Entry) -> Status {
    match error {
        protobuf::Error::NotMarshalable { .. } => Status::from(error),
        error => Status::internal(format!("{} is no message: {error}", entry.key)),
    }
}

/// Answers with one object: one that was read before in protobuf with the bytes that are kept of it.
pub fn object(ask: &Ask<'_>, code: StatusCode, entry: &Entry, shape: Shape) -> Answer {
    let cache = &ask.core.registry.cache;
    let at_hand = if shape == Shape::Object && ask.served.is_stored() {
        let message = kept(cache, ask.kind(), entry).map_err(|error| told(error, entry))?;
        message.body(entry.revision)
    } else {
        None
    };
    let body = match at_hand {
        Some(body) => body,
        None => {
            let encoder = Encoder::new(cache.clone(), ask.served.clone(), shape);
            encoder.body(entry, entry.revision)?
        }
    };
    let content_type = Encoding::Protobuf.content_type();
    Ok(respond::with_type(code, content_type, body))
}

/// Answers with a page. The length comes first on the wire: every object is made a message before the first byte is sent, and
/// again where there are more than are kept.
pub async fn page(ask: &Ask<'_>, slice: Slice, shape: Shape) -> Answer {
    let cache = ask.core.registry.cache.clone();
    let encoder = Encoder::new(cache, ask.served.clone(), shape);
    let mut items = 0usize;
    let mut messages = VecDeque::with_capacity(slice.entries.len().min(HELD_MESSAGES));
    for (at, entry) in slice.entries.iter().enumerate() {
        let message = encoder.message(entry)?;
        items = items.saturating_add(item_size(encoder.size(&message, entry.revision)));
        if messages.len() < HELD_MESSAGES {
            messages.push_back(message);
        }
        if at % TURN_OBJECTS == TURN_OBJECTS - 1 {
            tokio::task::yield_now().await;
        }
    }
    let list = MessageList::new(encoder, slice, items, messages)?;
    Ok(respond::with_type(
        StatusCode::OK,
        Encoding::Protobuf.content_type(),
        Body::list(list),
    ))
}

/// An item with its field number and length.
fn item_size(size: usize) -> usize {
    size.saturating_add(1).saturating_add(varint_size(size))
}

/// A field that is a message: its number and how it is encoded.
fn tag(field: u32) -> u8 {
    (field << 3 | 2) as u8
}

/// A list whose items are copied from their messages as the connection takes them.
struct MessageList {
    encoder: Encoder,
    envelope: Envelope,
    item_tag: u8,
    /// Up to the first item.
    head: BytesMut,
    /// What comes after the items.
    tail: Bytes,
    entries: VecDeque<Arc<Entry>>,
    /// Of the first entries.
    messages: VecDeque<Arc<Message>>,
    /// Bytes that are still to come.
    left: u64,
}

impl MessageList {
    /// `items`: the bytes that they take, each as [`item_size`] says.
    fn new(
        encoder: Encoder,
        slice: Slice,
        items: usize,
        messages: VecDeque<Arc<Message>>,
    ) -> Result<MessageList, Status> {
        let meta = protobuf::list_meta(&list_meta(&slice))?;
        let (envelope, meta_field, items_field) = encoder.list();
        let mut field = BytesMut::with_capacity(meta.len().saturating_add(8));
        field.put_u8(tag(meta_field));
        put_varint(&mut field, meta.len());
        field.put_slice(&meta);
        let content = items.saturating_add(field.len());
        let mut head = BytesMut::with_capacity(256);
        envelope.open(&mut head, content);
        let mut tail = BytesMut::new();
        // Fields go by their numbers.
        match meta_field < items_field {
            true => head.put_slice(&field),
            false => tail.put_slice(&field),
        }
        Ok(MessageList {
            left: envelope.size(content) as u64,
            encoder,
            envelope,
            item_tag: tag(items_field),
            head,
            tail: tail.freeze(),
            entries: slice.entries.into(),
            messages,
        })
    }
}

impl Chunks for MessageList {
    fn chunk(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        out.reserve((self.left as usize).min(CHUNK_BYTES.saturating_mul(2)));
        while let Some(entry) = self.entries.pop_front() {
            let message = match self.messages.pop_front() {
                Some(message) => Ok(message),
                None => self.encoder.message(&entry),
            };
            // It was one when its size was taken, and its entry never changes.
            let Ok(message) = message else {
                self.left = 0;
                return None;
            };
            out.put_u8(self.item_tag);
            put_varint(&mut out, self.encoder.size(&message, entry.revision));
            self.encoder.write(&message, &mut out, entry.revision);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if self.entries.is_empty() {
            out.put_slice(&self.tail);
            self.envelope.close(&mut out);
            self.left = 0;
        } else {
            self.left = self.left.saturating_sub(out.len() as u64);
        }
        Some(out.freeze())
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn size(&self) -> Option<u64> {
        Some(self.left)
    }

    fn estimate(&self) -> u64 {
        self.left
    }
}

/// A tree that a view has made, as a whole body. What has no message is told so in its place.
pub fn tree(value: &Value) -> Bytes {
    let told = protobuf::body(value);
    let told = told.or_else(|error| protobuf::body(&Status::from(error).to_value()));
    told.unwrap_or_default()
}
