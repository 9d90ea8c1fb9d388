//! What whoever is not root may do in a network of the pod's own.

use knarr_cri::v1::*;

use super::common::{TestRuntime, able, shell};
use super::{WAIT, assert_nothing_left};

#[tokio::test(flavor = "multi_thread")]
async fn low_ports_and_pings_need_no_root() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("unprivileged");
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("main", WAIT);
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.run_as_user = Some(Int64Value { value: 1_000 });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let serve = "(echo served | timeout 10 nc -l -p 80) & for try in 1 2 3 4 5 6 7 8 9; do
        timeout 10 nc 127.0.0.1 80 < /dev/null 2>/dev/null && break
        sleep 0.1
    done";
    assert_eq!(test.output(&container, serve).await, "served");
    // Not every `ping` tries without root.
    let groups = "echo $(cat /proc/sys/net/ipv4/ping_group_range)";
    assert_eq!(test.output(&container, groups).await, "0 2147483647");
    test.remove_sandbox(&sandbox).await;
    // What a pod asks for goes before it.
    let mut pod = test.pod("strict");
    let sysctls = &mut pod.linux.as_mut().unwrap().sysctls;
    sysctls.insert("net/ipv4/ping_group_range".to_owned(), "1 0".to_owned());
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    assert_eq!(test.output(&container, groups).await, "1 0");
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_can_be_opened_anew_by_whose_it_is() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("terminal");
    let sandbox = test.sandbox(pod).await;
    let script = "for name in stdout stderr console; do echo $name > /dev/$name; done";
    let mut config = shell("main", script);
    config.tty = true;
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.run_as_user = Some(Int64Value { value: 1_000 });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    assert_eq!(test.exit(&container).await.exit_code, 0);
    let wanted = ["stdout F stdout", "stdout F stderr", "stdout F console"];
    assert_eq!(test.log("main.log"), wanted);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}
