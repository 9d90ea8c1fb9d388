//! What the images of Kubernetes' end-to-end suite are made of here.
//!
//! Names and tags come from the suite. An image of a repository in [`IMAGES`] is made as it says, for every tag that the
//! suite asks for; one in [`LEFT_OUT`] is not made; one in neither is an error, so that a new release of the suite cannot
//! bring images unnoticed. To make another image: give it an entry in `IMAGES`, and a layer if none of those here serves.
//!
//! Every layer is on [`SHELL`], so that whatever else is missing of a Linux system is busybox's.

use crate::go::{Module, Program, SUITE};

const ETCD: Module = Module("etcd");
const COREDNS: Module = Module("coredns");

/// How one or more tags of a repository are made.
pub struct Image {
    pub repository: &'static str,
    pub layer: &'static Layer,
    pub entrypoint: &'static [&'static str],
    pub command: &'static [&'static str],
    /// As `USER` in a Dockerfile; empty means root.
    pub user: &'static str,
}

/// A layer and those below it.
#[derive(Debug)]
pub struct Layer {
    pub name: &'static str,
    pub on: Option<&'static Layer>,
    /// Debian packages. What they depend on comes with them; what a layer below has does not come again.
    pub packages: &'static [&'static str],
    /// What is added to them, or put in their place.
    pub parts: &'static [Part],
}

/// Something in a layer. Paths have no slash in front; `bin`, `sbin` and `lib` are links to those in `usr`.
#[derive(Debug)]
pub enum Part {
    Directory(&'static str, u32),
    Text(&'static str, &'static str),
    /// A symbolic link and its target.
    Link(&'static str, &'static str),
    /// An executable with its permissions.
    Go(&'static str, u32, Program),
    /// A file of Kubernetes' source.
    Source(&'static str, &'static str),
    /// Debian's busybox, built so that its shell keeps every variable, with a link for each applet in `usr/bin`.
    Busybox(&'static str),
    /// Kubernetes' program that does nothing, built from its source.
    Pause(&'static str),
    /// What agnhost serves as a registry, below a folder: an image of pause, as `pause:testing`.
    Registry(&'static str),
}

impl Part {
    pub fn path(&self) -> &'static str {
        match self {
            Directory(path, _)
            | Text(path, _)
            | Link(path, _)
            | Go(path, _, _)
            | Source(path, _)
            | Busybox(path)
            | Pause(path)
            | Registry(path) => path,
        }
    }
}

use Part::{Busybox, Directory, Go, Link, Pause, Registry, Source, Text};

const fn kubernetes(package: &'static str) -> Program {
    Program {
        module: SUITE,
        package,
    }
}

pub const AGNHOST_PROGRAM: Program = kubernetes("k8s.io/kubernetes/test/images/agnhost");
pub const ETCD_PROGRAM: Program = Program {
    module: ETCD,
    package: "go.etcd.io/etcd/server/v3",
};
pub const COREDNS_PROGRAM: Program = Program {
    module: COREDNS,
    package: "github.com/coredns/coredns",
};
/// Prints the names of the images that the suite wants.
pub const NAMES_PROGRAM: Program = kubernetes("knarr.dev/tests/upstream/suite/images");

macro_rules! users {
    () => {
        "root:x:0:0:root:/root:/bin/sh\n\
         daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         bin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
         www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    };
}
macro_rules! groups {
    () => {
        "root:x:0:\n\
         daemon:x:1:\n\
         bin:x:2:\n\
         tty:x:5:\n\
         www-data:x:33:\n\
         nogroup:x:65534:\n"
    };
}

/// No libc, no package: one static program.
static SHELL: Layer = Layer {
    name: "shell",
    on: None,
    packages: &[],
    parts: &[
        Directory("usr", 0o755),
        Directory("usr/bin", 0o755),
        Directory("usr/sbin", 0o755),
        Directory("usr/lib", 0o755),
        Directory("usr/lib64", 0o755),
        Link("bin", "usr/bin"),
        Link("sbin", "usr/sbin"),
        Link("lib", "usr/lib"),
        Link("lib64", "usr/lib64"),
        Directory("etc", 0o755),
        Directory("home", 0o755),
        Directory("root", 0o700),
        Directory("tmp", 0o1777),
        Directory("var", 0o755),
        Directory("var/tmp", 0o1777),
        Directory("run", 0o755),
        Link("var/run", "/run"),
        Text("etc/passwd", users!()),
        Text("etc/group", groups!()),
        Text(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n",
        ),
        Busybox("usr/bin/busybox"),
    ],
};

/// The usual programs of a Debian system. Its shell stays busybox's.
static BASE: Layer = Layer {
    name: "base",
    on: Some(&SHELL),
    packages: &[
        "base-files",
        "bash",
        "coreutils",
        "diffutils",
        "findutils",
        "grep",
        "gzip",
        "hostname",
        "libc-bin",
        "libc6",
        "mawk",
        "netbase",
        "procps",
        "sed",
    ],
    // Links that Debian's tool for alternatives would make.
    parts: &[Link("usr/bin/awk", "mawk")],
};

static DNS: Layer = Layer {
    name: "dns",
    on: Some(&BASE),
    packages: &["bind9-dnsutils"],
    parts: &[Go("coredns", 0o755, COREDNS_PROGRAM)],
};

static AGNHOST: Layer = Layer {
    name: "agnhost",
    on: Some(&DNS),
    packages: &[
        "curl",
        "iperf",
        "iproute2",
        "iptables",
        "iputils-ping",
        "net-tools",
        "netcat-openbsd",
        "socat",
    ],
    parts: &[
        Link("usr/bin/nc", "nc.openbsd"),
        Link("usr/bin/netcat", "nc.openbsd"),
        Link("usr/sbin/iptables", "iptables-nft"),
        Link("usr/sbin/iptables-save", "iptables-nft-save"),
        Link("usr/sbin/iptables-restore", "iptables-nft-restore"),
        Link("usr/sbin/ip6tables", "ip6tables-nft"),
        Link("usr/sbin/ip6tables-save", "ip6tables-nft-save"),
        Link("usr/sbin/ip6tables-restore", "ip6tables-nft-restore"),
        Directory("usr/local", 0o755),
        Directory("usr/local/bin", 0o755),
        Link("usr/local/bin/iperf", "/usr/bin/iperf"),
        Text(
            "etc/passwd",
            concat!(
                users!(),
                "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
            ),
        ),
        Text(
            "etc/group",
            concat!(
                groups!(),
                "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
            ),
        ),
        // The real image is Alpine's, and a spec of image volumes looks for its name.
        Text(
            "etc/os-release",
            "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Stand-in for Alpine Linux, made of Debian packages\"\n",
        ),
        Directory("uploads", 0o755),
        Registry("var/registry"),
        Source("localhost.crt", "test/images/agnhost/porter/localhost.crt"),
        Source("localhost.key", "test/images/agnhost/porter/localhost.key"),
        Go("agnhost", 0o755, AGNHOST_PROGRAM),
        Link("agnhost-2", "agnhost"),
    ],
};

static KITTEN: Layer = Layer {
    name: "kitten",
    on: Some(&AGNHOST),
    packages: &[],
    parts: &[
        Source("kitten.jpg", "test/images/kitten/html/kitten.jpg"),
        Source("data.json", "test/images/kitten/html/data.json"),
    ],
};

static NAUTILUS: Layer = Layer {
    name: "nautilus",
    on: Some(&AGNHOST),
    packages: &[],
    parts: &[
        Source("nautilus.jpg", "test/images/nautilus/html/nautilus.jpg"),
        Source("data.json", "test/images/nautilus/html/data.json"),
    ],
};

static NGINX: Layer = Layer {
    name: "nginx",
    on: Some(&BASE),
    packages: &["nginx"],
    parts: &[
        Text(
            "etc/nginx/nginx.conf",
            "worker_processes 1;\n\
             pid /run/nginx.pid;\n\
             error_log /dev/stderr notice;\n\
             events { worker_connections 1024; }\n\
             http {\n    \
                 include /etc/nginx/mime.types;\n    \
                 access_log /dev/stdout;\n    \
                 server {\n        \
                     listen 80;\n        \
                     root /usr/share/nginx/html;\n    \
                 }\n\
             }\n",
        ),
        Directory("var/log/nginx", 0o755),
    ],
};

static IPC: Layer = Layer {
    name: "ipc",
    on: Some(&BASE),
    packages: &["util-linux"],
    parts: &[],
};

static PERL: Layer = Layer {
    name: "perl",
    on: Some(&BASE),
    packages: &["perl", "perl-base"],
    parts: &[],
};

static CONSUMER: Layer = Layer {
    name: "consumer",
    on: Some(&BASE),
    packages: &["stress"],
    parts: &[
        Go(
            "consumer",
            0o755,
            kubernetes("k8s.io/kubernetes/test/images/resource-consumer"),
        ),
        Go(
            "consume-cpu/consume-cpu",
            0o755,
            kubernetes("k8s.io/kubernetes/test/images/resource-consumer/consume-cpu"),
        ),
    ],
};

static REGRESSION: Layer = Layer {
    name: "regression",
    on: Some(&BASE),
    packages: &[],
    parts: &[Go(
        "regression-issue-74839",
        0o755,
        kubernetes("k8s.io/kubernetes/test/images/regression-issue-74839"),
    )],
};

static NONEWPRIVS: Layer = Layer {
    name: "nonewprivs",
    on: Some(&SHELL),
    packages: &[],
    parts: &[
        Directory("usr/local", 0o755),
        Directory("usr/local/bin", 0o755),
        // It prints its effective user, which is root only if the bit is obeyed.
        Go(
            "usr/local/bin/nnp",
            0o6755,
            kubernetes("k8s.io/kubernetes/test/images/nonewprivs"),
        ),
    ],
};

static SAMPLE_APISERVER: Layer = Layer {
    name: "sample-apiserver",
    on: Some(&SHELL),
    packages: &[],
    parts: &[Go(
        "sample-apiserver",
        0o755,
        kubernetes("k8s.io/sample-apiserver"),
    )],
};

static ETCD_SERVER: Layer = Layer {
    name: "etcd",
    on: Some(&SHELL),
    packages: &[],
    parts: &[
        Directory("usr/local", 0o755),
        Directory("usr/local/bin", 0o755),
        Go("usr/local/bin/etcd", 0o755, ETCD_PROGRAM),
        Go(
            "usr/local/bin/etcdctl",
            0o755,
            Program {
                module: ETCD,
                package: "go.etcd.io/etcd/etcdctl/v3",
            },
        ),
    ],
};

static NOTHING: Layer = Layer {
    name: "pause",
    on: None,
    packages: &[],
    parts: &[Pause("pause")],
};

pub static IMAGES: &[Image] = &[
    Image {
        entrypoint: &["/agnhost"],
        command: &["pause"],
        ..image("registry.k8s.io/e2e-test-images/agnhost", &AGNHOST)
    },
    Image {
        command: &["sh"],
        ..image("registry.k8s.io/e2e-test-images/busybox", &SHELL)
    },
    image("registry.k8s.io/e2e-test-images/glibc-dns-testing", &DNS),
    image("registry.k8s.io/e2e-test-images/ipc-utils", &IPC),
    Image {
        entrypoint: &["/agnhost"],
        command: &["test-webserver"],
        ..image("registry.k8s.io/e2e-test-images/kitten", &KITTEN)
    },
    Image {
        entrypoint: &["/agnhost"],
        command: &["test-webserver"],
        ..image("registry.k8s.io/e2e-test-images/nautilus", &NAUTILUS)
    },
    Image {
        command: &["nginx", "-g", "daemon off;"],
        ..image("registry.k8s.io/e2e-test-images/nginx", &NGINX)
    },
    Image {
        command: &["nnp"],
        ..image("registry.k8s.io/e2e-test-images/nonewprivs", &NONEWPRIVS)
    },
    Image {
        user: "1234",
        ..image("registry.k8s.io/e2e-test-images/nonroot", &BASE)
    },
    Image {
        command: &["perl", "-de0"],
        ..image("registry.k8s.io/e2e-test-images/perl", &PERL)
    },
    Image {
        entrypoint: &["/regression-issue-74839"],
        ..image(
            "registry.k8s.io/e2e-test-images/regression-issue-74839",
            &REGRESSION,
        )
    },
    Image {
        entrypoint: &["/consumer"],
        ..image(
            "registry.k8s.io/e2e-test-images/resource-consumer",
            &CONSUMER,
        )
    },
    Image {
        entrypoint: &["/sample-apiserver"],
        ..image(
            "registry.k8s.io/e2e-test-images/sample-apiserver",
            &SAMPLE_APISERVER,
        )
    },
    Image {
        entrypoint: &["/coredns"],
        command: &[],
        ..image("registry.k8s.io/coredns/coredns", &DNS)
    },
    image("registry.k8s.io/etcd", &ETCD_SERVER),
    Image {
        entrypoint: &["/pause"],
        user: "65535:65535",
        ..image("registry.k8s.io/pause", &NOTHING)
    },
];

/// DNS as kubeadm sets it up, which the suite does not name but upstream's cluster runs.
pub const DNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.14.6";

/// Images that the suite does not name.
pub const MORE: [&str; 1] = [DNS_IMAGE];

/// A shell, as root.
const fn image(repository: &'static str, layer: &'static Layer) -> Image {
    Image {
        repository,
        layer,
        entrypoint: &[],
        command: &["sh"],
        user: "",
    }
}

/// Repositories, or the beginnings of their names, whose images no conformance spec uses, and what they are for.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "gcr.io/k8s-authenticated-test/",
        "a registry that wants a password",
    ),
    ("invalid.registry.k8s.io/", "must not exist"),
    (
        "registry.k8s.io/build-image/distroless-iptables",
        "a check of kube-proxy's own rules",
    ),
    ("registry.k8s.io/cloud-provider-gcp/", "Google's disks"),
    (
        "registry.k8s.io/e2e-test-images/apparmor-loader",
        "AppArmor",
    ),
    (
        "registry.k8s.io/e2e-test-images/node-perf/",
        "load of a node",
    ),
    (
        "registry.k8s.io/e2e-test-images/sample-device-plugin",
        "device plugins",
    ),
    (
        "registry.k8s.io/e2e-test-images/volume/",
        "NFS and iSCSI volumes",
    ),
    ("registry.k8s.io/sig-storage/", "CSI drivers"),
];
