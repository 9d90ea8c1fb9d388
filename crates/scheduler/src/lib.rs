//! The scheduler: queue, snapshot, plugins, binder
