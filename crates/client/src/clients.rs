//! Where components get clients from: one for each identity they act under.

use std::sync::Arc;

use crate::requests::Requests;

/// Makes API clients that act as a given user.
///
/// In process an identity is a value passed with each call; remote implementations authenticate (a service account's
/// token) or impersonate. The user must exist in the eyes of RBAC, nothing else is checked here.
pub trait Clients: Send + Sync + 'static {
    /// A client whose requests are made by user `name` in `groups` (`system:authenticated` is not implied).
    fn as_user(&self, name: &str, groups: &[&str]) -> kube::Client;

    /// The same, with where its requests are counted; `None` of those that count nothing.
    fn counted(&self, name: &str, groups: &[&str]) -> (kube::Client, Option<Arc<Requests>>) {
        (self.as_user(name, groups), None)
    }

    /// A client of the service account `namespace`/`name`, in the three groups every service account is in.
    fn as_service_account(&self, namespace: &str, name: &str) -> kube::Client {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let namespace_group = format!("system:serviceaccounts:{namespace}");
        self.as_user(
            &user,
            &[
                "system:serviceaccounts",
                &namespace_group,
                "system:authenticated",
            ],
        )
    }
}
