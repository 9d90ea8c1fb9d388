//! The revisioned key-value store: the Store trait and the embedded engine
