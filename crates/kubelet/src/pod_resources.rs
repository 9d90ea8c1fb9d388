//! Who has which devices, for agents that watch over them: `pod-resources/kubelet.sock` (upstream's
//! `k8s.io/kubelet/pkg/apis/podresources/v1`).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_kubelet_api::{
    pod_resources::{
        AllocatableResourcesRequest, AllocatableResourcesResponse, CdiDevice, ClaimResource,
        ContainerDevices, ContainerMemory, ContainerResources, DynamicResource,
        GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesRequest,
        ListPodResourcesResponse, NumaNode, PodResources, TopologyInfo,
        pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer},
    },
    tonic::{Request, Response, Status, transport::Server},
};
use knarr_numa::memory::Block;
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, Context, Shared},
    devices::Held,
    disk,
    dra::Prepared,
    pods, socket,
};

/// In its directory, as upstream.
const SOCKET: &str = "kubelet.sock";
const RETRY: Duration = Duration::from_secs(10);
/// Calls of one client at once.
const CALLS_MAX: usize = 16;

struct Lister(Shared);

/// A device each, with the nodes that it is near.
fn devices(held: Vec<Held>) -> Vec<ContainerDevices> {
    let mut all = Vec::new();
    for Held {
        resource,
        devices,
        nodes,
    } in held
    {
        for device in devices {
            let near = nodes.get(&device).filter(|near| !near.is_empty());
            let topology = near.map(|near| TopologyInfo {
                nodes: near.iter().map(|id| NumaNode { id: *id }).collect(),
            });
            all.push(ContainerDevices {
                resource_name: resource.clone(),
                device_ids: vec![device],
                topology,
            });
        }
    }
    all
}

/// What comes from which nodes.
fn memory(blocks: Vec<Block>) -> Vec<ContainerMemory> {
    let node = |id: usize| NumaNode {
        id: i64::try_from(id).unwrap_or(i64::MAX),
    };
    let told = blocks.into_iter().map(|block| ContainerMemory {
        memory_type: block.resource,
        size: block.size,
        topology: Some(TopologyInfo {
            nodes: block.nodes.into_iter().map(node).collect(),
        }),
    });
    told.collect()
}

fn claim(prepared: Prepared) -> DynamicResource {
    let drivers = prepared.drivers.into_iter();
    let resources = drivers.flat_map(|(driver, devices)| {
        devices.into_iter().map(move |device| ClaimResource {
            cdi_devices: device
                .cdi
                .into_iter()
                .map(|name| CdiDevice { name })
                .collect(),
            driver_name: driver.clone(),
            pool_name: device.pool,
            device_name: device.device,
            share_id: device.share,
        })
    });
    DynamicResource {
        claim_name: prepared.name,
        claim_namespace: prepared.namespace,
        claim_resources: resources.collect(),
    }
}

/// The containers that last: init containers that end hold nothing when somebody asks.
fn lasting(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let sidecars = init.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        sidecars.chain(&spec.containers)
    })
}

fn resources(ctx: &Context, pod: &Pod) -> PodResources {
    let containers = lasting(pod).map(|container| {
        let own = ctx.alignment.own(context::uid(pod), &container.name);
        let claims = ctx.dra.claims_of(pod, container).into_iter();
        ContainerResources {
            name: container.name.clone(),
            devices: devices(ctx.devices.devices_of(pod, container)),
            dynamic_resources: claims.map(claim).collect(),
            cpu_ids: own.cpus,
            memory: memory(own.memory),
        }
    });
    PodResources {
        name: context::name(pod).to_owned(),
        namespace: context::namespace(pod).to_owned(),
        containers: containers.collect(),
        ..Default::default()
    }
}

fn is_active(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

#[async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let pods = pods::list(&self.0);
        let active = pods.iter().filter(|pod| is_active(pod));
        Ok(Response::new(ListPodResourcesResponse {
            pod_resources: active.map(|pod| resources(&self.0, pod)).collect(),
        }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let own = self.0.alignment.allocatable();
        Ok(Response::new(AllocatableResourcesResponse {
            devices: devices(self.0.devices.allocatable()),
            cpu_ids: own.cpus,
            memory: memory(own.memory),
        }))
    }

    async fn get(
        &self,
        request: Request<GetPodResourcesRequest>,
    ) -> Result<Response<GetPodResourcesResponse>, Status> {
        let GetPodResourcesRequest {
            pod_name,
            pod_namespace,
        } = request.into_inner();
        let pods = pods::list(&self.0);
        let is_it = |pod: &&Arc<Pod>| {
            context::name(pod) == pod_name && context::namespace(pod) == pod_namespace
        };
        let Some(pod) = pods.iter().find(is_it) else {
            let why = format!("pod {pod_name} in namespace {pod_namespace} not found");
            return Err(Status::unknown(why));
        };
        if !is_active(pod) {
            let why = format!("pod {pod_name} in namespace {pod_namespace} is not active");
            return Err(Status::unknown(why));
        }
        Ok(Response::new(GetPodResourcesResponse {
            pod_resources: Some(resources(&self.0, pod)),
        }))
    }
}

/// Serves the socket until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let path = ctx.config.pod_resources_dir().join(SOCKET);
    let serve = async {
        loop {
            let ended = match disk::waiting(|| socket::listen(&path)) {
                Ok(listener) => {
                    let incoming = socket::incoming(listener);
                    let service = PodResourcesListerServer::new(Lister(ctx.clone()));
                    let server = Server::builder().concurrency_limit_per_connection(CALLS_MAX);
                    let served = { server }
                        .add_service(service)
                        .serve_with_incoming(incoming);
                    served.await.map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = ended {
                tracing::warn!(error, "nobody can ask who has which devices");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    token.run_until_cancelled(serve).await;
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn devices_are_told_one_by_one() {
        let held = Held {
            resource: "vendor.com/gpu".to_owned(),
            devices: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            nodes: BTreeMap::from([("a".to_owned(), vec![1]), ("b".to_owned(), Vec::new())]),
        };
        let found = devices(vec![held]);
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                let nodes = one.topology.as_ref().map(|topology| topology.nodes[0].id);
                (
                    one.resource_name.as_str(),
                    one.device_ids[0].as_str(),
                    nodes,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("vendor.com/gpu", "a", Some(1)),
                ("vendor.com/gpu", "b", None)
            ]
        );
    }

    #[test]
    fn containers_that_end_are_left_out() {
        let pod = testing::pod(json!({
            "initContainers": [{"name": "setup"}, {"name": "sidecar", "restartPolicy": "Always"}],
            "containers": [{"name": "main"}],
        }));
        let names: Vec<&str> = lasting(&pod)
            .map(|container| container.name.as_str())
            .collect();
        assert_eq!(names, ["sidecar", "main"]);
    }
}
