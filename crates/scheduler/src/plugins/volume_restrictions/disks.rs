//! Disks that pods name themselves, without a claim: pods that only read may share one on a node.

use k8s_openapi::api::core::v1::{PodSpec, Volume};

/// One of the kinds of disks that upstream keeps apart.
#[derive(Debug)]
pub enum Disk {
    Gce {
        name: String,
        read_only: bool,
    },
    /// Not even readers share it.
    Aws {
        id: String,
    },
    Iscsi {
        iqn: String,
        read_only: bool,
    },
    Rbd {
        monitors: Vec<String>,
        pool: Option<String>,
        image: String,
        read_only: bool,
    },
}

impl Disk {
    /// The disks of a pod.
    pub fn all(spec: &PodSpec) -> Vec<Self> {
        let volumes = spec.volumes.iter().flatten();
        volumes.filter_map(Self::of).collect()
    }

    fn of(volume: &Volume) -> Option<Self> {
        if let Some(disk) = &volume.gce_persistent_disk {
            return Some(Self::Gce {
                name: disk.pd_name.clone(),
                read_only: disk.read_only == Some(true),
            });
        }
        if let Some(disk) = &volume.aws_elastic_block_store {
            let id = disk.volume_id.clone();
            return Some(Self::Aws { id });
        }
        if let Some(disk) = &volume.iscsi {
            return Some(Self::Iscsi {
                iqn: disk.iqn.clone(),
                read_only: disk.read_only == Some(true),
            });
        }
        let disk = volume.rbd.as_ref()?;
        Some(Self::Rbd {
            monitors: disk.monitors.clone(),
            pool: disk.pool.clone(),
            image: disk.image.clone(),
            read_only: disk.read_only == Some(true),
        })
    }

    /// Whether one of two pods with these disks cannot be on the node of the other.
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Gce { name, read_only },
                Self::Gce {
                    name: other,
                    read_only: too,
                },
            ) => name == other && !(*read_only && *too),
            (Self::Aws { id }, Self::Aws { id: other }) => id == other,
            (
                Self::Iscsi { iqn, read_only },
                Self::Iscsi {
                    iqn: other,
                    read_only: too,
                },
            ) => iqn == other && !(*read_only && *too),
            (
                Self::Rbd {
                    monitors,
                    pool,
                    image,
                    read_only,
                },
                Self::Rbd {
                    monitors: others,
                    pool: other_pool,
                    image: other_image,
                    read_only: too,
                },
            ) => {
                let same = pool == other_pool && image == other_image;
                let met = monitors.iter().any(|monitor| others.contains(monitor));
                same && met && !(*read_only && *too)
            }
            _ => false,
        }
    }
}
