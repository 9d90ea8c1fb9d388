//! What a CSIDriver says of its driver. There may be none: then the defaults of the API hold.

use k8s_openapi::api::storage::v1::{CSIDriver, TokenRequest};
use knarr_client::errors;
use kube::Api;

use super::places::Lifecycle;
use crate::volume::READ_TIMEOUT;

/// Whether the kubelet gives files to a pod's `fsGroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FsGroupPolicy {
    None,
    /// Always.
    File,
    /// For volumes of one node that have a type of file system.
    #[default]
    ReadWriteOnceWithFsType,
}

/// A driver's settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// `None` where there is no CSIDriver.
    lifecycles: Option<Vec<String>>,
    pub attach_required: bool,
    pub pod_info: bool,
    pub fs_group: FsGroupPolicy,
    pub tokens: Vec<TokenRequest>,
    /// Tokens are given as secrets and not as a part of the volume's context.
    pub tokens_in_secrets: bool,
    pub republish: bool,
}

impl Settings {
    /// Asks the API.
    pub(super) async fn of(client: &kube::Client, driver: &str) -> Result<Self, String> {
        let api: Api<CSIDriver> = Api::all(client.clone());
        let found = tokio::time::timeout(READ_TIMEOUT, api.get(driver)).await;
        let found = found.map_err(|_| "context deadline exceeded".to_owned())?;
        let found = errors::optional(found).map_err(|error| errors::message(&error))?;
        Ok(found.map_or_else(Self::unknown, Self::new))
    }

    fn unknown() -> Self {
        Self {
            attach_required: true,
            ..Self::default()
        }
    }

    fn new(driver: CSIDriver) -> Self {
        let spec = driver.spec;
        Self {
            lifecycles: Some(spec.volume_lifecycle_modes.unwrap_or_default()),
            attach_required: spec.attach_required.unwrap_or(true),
            pod_info: spec.pod_info_on_mount.unwrap_or(false),
            fs_group: match spec.fs_group_policy.as_deref() {
                Some("None") => FsGroupPolicy::None,
                Some("File") => FsGroupPolicy::File,
                _ => FsGroupPolicy::ReadWriteOnceWithFsType,
            },
            tokens: spec.token_requests.unwrap_or_default(),
            tokens_in_secrets: spec.service_account_token_in_secrets.unwrap_or(false),
            republish: spec.requires_republish.unwrap_or(false),
        }
    }

    /// Whether the driver has volumes that live so.
    pub(super) fn check(&self, driver: &str, lifecycle: Lifecycle) -> Result<(), String> {
        let mode = lifecycle.name();
        match &self.lifecycles {
            None if lifecycle == Lifecycle::Persistent => Ok(()),
            None => Err(format!(
                "volume mode {mode:?} not supported by driver {driver} (no CSIDriver object)"
            )),
            Some(modes) if modes.iter().any(|other| other == mode) => Ok(()),
            Some(modes) => {
                let modes: Vec<String> = modes.iter().map(|mode| format!("{mode:?}")).collect();
                Err(format!(
                    "volume mode {mode:?} not supported by driver {driver} (only supports [{}])",
                    modes.join(" ")
                ))
            }
        }
    }
}

impl FsGroupPolicy {
    /// Whether files of a writable volume are given to the group.
    pub(super) fn applies(self, fs_type: &str, access_modes: &[String]) -> bool {
        let once = |mode: &String| mode == "ReadWriteOnce" || mode == "ReadWriteOncePod";
        match self {
            FsGroupPolicy::None => false,
            FsGroupPolicy::File => true,
            FsGroupPolicy::ReadWriteOnceWithFsType => {
                !fs_type.is_empty() && access_modes.iter().any(once)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    fn settings(spec: serde_json::Value) -> Settings {
        Settings::new(object(json!({ "metadata": { "name": "d" }, "spec": spec })))
    }

    #[test]
    fn volumes_live_as_their_driver_says() {
        use Lifecycle::{Ephemeral, Persistent};
        let both = settings(json!({ "volumeLifecycleModes": ["Persistent", "Ephemeral"] }));
        let one = settings(json!({ "volumeLifecycleModes": ["Persistent"] }));
        let unknown = Settings::unknown();
        assert!(unknown.attach_required);
        for (settings, lifecycle, wanted) in [
            (&both, Persistent, Ok(())),
            (&both, Ephemeral, Ok(())),
            (&one, Persistent, Ok(())),
            (
                &one,
                Ephemeral,
                Err(
                    "volume mode \"Ephemeral\" not supported by driver d (only supports [\"Persistent\"])",
                ),
            ),
            (&unknown, Persistent, Ok(())),
            (
                &unknown,
                Ephemeral,
                Err("volume mode \"Ephemeral\" not supported by driver d (no CSIDriver object)"),
            ),
        ] {
            let wanted = wanted.map_err(str::to_owned);
            assert_eq!(settings.check("d", lifecycle), wanted, "{lifecycle:?}");
        }
    }

    #[test]
    fn groups_are_given_files_as_the_policy_says() {
        use FsGroupPolicy::{File, None, ReadWriteOnceWithFsType};
        let once = ["ReadWriteOnce".to_owned()];
        let many = ["ReadWriteMany".to_owned()];
        for (policy, fs_type, modes, wanted) in [
            (None, "ext4", &once, false),
            (File, "", &many, true),
            (ReadWriteOnceWithFsType, "ext4", &once, true),
            (ReadWriteOnceWithFsType, "", &once, false),
            (ReadWriteOnceWithFsType, "ext4", &many, false),
        ] {
            assert_eq!(
                policy.applies(fs_type, modes),
                wanted,
                "{policy:?} {fs_type}"
            );
        }
        let policy = |name: &str| settings(json!({ "fsGroupPolicy": name })).fs_group;
        assert_eq!(
            ["None", "File", "ReadWriteOnceWithFSType"].map(policy),
            [None, File, ReadWriteOnceWithFsType]
        );
    }
}
