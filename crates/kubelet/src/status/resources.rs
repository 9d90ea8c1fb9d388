//! What a container has of what it was promised: upstream's `status.containerStatuses[].resources`.

use k8s_openapi::{
    api::core::v1::{Container, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_cri::v1;

use crate::resources::{
    MIN_LIMIT_MILLI, MIN_SHARES, Resizable, cpu_quantity, memory_quantity, milli_of_quota,
    milli_of_shares,
};

/// The resources of a container, which is promised what its specification says. Of one that runs the runtime tells what it has, and
/// `given` what the runtime knows nothing of.
pub(super) fn actual(
    container: &Container,
    status: &v1::ContainerStatus,
    given: Option<&ResourceRequirements>,
) -> ResourceRequirements {
    let promised = container.resources.clone().unwrap_or_default();
    if status.state() != v1::ContainerState::ContainerRunning {
        return promised;
    }
    let wanted = Resizable::of(Some(&promised));
    let mut actual = promised;
    let given = given.map(|given| Resizable::of(Some(given)));
    let told = status.resources.as_ref().and_then(|r| r.linux.as_ref());
    let positive = |value: i64| (value > 0).then_some(value);
    let cpu_limit = told.and_then(|r| positive(milli_of_quota(r.cpu_quota, r.cpu_period)));
    let shares = told.and_then(|r| positive(r.cpu_shares));
    let memory_limit = told.and_then(|r| positive(r.memory_limit_in_bytes));
    if let Some(limits) = &mut actual.limits {
        let given = |of: fn(Resizable) -> i64| given.and_then(|given| positive(of(given)));
        let cpu = cpu_limit.or(given(|given| given.cpu_limit));
        // What is too small to be told from the least there is stays as it was written.
        if let Some(milli) = cpu.filter(|m| (*m).max(wanted.cpu_limit) > MIN_LIMIT_MILLI) {
            put(limits, "cpu", milli, wanted.cpu_limit, cpu_quantity);
        }
        if let Some(bytes) = memory_limit.or(given(|given| given.memory_limit)) {
            put(
                limits,
                "memory",
                bytes,
                wanted.memory_limit,
                memory_quantity,
            );
        }
    }
    if let Some(requests) = &mut actual.requests {
        let given = |of: fn(Resizable) -> i64| given.and_then(|given| positive(of(given)));
        let cpu = shares
            .map(milli_of_shares)
            .or(given(|given| given.cpu_request));
        if let Some(milli) = cpu.filter(|m| (*m).max(wanted.cpu_request) > MIN_SHARES) {
            put(requests, "cpu", milli, wanted.cpu_request, cpu_quantity);
        }
        if let Some(bytes) = given(|given| given.memory_request) {
            put(
                requests,
                "memory",
                bytes,
                wanted.memory_request,
                memory_quantity,
            );
        }
    }
    actual
}

/// Resources by name.
pub(super) type Amounts = std::collections::BTreeMap<String, Quantity>;

/// Says an amount, in the words of who wrote it where it is the same.
pub(super) fn put(
    list: &mut Amounts,
    name: &str,
    amount: i64,
    wanted: i64,
    quantity: fn(i64) -> Quantity,
) {
    if amount != wanted || !list.contains_key(name) {
        list.insert(name.to_owned(), quantity(amount));
    }
}

#[cfg(test)]
mod tests;
