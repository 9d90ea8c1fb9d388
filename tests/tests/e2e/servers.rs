//! Three servers on an etcd of three members: each sees what the others write, one of them leads, and whoever dies is not missed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{Cluster, Etcd, EtcdOptions, Kubectl, Options, etcds, eventually, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{SOON, newest, step, with_cluster};

const SERVERS: usize = 3;
const TOKEN: &str = "a token that all servers know";
/// Ports for clients and peers of etcd's members, in the cluster's own namespace.
const PORTS: [(u16, u16); 3] = [(2379, 2380), (2381, 2382), (2383, 2384)];
const COMMAND: Duration = Duration::from_secs(60);
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

#[test]
fn servers_on_etcd_are_one_cluster() {
    let Some(program) = etcds().pop() else {
        return;
    };
    with_cluster(Options::default(), |cluster| {
        let options = EtcdOptions {
            program: program.clone(),
            ports: PORTS.to_vec(),
            flags: Vec::new(),
            https: false,
        };
        let ground = &*cluster;
        let dir = cluster.directory().join("etcd");
        let launch = Box::new(|program: &std::path::Path| ground.command(program));
        let mut etcd = Etcd::start_in(options, &dir, launch)?;
        let mut servers = Servers::new(ground, etcd.address())?;
        step("three servers start at once", || servers.start())?;
        step("the Service names all of them", || {
            servers.endpoints(SERVERS)
        })?;
        step("each sees what the others write", || servers.writes("a"))?;
        step("a watch sees what others write", || servers.watch())?;
        step("two ask for one node port", || servers.node_ports())?;
        step("a wrong token is refused", || servers.wrong_token())?;
        step("a member of etcd dies", || {
            etcd.kill_member(0)?;
            servers.writes("b")
        })?;
        step("the leader stops", || servers.lose_leader(Signal::SIGTERM))?;
        step("the next leader is killed", || {
            servers.lose_leader(Signal::SIGKILL)
        })?;
        step("nothing acknowledged is lost", || servers.all_is_there())?;
        servers.stop()
    });
}

struct Server {
    n: usize,
    /// Who it is as a candidate.
    identity: String,
    process: Child,
}

struct Servers<'a> {
    cluster: &'a Cluster,
    kubectl: Kubectl,
    datastore: String,
    running: Vec<Server>,
    /// Names of ConfigMaps that a server has acknowledged.
    acknowledged: BTreeSet<String>,
}

impl<'a> Servers<'a> {
    fn new(cluster: &'a Cluster, datastore: String) -> Result<Self> {
        for n in 0..SERVERS {
            let mut command = cluster.command("ip");
            let address = format!("{}/24", address(n));
            command.args(["address", "add", &address, "dev", "node0"]);
            run(command, COMMAND)?.success()?;
        }
        Ok(Self {
            cluster,
            kubectl: newest()?,
            datastore,
            running: Vec::new(),
            acknowledged: BTreeSet::new(),
        })
    }

    fn dir(&self, n: usize) -> PathBuf {
        self.cluster.directory().join(format!("s{n}"))
    }

    fn command(&self, n: usize, token: &str) -> Result<Command> {
        let mut command = self.cluster.knarr(&["server"])?;
        command.args([
            format!("--data-dir={}", self.dir(n).display()),
            format!("--name=s{n}"),
            format!("--listen={}:6443", address(n)),
            format!("--advertise-address={}", address(n)),
            format!("--datastore={}", self.datastore),
            format!("--token={token}"),
        ]);
        Ok(command)
    }

    fn start(&mut self) -> Result<()> {
        let mut starting = Vec::new();
        for n in 0..SERVERS {
            let output = self.cluster.directory().join(format!("s{n}.out"));
            let log = File::create(self.cluster.directory().join(format!("s{n}.log")))?;
            let mut command = self.command(n, TOKEN)?;
            command.stdin(Stdio::null()).stderr(log);
            let process = command.stdout(File::create(&output)?).spawn()?;
            let identity = String::new();
            starting.push(output);
            self.running.push(Server {
                n,
                identity,
                process,
            });
        }
        for (server, output) in self.running.iter_mut().zip(starting) {
            let n = server.n;
            eventually(SOON, "a server is ready", || {
                let said = fs::read_to_string(&output)?;
                if let Some(status) = server.process.try_wait()? {
                    let log = self.cluster.directory().join(format!("s{n}.log"));
                    let log = fs::read_to_string(log).unwrap_or_default();
                    bail!("server {n} ended with {status}: {said}{log}");
                }
                ensure!(said.contains("knarr server is ready in "), "{said}");
                Ok(())
            })?;
            let instance = self.cluster.directory().join(format!("s{n}/instance"));
            server.identity = fs::read_to_string(instance)?.trim().to_owned();
        }
        Ok(())
    }

    /// kubectl at one of the servers.
    fn kubectl_command(&self, n: usize, line: &str) -> Command {
        let mut command = self.cluster.command(&self.kubectl.path);
        let kubeconfig = self.dir(n).join("admin.kubeconfig");
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        command.args(line.split_whitespace());
        command
    }

    fn kubectl(&self, n: usize, line: &str) -> Result<String> {
        run(self.kubectl_command(n, line), COMMAND)?.success()
    }

    fn numbers(&self) -> Vec<usize> {
        self.running.iter().map(|server| server.n).collect()
    }

    fn endpoints(&self, count: usize) -> Result<()> {
        for n in self.numbers() {
            eventually(SOON, "endpoints of all servers", || {
                let line = "get endpoints kubernetes -o jsonpath={.subsets[*].addresses[*].ip}";
                let there = self.kubectl(n, line)?;
                ensure!(there.split_whitespace().count() == count, "{there}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What one server has acknowledged, the others answer with at once.
    fn writes(&mut self, prefix: &str) -> Result<()> {
        let numbers = self.numbers();
        for (at, n) in numbers.iter().enumerate() {
            let name = format!("{prefix}-{n}");
            self.kubectl(*n, &format!("create configmap {name}"))?;
            self.acknowledged.insert(name.clone());
            let other = numbers[(at + 1) % numbers.len()];
            self.kubectl(other, &format!("get configmap {name}"))?;
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<()> {
        let numbers = self.numbers();
        let (writer, watcher) = (numbers[0], numbers[1]);
        let output = self.cluster.directory().join("watch.out");
        let mut watch = self.kubectl_command(watcher, "get configmaps --watch-only -o name");
        let mut watch = watch.stdout(File::create(&output)?).spawn()?;
        let mut tries = 0;
        let seen = eventually(SOON, "a watch sees a write", || {
            // It may begin after the first.
            let name = format!("watched-{tries}");
            tries += 1;
            self.kubectl(writer, &format!("create configmap {name}"))?;
            self.acknowledged.insert(name);
            let said = fs::read_to_string(&output)?;
            ensure!(said.contains("configmap/watched-"), "{said}");
            Ok(())
        });
        watch.kill()?;
        watch.wait()?;
        seen
    }

    fn node_ports(&self) -> Result<()> {
        let asking = self.numbers().into_iter().take(2).map(|n| {
            let line = format!("create service nodeport n{n} --tcp=80:80 --node-port=31234");
            let mut command = self.kubectl_command(n, &line);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        let asking = asking.collect::<std::io::Result<Vec<_>>>()?;
        let mut given = 0;
        for mut process in asking {
            given += usize::from(process.wait()?.success());
        }
        ensure!(given == 1, "{given} of 2 have the port");
        Ok(())
    }

    fn wrong_token(&self) -> Result<()> {
        let mut command = self.cluster.knarr(&["server"])?;
        command.args([
            format!("--data-dir={}", self.dir(SERVERS).display()),
            format!("--listen={}:6444", address(0)),
            format!("--advertise-address={}", address(0)),
            format!("--datastore={}", self.datastore),
            "--token=another token of that length".to_owned(),
        ]);
        let said = run(command, COMMAND)?.failure(1)?;
        let wanted = "the token is not that of the cluster's other servers";
        ensure!(said.contains(wanted), "{said}");
        Ok(())
    }

    fn holder(&self, n: usize, lease: &str) -> Result<String> {
        let line = format!("get lease -n kube-system {lease} -o jsonpath={{.spec.holderIdentity}}");
        self.kubectl(n, &line)
    }

    /// Ends the server that runs the controllers; another runs them then.
    fn lose_leader(&mut self, signal: Signal) -> Result<()> {
        let identity = self.holder(self.running[0].n, LEASES[0])?;
        let leads = |server: &Server| server.identity == identity;
        let at = self.running.iter().position(leads);
        let mut leader = self.running.remove(at.context("the leader is no server")?);
        kill(Pid::from_raw(leader.process.id().cast_signed()), signal)?;
        leader.process.wait()?;
        let n = self.running[0].n;
        self.writes(&format!("after-{}", leader.n))?;
        let identities: Vec<&str> = self.running.iter().map(|s| &*s.identity).collect();
        for lease in LEASES {
            eventually(SOON, "another server leads", || {
                let holder = self.holder(n, lease)?;
                ensure!(identities.contains(&&*holder), "{lease}: {holder:?}");
                Ok(())
            })?;
        }
        // Its controllers run: a ReplicaSet is made.
        let name = format!("after-{}", leader.n);
        self.kubectl(n, &format!("create deployment {name} --image=none"))?;
        eventually(SOON, "the controllers run", || {
            let sets = self.kubectl(n, &format!("get replicasets -l app={name} -o name"))?;
            ensure!(!sets.trim().is_empty(), "no ReplicaSet");
            Ok(())
        })
    }

    fn all_is_there(&self) -> Result<()> {
        let listed = self.kubectl(self.running[0].n, "get configmaps -o name")?;
        let listed: BTreeSet<&str> = listed.lines().collect();
        for name in &self.acknowledged {
            ensure!(
                listed.contains(&*format!("configmap/{name}")),
                "{name} is lost"
            );
        }
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        for server in &mut self.running {
            kill(
                Pid::from_raw(server.process.id().cast_signed()),
                Signal::SIGTERM,
            )?;
            let status = server.process.wait()?;
            ensure!(status.success(), "server {} ended with {status}", server.n);
        }
        self.running.clear();
        Ok(())
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for server in &mut self.running {
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
    }
}

fn address(n: usize) -> String {
    format!("192.0.2.{}", 11 + n)
}
