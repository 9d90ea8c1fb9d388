//! What Services are warned of: upstream's `pkg/api/service/warnings.go`.

use knarr_meta::{
    field::Path,
    object::{annotation, list_at, str_at},
};
use serde_json::Value;

use crate::warnings::{self, Warnings};

const HINTS_ANNOTATION: &str = "service.kubernetes.io/topology-aware-hints";
const MODE_ANNOTATION: &str = "service.kubernetes.io/topology-mode";

pub(super) fn warn(service: &Value, out: &mut Warnings) {
    if annotation(service, HINTS_ANNOTATION).is_some() {
        out.add(format!(
            "annotation {HINTS_ANNOTATION} is deprecated, please use {MODE_ANNOTATION} instead"
        ));
    }
    let text = |field: &str| str_at(service, &["spec", field]);
    let path = Path::new("spec");
    let (kind, cluster_ip) = (text("type"), text("clusterIP"));
    let is_name = kind == "ExternalName";
    if !cluster_ip.is_empty() && cluster_ip != "None" {
        addresses(service, "clusterIPs", out);
    }
    let external = !list_at(service, &["spec", "externalIPs"]).is_empty();
    let headless = kind == "ClusterIP" && cluster_ip == "None";
    if headless {
        if !text("loadBalancerIP").is_empty() {
            out.add("spec.loadBalancerIP is ignored for headless services");
        }
        if external {
            out.add("spec.externalIPs is ignored for headless services");
        }
        if text("sessionAffinity") != "None" {
            out.add("spec.SessionAffinity is ignored for headless services");
        }
    }
    addresses(service, "externalIPs", out);
    if external && !headless && !is_name {
        out.add("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    warnings::ip(&path.child("loadBalancerIP"), text("loadBalancerIP"), out);
    let ranges = list_at(service, &["spec", "loadBalancerSourceRanges"]);
    for (index, range) in ranges.iter().enumerate() {
        let path = path.child("loadBalancerSourceRanges").index(index);
        warnings::cidr(&path, range.as_str().unwrap_or_default(), out);
    }
    if is_name && external {
        out.add("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if !is_name && !text("externalName").is_empty() {
        out.add("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if text("trafficDistribution") == "PreferClose" {
        out.add("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
}

fn addresses(service: &Value, field: &'static str, out: &mut Warnings) {
    for (index, address) in list_at(service, &["spec", field]).iter().enumerate() {
        let path = Path::new("spec").child(field).index(index);
        warnings::ip(&path, address.as_str().unwrap_or_default(), out);
    }
}
