//! Shared informers, work queues, events and leases over a kube::Client
