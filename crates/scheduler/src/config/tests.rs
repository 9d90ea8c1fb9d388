use super::*;

fn parse(body: &str) -> Result<Config, String> {
    let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    Config::parse(format!("{head}{body}\n").as_bytes())
}

/// The arguments of a plugin of the only profile.
fn with_args(plugin: &str, args: &str) -> String {
    format!("profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]")
}

/// Upstream's messages, or ours in its form for what only we refuse.
#[test]
fn what_is_wrong_is_told_with_its_path() {
    let cases = [
        (
            "parallelism: 0",
            "parallelism: Invalid value: 0: should be an integer value greater than zero",
        ),
        (
            "percentageOfNodesToScore: 101",
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "podInitialBackoffSeconds: 0",
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "podInitialBackoffSeconds: 20",
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "profiles: [{schedulerName: a}, {}]",
            "profiles[1].schedulerName: Required value",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]",
            "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
        ),
        (
            "profiles: [{percentageOfNodesToScore: -1}]",
            "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]",
        ),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit}, {name: NodeResourcesFit}]}]",
            "profiles[0].pluginConfig[1]: Duplicate value: \"NodeResourcesFit\"",
        ),
        (
            "profiles: [{pluginConfig: [{name: EBSLimits}]}]",
            "profiles[0].pluginConfig[0]: Invalid value: \"EBSLimits\": was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
        ),
        (
            "profiles: [{plugins: {filter: {enabled: [{name: Other}]}}}]",
            "profiles[0].plugins.filter.enabled[0]: Invalid value: \"Other\": FilterPlugin \"Other\" does not exist",
        ),
        (
            "profiles: [{plugins: {score: {enabled: [{name: NodePorts}]}}}]",
            "profiles[0].plugins.score.enabled[0]: Invalid value: \"NodePorts\": plugin \"NodePorts\" does not extend ScorePlugin plugin",
        ),
        (
            "profiles: [{plugins: {permit: {enabled: [{name: NodePorts}]}}}]",
            "profiles[0].plugins.permit.enabled[0]: Invalid value: \"NodePorts\": plugin \"NodePorts\" does not extend PermitPlugin plugin",
        ),
        (
            "profiles: [{plugins: {score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}}}]",
            "profiles[0].plugins.score.enabled: Duplicate value: \"ImageLocality\"",
        ),
        (
            "profiles: [{plugins: {bind: {disabled: [{name: \"*\"}]}}}]",
            "profiles[0].plugins.bind: Forbidden: DefaultBinder cannot be disabled",
        ),
        (
            "profiles: [{plugins: {preFilter: {disabled: [{name: NodeAffinity}]}}}]",
            "profiles[0].plugins.preFilter: Forbidden: NodeAffinity runs at preFilter, filter together, or at none of them",
        ),
        (
            "profiles: [{plugins: {filter: {disabled: [{name: NodeAffinity}]}}}]",
            "profiles[0].plugins.filter: Forbidden: NodeAffinity runs at preFilter, filter together, or at none of them",
        ),
        (
            "profiles: [{plugins: {preScore: {disabled: [{name: InterPodAffinity}]}}}]",
            "profiles[0].plugins.preScore: Forbidden: InterPodAffinity runs at preScore, score together, or at none of them",
        ),
        (
            "extenders: [{urlPrefix: \"http://x\", prioritizeVerb: p}]",
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "extenders: [{urlPrefix: \"http://x\", bindVerb: b}, {urlPrefix: \"http://y\", bindVerb: b}]",
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ),
        (
            "extenders: [{urlPrefix: \"http://x\", managedResources: [{name: cpu}]}]",
            "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name",
        ),
        (
            "extenders: [{urlPrefix: \"x\"}]",
            "extenders[0].urlPrefix: Invalid value: \"x\": must be a URL of http or https",
        ),
        (
            "extenders: [{urlPrefix: \"https://x\", tlsConfig: {caData: eA==}}]",
            "extenders[0].tlsConfig: Invalid value: no certificate is in it",
        ),
        (
            "leaderElection: {leaderElect: false}",
            "leaderElection.leaderElect: Forbidden: servers that share a datastore elect who schedules",
        ),
        (
            "leaderElection: {leaseDuration: 30s}",
            "leaderElection.leaseDuration: Unsupported value: \"30s\": supported values: \"15s\"",
        ),
        (
            "clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}",
            "clientConnection.kubeconfig: Forbidden: the scheduler is given its connection by the process that it is part of",
        ),
        (
            "enableProfiling: true",
            "enableProfiling: Forbidden: there are no profiles of this scheduler's process",
        ),
        (
            "other: 1\nprofiles: [{more: 2}]",
            "strict decoding error: unknown field \"other\", unknown field \"profiles[0].more\"",
        ),
        (
            "profiles: [{schedulerName: 3}]",
            "strict decoding error: cannot decode field \"profiles[0].schedulerName\": invalid type: integer `3`, expected a string",
        ),
    ];
    for (body, wanted) in cases {
        let found = parse(body).expect_err(body);
        assert_eq!(found, wanted, "{body}");
    }
}

#[test]
fn arguments_are_checked_as_upstream_checks_them() {
    let cases = [
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 101}",
            "minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesAbsolute: -1}",
            "minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)",
        ),
        (
            "InterPodAffinity",
            "{hardPodAffinityWeight: 101}",
            "hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: Best}}",
            "scoringStrategy.type: Unsupported value: \"Best\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {resources: [{name: cpu}]}}",
            "scoringStrategy.type: Unsupported value: \"\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}}",
            "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio}}",
            "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 1}, {utilization: 50}]}}}",
            "scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 50: values must be sorted in increasing order",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: LeastAllocated, requestedToCapacityRatio: {}}}",
            "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            "{ignoredResourceGroups: [a/b]}",
            "ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu, weight: 2}]}",
            "resources[0].weight: Invalid value: 2: must be 1",
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu}, {name: cpu}]}",
            "resources[1].name: Duplicate value: \"cpu\"",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: None}",
            "defaultingType: Unsupported value: \"None\": supported values: \"System\", \"List\"",
        ),
        (
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]}",
            "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]}",
            "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: Never}]}",
            "defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]}",
            "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod",
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Is}]}]}}}",
            "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\"",
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}",
            "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            "VolumeBinding",
            "{bindTimeoutSeconds: -1}",
            "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            "DynamicResources",
            "{filterTimeout: -1s}",
            "filterTimeout: Invalid value: \"-1s\": must be zero or positive",
        ),
        (
            "DynamicResources",
            "{bindingTimeout: 500ms}",
            "bindingTimeout: Invalid value: \"500ms\": must be at least 1 second",
        ),
    ];
    for (plugin, args, wanted) in cases {
        let found = parse(&with_args(plugin, args)).expect_err(args);
        let wanted = format!("profiles[0].pluginConfig[0].args.{wanted}");
        assert_eq!(found, wanted, "{plugin} {args}");
    }
    let unknown = parse(&with_args("NodeResourcesFit", "{x: 1}")).expect_err("an unknown field");
    assert_eq!(
        unknown,
        "strict decoding error: decoding .profiles[0].pluginConfig[0]: decoding args for plugin NodeResourcesFit: \
         strict decoding error: unknown field \"x\""
    );
    let nobody = parse(&with_args("NodePorts", "{}")).expect_err("it takes none");
    assert!(
        nobody.starts_with("profiles[0].pluginConfig[0].name: Unsupported value: \"NodePorts\"")
    );
}

#[test]
fn the_default_profile_is_upstreams() {
    let profile = Profile::default();
    assert_eq!(profile.scheduler_name, "default-scheduler");
    assert!(profile.preempts);
    let scores: Vec<_> = profile
        .scores
        .iter()
        .filter(|(_, weight)| *weight > 1)
        .collect();
    assert_eq!(
        scores,
        [
            &("TaintToleration", 3),
            &("NodeAffinity", 2),
            &("PodTopologySpread", 2),
            &("InterPodAffinity", 2),
            &("DynamicResources", 2),
        ]
    );
    let read = parse("").expect("an empty configuration");
    assert_eq!(read.profiles[0].filters, profile.filters);
    assert_eq!(read.backoff, Backoff::default());
}

/// In the order of upstream's `expandMultiPointPlugins`: named again at the point, of multiPoint, named there only.
#[test]
fn plugins_run_in_the_order_of_their_sets() {
    let filters = |plugins: &str| {
        let config = parse(&format!("profiles: [{{plugins: {plugins}}}]"));
        let config = config.unwrap_or_else(|error| panic!("{plugins}: {error}"));
        config.profiles[0].filters.clone()
    };
    let default = Profile::default().filters;
    let moved = filters("{filter: {enabled: [{name: NodePorts}, {name: NodeName}]}}");
    assert_eq!(moved[..2], ["NodePorts", "NodeName"]);
    assert_eq!(moved.len(), default.len());
    let without = filters("{multiPoint: {disabled: [{name: NodePorts}]}}");
    assert_eq!(without.len(), default.len() - 1);
    assert!(!without.contains(&"NodePorts"));
    let only = filters(
        "{preFilter: {disabled: [{name: \"*\"}], enabled: [{name: NodePorts}]}, filter: {disabled: [{name: \"*\"}], enabled: [{name: NodePorts}]}, reserve: {disabled: [{name: \"*\"}]}, preBind: {disabled: [{name: \"*\"}]}, preEnqueue: {disabled: [{name: DynamicResources}]}, postFilter: {disabled: [{name: DynamicResources}]}}",
    );
    assert_eq!(only, ["NodePorts"]);
    let again =
        filters("{multiPoint: {disabled: [{name: NodePorts}], enabled: [{name: NodePorts}]}}");
    assert_eq!(
        again.last(),
        Some(&"NodePorts"),
        "what is enabled again comes last"
    );
}

#[test]
fn numbers_are_taken_over() {
    let config = parse(
        "percentageOfNodesToScore: 30\npodInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 60\n\
         profiles: [{schedulerName: a}, {schedulerName: b, percentageOfNodesToScore: 70}]\n\
         extenders: [{urlPrefix: \"http://x/\", filterVerb: f, httpTimeout: 300ms, enableHTTPS: true}]",
    )
    .expect("a configuration");
    let percentages = config
        .profiles
        .iter()
        .map(|p| p.percentage_of_nodes_to_score);
    assert_eq!(percentages.collect::<Vec<_>>(), [30, 70]);
    let waits: Vec<_> = [1, 2, 6, 40]
        .map(|n| config.backoff.after(n).as_secs())
        .into();
    assert_eq!(waits, [2, 4, 60, 60]);
    let extender = &config.extenders[0];
    assert_eq!(
        (extender.url.as_str(), extender.timeout),
        ("http://x", Duration::from_millis(300))
    );
    assert!(extender.tls.insecure, "nothing is said of who it has to be");
}
