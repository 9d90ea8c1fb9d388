//! Calls of a device plugin.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use knarr_kubelet_api::{
    device_plugin::{
        AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
        ContainerPreferredAllocationRequest, DevicePluginOptions, Empty, ListAndWatchResponse,
        PreStartContainerRequest, PreferredAllocationRequest,
        device_plugin_client::DevicePluginClient,
    },
    tonic::{self, transport::Channel},
};
use tokio::time::timeout;

/// How long a plugin has for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A plugin that has registered.
#[derive(Clone)]
pub(super) struct Plugin {
    pub socket: PathBuf,
    channel: Channel,
    options: DevicePluginOptions,
}

impl Plugin {
    /// Dials a plugin, and asks what it wants.
    pub async fn connect(socket: PathBuf) -> Result<Self, String> {
        let channel = timeout(CALL_TIMEOUT, knarr_csi::dial(&socket)).await;
        let channel = channel.map_err(|_| "failed to dial device plugin: no answer".to_owned())?;
        let channel = channel.map_err(|error| format!("failed to dial device plugin: {error}"))?;
        let mut client = DevicePluginClient::new(channel.clone());
        let options = in_time(client.get_device_plugin_options(Empty {})).await;
        let options =
            options.map_err(|error| format!("failed to get device plugin options: {error}"))?;
        Ok(Self {
            socket,
            channel,
            options,
        })
    }

    fn client(&self) -> DevicePluginClient<Channel> {
        DevicePluginClient::new(self.channel.clone())
    }

    /// Its devices, and every change of them.
    pub async fn watch(&self) -> Result<tonic::Streaming<ListAndWatchResponse>, String> {
        in_time(self.client().list_and_watch(Empty {})).await
    }

    /// The devices that it would rather give; empty where it does not care.
    pub async fn preferred(
        &self,
        free: &BTreeSet<String>,
        must: &BTreeSet<String>,
        count: usize,
    ) -> Result<BTreeSet<String>, String> {
        if !self.options.get_preferred_allocation_available || free.len() <= count {
            return Ok(BTreeSet::new());
        }
        let request = PreferredAllocationRequest {
            container_requests: vec![ContainerPreferredAllocationRequest {
                available_device_i_ds: free.iter().cloned().collect(),
                must_include_device_i_ds: must.iter().cloned().collect(),
                allocation_size: i32::try_from(count).unwrap_or(i32::MAX),
            }],
        };
        let answer = in_time(self.client().get_preferred_allocation(request)).await;
        let answer = answer.map_err(|error| {
            format!("device plugin GetPreferredAllocation rpc failed with err: {error}")
        })?;
        let first = answer.container_responses.into_iter().next();
        Ok(first
            .into_iter()
            .flat_map(|first| first.device_i_ds)
            .collect())
    }

    /// Makes devices ready for a container; what that gets with them.
    pub async fn allocate(
        &self,
        devices: &BTreeSet<String>,
    ) -> Result<ContainerAllocateResponse, String> {
        let request = AllocateRequest {
            container_requests: vec![ContainerAllocateRequest {
                devices_ids: devices.iter().cloned().collect(),
            }],
        };
        let answer = in_time(self.client().allocate(request)).await?;
        let first = answer.container_responses.into_iter().next();
        first.ok_or_else(|| "no containers return in allocation response".to_owned())
    }

    pub fn wants_pre_start(&self) -> bool {
        self.options.pre_start_required
    }

    pub async fn pre_start(&self, devices: &BTreeSet<String>) -> Result<(), String> {
        let request = PreStartContainerRequest {
            devices_ids: devices.iter().cloned().collect(),
        };
        in_time(self.client().pre_start_container(request))
            .await
            .map(drop)
    }
}

async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(format!(
            "rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )),
        Err(_) => {
            Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned())
        }
    }
}
