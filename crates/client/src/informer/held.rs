//! One object of an informer.

use std::marker::PhantomData;
use std::sync::Arc;

use knarr_states::State;

use super::Object;

/// A table that has room for so many times what is in it is made smaller.
pub(super) const SPARSE: usize = 8;

/// An object as it is held.
pub(crate) enum Held<K> {
    Own(Arc<K>),
    /// Decoded when it is read.
    Shared(Arc<dyn State>, PhantomData<fn() -> K>),
}

impl<K> Clone for Held<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Own(object) => Self::Own(object.clone()),
            Self::Shared(state, of) => Self::Shared(state.clone(), *of),
        }
    }
}

impl<K: Object> Held<K> {
    pub(crate) fn own(object: K) -> Self {
        Self::Own(Arc::new(object))
    }

    pub(crate) fn shared(state: Arc<dyn State>) -> Self {
        Self::Shared(state, PhantomData)
    }

    pub(super) fn namespaced_name(&self) -> (&str, &str) {
        match self {
            Self::Own(object) => (object.namespace(), object.name()),
            Self::Shared(state, _) => state.namespaced_name(),
        }
    }

    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(one), Self::Own(other)) => {
                one.resource_version() == other.resource_version()
            }
            (Self::Shared(one, _), Self::Shared(other, _)) => one.revision() == other.revision(),
            (Self::Own(own), Self::Shared(state, _)) | (Self::Shared(state, _), Self::Own(own)) => {
                own.resource_version() == state.revision().to_string()
            }
        }
    }

    /// Unique while it is held.
    pub(super) fn address(&self) -> usize {
        match self {
            Self::Own(object) => Arc::as_ptr(object).addr(),
            Self::Shared(state, _) => Arc::as_ptr(state).addr(),
        }
    }
}
