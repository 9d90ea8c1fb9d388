//! Service accounts as users.

use crate::{AUTHENTICATED, UserInfo};

/// `system:serviceaccount:<namespace>:<name>`
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// A service account as a user, without uid.
pub fn service_account(namespace: &str, name: &str) -> UserInfo {
    UserInfo {
        name: service_account_user(namespace, name),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        ..UserInfo::default()
    }
}
