//! Addresses of load balancers on the node's own network: a neighbour that knows of no route reaches them, of either family.

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, Options, eventually, run};

use crate::support::{SOON, Shell, hello_yaml, newest, step, with_cluster};

const NODE_PORT: u16 = 30080;
const ADDRESSES: [&str; 2] = ["192.0.2.64", "fd77::64"];
/// Of the ranges, too, but nobody's.
const FREE: [&str; 2] = ["192.0.2.65", "fd77::65"];

#[test]
fn neighbours_find_addresses_of_load_balancers() {
    let flags = [
        "--ip-family=dual",
        "--lb-range=192.0.2.64-192.0.2.79,fd77::64-fd77::79",
    ];
    let options = Options {
        flags: flags.map(String::from).into(),
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        let [node, client] = [("node0", "fd77::1/64"), ("client0", "fd77::2/64")];
        let on_node = cluster.command("ip");
        let on_client = cluster.client_command("ip");
        for (mut command, (link, address)) in [(on_node, node), (on_client, client)] {
            command.args(["-6", "address", "add", address, "dev", link, "nodad"]);
            run(command, SOON)?.success()?;
        }
        step("up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("a Service", || {
            shell.apply(&hello_yaml(NODE_PORT)?)?;
            shell.apply(SERVICE)
        })?;
        step("its addresses are reached", || {
            ADDRESSES
                .iter()
                .try_for_each(|address| reached(cluster, address))
        })?;
        step("nobody has the others", || {
            FREE.iter()
                .try_for_each(|address| nobodys(cluster, address))
        })?;
        step("nor these when the Service has gone", || {
            shell.run("delete service balanced")?;
            for address in ADDRESSES {
                eventually(SOON, "it is not answered for", || nobodys(cluster, address))?;
            }
            Ok(())
        })?;
        step("knarr down", || cluster.down(&[]))?;
        let mut command = cluster.command("ip");
        command.args(["-6", "address", "del", node.1, "dev", node.0]);
        run(command, SOON)?.success()?;
        cluster.assert_gone()
    });
}

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  selector: {app: hello}
  ports: [{port: 80, targetPort: 8080}]
"#;

fn reached(cluster: &Cluster, address: &str) -> Result<()> {
    eventually(SOON, "a neighbour reaches it", || {
        cluster.client_curl(&["--globoff", &url(address)]).map(drop)
    })
}

fn url(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]/"),
        false => format!("http://{address}/"),
    }
}

/// Who asks for it is not answered.
fn nobodys(cluster: &Cluster, address: &str) -> Result<()> {
    let url = url(address);
    let script = format!(
        "ip neighbour flush to {address}; curl --globoff --silent --max-time 2 '{url}' >/dev/null 2>&1; ip neighbour show to {address}"
    );
    let mut command = cluster.client_command("sh");
    command.args(["-c", &script]);
    let shown = run(command, SOON)?.success()?;
    ensure!(!shown.contains("lladdr"), "{shown}");
    Ok(())
}
