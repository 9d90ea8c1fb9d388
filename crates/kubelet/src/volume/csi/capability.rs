//! What a driver is asked to make of a volume.

use knarr_csi::v1::{
    VolumeCapability,
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
};

use super::drivers::{Capabilities, Capability};

/// As the API describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub is_block: bool,
    pub fs_type: String,
    pub mount_options: Vec<String>,
    /// The first is what drivers are told.
    pub access_modes: Vec<String>,
}

impl Shape {
    /// As the driver is told; `group` is for one that gives files to groups itself.
    pub(super) fn capability(&self, driver: &Capabilities, group: Option<i64>) -> VolumeCapability {
        let single = driver.has(Capability::SingleNodeMultiWriter);
        let mode = self.access_modes.first().map(String::as_str);
        let access_type = match self.is_block {
            true => AccessType::Block(BlockVolume {}),
            false => AccessType::Mount(MountVolume {
                fs_type: self.fs_type.clone(),
                mount_flags: self.mount_options.clone(),
                volume_mount_group: group.map(|group| group.to_string()).unwrap_or_default(),
            }),
        };
        VolumeCapability {
            access_type: Some(access_type),
            access_mode: Some(AccessMode {
                mode: access_mode(mode.unwrap_or("ReadWriteOnce"), single).into(),
            }),
        }
    }
}

/// `single`: the driver tells writers of one node apart from one writer.
fn access_mode(mode: &str, single: bool) -> Mode {
    match (mode, single) {
        ("ReadWriteOnce", true) => Mode::SingleNodeMultiWriter,
        ("ReadWriteOncePod", true) => Mode::SingleNodeSingleWriter,
        ("ReadWriteOnce" | "ReadWriteOncePod", false) => Mode::SingleNodeWriter,
        ("ReadOnlyMany", _) => Mode::MultiNodeReaderOnly,
        ("ReadWriteMany", _) => Mode::MultiNodeMultiWriter,
        _ => Mode::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes_are_as_fine_as_the_driver_knows_them() {
        for (mode, single, wanted) in [
            ("ReadWriteOnce", false, Mode::SingleNodeWriter),
            ("ReadWriteOnce", true, Mode::SingleNodeMultiWriter),
            ("ReadWriteOncePod", false, Mode::SingleNodeWriter),
            ("ReadWriteOncePod", true, Mode::SingleNodeSingleWriter),
            ("ReadOnlyMany", true, Mode::MultiNodeReaderOnly),
            ("ReadWriteMany", false, Mode::MultiNodeMultiWriter),
            ("Other", false, Mode::Unknown),
        ] {
            assert_eq!(access_mode(mode, single), wanted, "{mode} {single}");
        }
    }

    #[test]
    fn devices_have_no_mount_options() {
        let shape = Shape {
            is_block: true,
            fs_type: "ext4".to_owned(),
            mount_options: vec!["ro".to_owned()],
            access_modes: Vec::new(),
        };
        let told = shape.capability(&Capabilities::default(), Some(1));
        assert_eq!(told.access_type, Some(AccessType::Block(BlockVolume {})));
        let shape = Shape {
            is_block: false,
            ..shape
        };
        let told = shape.capability(&Capabilities::default(), Some(1_000));
        let Some(AccessType::Mount(mount)) = told.access_type else {
            panic!("{told:?}");
        };
        assert_eq!(mount.volume_mount_group, "1000");
        assert_eq!(mount.mount_flags, ["ro"]);
    }
}
