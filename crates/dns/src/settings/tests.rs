use knarr_client::Informer;

use super::*;

/// What kubeadm makes.
const KUBEADM: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

fn around() -> Surroundings {
    let resolvers = vec!["192.0.2.53:53".parse().unwrap()];
    let own = vec!["10.43.0.10".parse().unwrap()];
    crate::surroundings("cluster.local", resolvers, own).unwrap()
}

fn map(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

fn read(text: &str) -> Result<Settings, Error> {
    Settings::read(&around(), Some(&map(&[("Corefile", text)])), &map(&[]))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// What a name is below a block.
fn told(settings: &Settings, text: &str, kind: RecordType) -> String {
    let Some(site) = settings.site(&name(text)) else {
        return "nobody".to_owned();
    };
    match site.lookup(&crate::zone::tests::zone(), &name(text), kind) {
        Answer::Records(records) => records
            .iter()
            .map(|record| format!("{} {}", record.ttl, record.data))
            .collect::<Vec<_>>()
            .join(", "),
        other => format!("{other:?}"),
    }
}

#[test]
fn kubeadms_configuration_is_understood() {
    let settings = read(KUBEADM).unwrap();
    let site = settings.only().expect("one block for all names");
    assert_eq!(
        told(&settings, "web.default.svc.cluster.local.", RecordType::A),
        "30 10.43.0.9"
    );
    assert_eq!(
        told(&settings, "none.default.svc.cluster.local.", RecordType::A),
        "NoName"
    );
    assert_eq!(
        told(
            &settings,
            "10-0-0-1.default.pod.cluster.local.",
            RecordType::A
        ),
        "30 10.0.0.1"
    );
    assert_eq!(
        told(&settings, "9.9.9.9.in-addr.arpa.", RecordType::PTR),
        "Foreign"
    );
    assert_eq!(told(&settings, "example.org.", RecordType::A), "Foreign");
    let rules = site.outside.rules().expect("a cache");
    assert_eq!(
        (rules.success.most, rules.denial.most, rules.success.least),
        (30, 30, 5)
    );
    assert!(rules.stale.is_zero(), "as CoreDNS by default");
    let idle: Vec<&str> = settings.idle().into_iter().collect();
    assert_eq!(
        idle,
        [
            "errors",
            "health",
            "loadbalance",
            "loop",
            "prometheus",
            "ready",
            "reload"
        ]
    );
}

#[test]
fn the_longest_zone_has_the_name() {
    let text = "example.com example.net {\nforward . 10.0.0.1\n}\nsub.example.com:53 {\nhosts {\n10.0.0.9 a.sub.example.com\n}\n}\n";
    let settings = read(text).unwrap();
    assert_eq!(told(&settings, "a.example.com.", RecordType::A), "Foreign");
    assert_eq!(told(&settings, "a.example.net.", RecordType::A), "Foreign");
    assert_eq!(
        told(&settings, "a.sub.example.com.", RecordType::A),
        "3600 10.0.0.9"
    );
    assert_eq!(
        told(&settings, "b.sub.example.com.", RecordType::A),
        "Failure"
    );
    assert_eq!(
        told(&settings, "web.default.svc.cluster.local.", RecordType::A),
        "nobody"
    );
    // The zones of a block have what it keeps in common.
    let site = |text: &str| settings.site(&name(text)).unwrap().clone();
    assert!(Arc::ptr_eq(
        &site("a.example.com."),
        &site("a.example.net.")
    ));
}

/// As k3s has it: nodes in a table of the same map, users' own in `coredns-custom`.
#[test]
fn files_of_both_maps_are_read() {
    let main = map(&[
        (
            "Corefile",
            ".:53 {\nkubernetes cluster.local in-addr.arpa ip6.arpa {\npods insecure\nfallthrough in-addr.arpa ip6.arpa\n}\nhosts /etc/coredns/NodeHosts {\nttl 60\nreload 15s\nfallthrough\n}\nforward . /etc/resolv.conf\nimport /etc/coredns/custom/*.override\n}\nimport /etc/coredns/custom/*.server\n",
        ),
        ("NodeHosts", "192.0.2.7 node-a\n# 192.0.2.8 node-b\n"),
    ]);
    let custom = map(&[
        (
            "x.override",
            "rewrite name db.example.com web.default.svc.cluster.local\n",
        ),
        ("y.server", "corp.example.com {\nforward . 192.0.2.1\n}\n"),
        ("notes", "nobody imports this {"),
    ]);
    let settings = Settings::read(&around(), Some(&main), &custom).unwrap();
    assert_eq!(told(&settings, "node-a.", RecordType::A), "60 192.0.2.7");
    assert_eq!(
        told(&settings, "7.2.0.192.in-addr.arpa.", RecordType::PTR),
        "60 node-a."
    );
    assert_eq!(told(&settings, "node-b.", RecordType::A), "Foreign");
    assert_eq!(settings.site(&name("a.")).unwrap().rewrites.len(), 1);
    assert!(
        settings
            .site(&name("a.corp.example.com."))
            .unwrap()
            .rewrites
            .is_empty()
    );
    // Without a Corefile they are added to what is built in.
    let settings = Settings::read(&around(), None, &custom).unwrap();
    assert_eq!(
        told(&settings, "web.default.svc.cluster.local.", RecordType::A),
        "5 10.43.0.9"
    );
    assert_eq!(settings.site(&name("a.")).unwrap().rewrites.len(), 1);
    assert!(settings.site(&name("a.corp.example.com.")).is_some());
    let rules = |settings: &Settings| {
        let site = settings.site(&Name::root()).unwrap().clone();
        site.outside.rules().cloned()
    };
    assert_eq!(rules(&settings), rules(&Settings::built_in(&around())));
}

#[test]
fn the_clusters_names_are_told_as_is_said() {
    let settings = read(". {\nkubernetes cluster.local in-addr.arpa {\nttl 0\n}\n}").unwrap();
    assert_eq!(
        told(&settings, "web.default.svc.cluster.local.", RecordType::A),
        "0 10.43.0.9"
    );
    assert_eq!(
        told(
            &settings,
            "10-0-0-1.default.pod.cluster.local.",
            RecordType::A
        ),
        "NoName"
    );
    assert_eq!(
        told(&settings, "9.9.9.9.in-addr.arpa.", RecordType::PTR),
        "NoName"
    );
    let settings = read(". {\nkubernetes cluster.local {\nfallthrough\n}\n}").unwrap();
    let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    let zone = Zone::with(
        "cluster.local",
        services.clone(),
        slices.clone(),
        namespaces.clone(),
    );
    let zone = zone.unwrap();
    let missing = name("none.default.svc.cluster.local.");
    let lookup = || {
        let site = settings.site(&missing).unwrap();
        site.lookup(&zone, &missing, RecordType::A)
    };
    assert!(
        matches!(lookup(), Answer::NoName),
        "it may not be known yet"
    );
    services.replace(Vec::new());
    slices.replace(Vec::new());
    namespaces.replace(Vec::new());
    assert!(matches!(lookup(), Answer::Foreign));
}

#[test]
fn caches_are_as_they_are_said_to_be() {
    let rules = |text: &str| {
        let settings = read(&format!(". {{\n{text}\n}}")).unwrap();
        settings.only().unwrap().outside.rules().cloned()
    };
    assert_eq!(rules("errors"), None);
    let plain = rules("cache").unwrap();
    assert_eq!(
        (plain.success.most, plain.denial.most, plain.popular),
        (3600, 1800, 0)
    );
    let whole = rules("cache 60 example.com {\nsuccess 500 120 10\ndenial 0\nprefetch 3 1m 20%\nserve_stale 30m verify 1s\nservfail 0\ndisable denial a.example.com\n}").unwrap();
    let range = |least, most| crate::cache::Range { least, most };
    assert_eq!((whole.success, whole.successes), (range(10, 120), 500));
    assert_eq!((whole.denial, whole.denials), (range(5, 60), 0));
    assert_eq!(
        (whole.popular, whole.prefetch_percent, whole.failure),
        (3, 20, 0)
    );
    assert_eq!(
        (whole.stale.as_secs(), whole.stale_wait.as_secs()),
        (1800, 1)
    );
    assert_eq!(whole.zones, [name("example.com.")]);
    assert_eq!(whole.except_denials, [name("a.example.com.")]);
}

#[test]
fn what_is_not_understood_is_told() {
    for (text, told) in [
        ("", "Corefile:1: there is no server block"),
        (
            ". {\ntemplate IN A\n}",
            "Corefile:2: the plugin \"template\" is not supported",
        ),
        (
            ". {\ncache\ncache\n}",
            "Corefile:3: this plugin can only be used once per server block",
        ),
        (". {\n}\n.:53 {\n}", "Corefile:3: . has a block already"),
        (
            ".:5353 {\n}",
            "Corefile:1: port \"5353\" is not served, only 53",
        ),
        (
            "tls://. {\n}",
            "Corefile:1: tls is not served, only plain DNS",
        ),
        ("(a) {\n}", "Corefile:1: the snippet (a) is not understood"),
        (
            ". {\nkubernetes other.domain\n}",
            "Corefile:2: the cluster's domain is cluster.local. and not other.domain.: `--cluster-domain` says it",
        ),
        (
            ". {\nkubernetes in-addr.arpa\n}",
            "Corefile:2: non-reverse zone name must be used",
        ),
        (
            ". {\nkubernetes cluster.local {\npods verified\n}\n}",
            "Corefile:3: pods are not verified here: say `pods insecure` or disabled",
        ),
        (
            ". {\nkubernetes cluster.local {\nttl 3601\n}\n}",
            "Corefile:3: \"3601\" is no number from 0 to 3600",
        ),
        (
            ". {\nkubernetes cluster.local {\nnamespaces a\n}\n}",
            "Corefile:3: \"namespaces\" is not supported",
        ),
        (
            ". {\nforward .\n}",
            "Corefile:2: forward names nobody to ask",
        ),
        (
            ". {\nforward . tls://1.1.1.1\n}",
            "Corefile:2: resolvers are asked by plain DNS, not by tls",
        ),
        (
            ". {\nforward . dns.example.com\n}",
            "Corefile:2: \"dns.example.com\" is neither an address nor /etc/resolv.conf",
        ),
        (
            ". {\nforward . 1.1.1.1 {\npolicy first\n}\n}",
            "Corefile:3: unknown policy \"first\"",
        ),
        (
            ". {\nforward . 1.1.1.1 {\ntls\n}\n}",
            "Corefile:3: \"tls\" is not supported",
        ),
        (
            ". {\ncache 0\n}",
            "Corefile:2: \"0\" is no number from 1 to 4294967295",
        ),
        (
            ". {\ncache {\nservfail 6m\n}\n}",
            "Corefile:3: caching SERVFAIL responses over 5 minutes is not permitted",
        ),
        (
            ". {\ncache {\nservfail 5x\n}\n}",
            "Corefile:3: invalid duration \"5x\"",
        ),
        (
            ". {\nhosts {\nweb 10.0.0.1\n}\n}",
            "Corefile:3: unknown property 'web 10.0.0.1'",
        ),
        (
            ". {\nhosts /none\n}",
            "Corefile:2: the ConfigMap has no \"none\"",
        ),
        (
            ". {\nrewrite type A AAAA\n}",
            "Corefile:2: rewrite knows names only, and not \"type\"",
        ),
    ] {
        let error = read(text).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(told), "{text}");
    }
}

#[test]
fn ranges_of_addresses_are_zones() {
    let line = Line {
        file: "Corefile".to_owned(),
        number: 1,
        words: Vec::new(),
    };
    let zone = |text: &str| plugins::zone(&line, text).map(|zone| zone.to_ascii()).ok();
    assert_eq!(zone("10.1.0.0/16").as_deref(), Some("1.10.in-addr.arpa."));
    assert_eq!(zone("fd00::/8").as_deref(), Some("d.f.ip6.arpa."));
    assert_eq!(zone("10.0.0.0/9"), None);
    assert_eq!(zone("Example.COM").as_deref(), Some("example.com."));
}
