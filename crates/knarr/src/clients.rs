//! Clients of the API server in this process, one for each identity.

use std::sync::Arc;

use knarr_apiserver::{LocalService, Server};
use knarr_auth::UserInfo;
use knarr_client::{Clients, requests::Requests, throttle::Throttle};

/// Makes clients that call the server's handlers directly; RBAC applies to them as to any other.
pub struct LocalClients {
    /// Any identity: each client gets its own in its place.
    service: LocalService,
}

impl LocalClients {
    pub fn new(server: &Server) -> Self {
        Self {
            service: server.client_service(UserInfo::default()),
        }
    }
}

impl Clients for LocalClients {
    fn as_user(&self, name: &str, groups: &[&str]) -> kube::Client {
        self.counted(name, groups).0
    }

    fn counted(&self, name: &str, groups: &[&str]) -> (kube::Client, Option<Arc<Requests>>) {
        let user = UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let service = Throttle::new(self.service.with_user(user));
        let requests = service.requests();
        (service.client("default"), Some(requests))
    }
}
