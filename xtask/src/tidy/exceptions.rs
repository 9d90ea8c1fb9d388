//! What stays as it is, each with a reason. One that is not needed any more is refused.

/// Arrows that may lead up: all of a file's, or one.
pub const UPWARD: &[(&str, &str)] = &[
    (
        "crates/cel/src/composition.rs -> crates/cel/src/eval.rs",
        "a variable is evaluated when an expression first asks for it, and its expression asks for others",
    ),
    (
        "crates/cel/src/value.rs -> crates/cel/src/library.rs",
        "a value may be one of a library's, and libraries work on values",
    ),
    (
        "crates/devices/src/allocator.rs",
        "the face of the crate: it calls the search and shows its result, whose errors are its own",
    ),
    (
        "crates/host/src/directory.rs -> crates/host/src/remove.rs",
        "a directory removes what it has by the removal of trees, which opens directories",
    ),
    (
        "crates/kubelet/src/context.rs",
        "holds all parts of a kubelet, and every part is handed it",
    ),
    (
        "crates/kubelet/src/status.rs -> crates/kubelet/src/status/conditions.rs",
        "a status is made of what a worker remembers, and a worker remembers conditions",
    ),
    (
        "crates/kubelet/src/volume/claim.rs -> crates/kubelet/src/volume/local.rs",
        "what a claim is bound to is set up as its own type is, in the claim's place",
    ),
    (
        "crates/kubelet/src/worker.rs -> crates/kubelet/src/eviction.rs",
        "a worker is told of an eviction, which looks for workers",
    ),
    (
        "crates/kubelet/src/worker/admission.rs",
        "makes room by preemption, which is told what is lacking",
    ),
    (
        "crates/kubelet/src/worker/kill.rs -> crates/kubelet/src/worker/hooks.rs",
        "a hook runs before a container is killed, and finds it as killing does",
    ),
    (
        "crates/kubelet/src/worker/plan.rs -> crates/kubelet/src/status/container.rs",
        "an end that nobody saw has one name in plans and in statuses",
    ),
    (
        "crates/kubelet/src/worker/start.rs -> crates/kubelet/src/worker/images.rs",
        "images are fetched as a sequence of starts is under way",
    ),
    (
        "crates/runtime/src/container.rs -> crates/runtime/src/stats.rs",
        "a container keeps what its disk was last found to hold",
    ),
    (
        "crates/runtime/src/cri.rs -> crates/runtime/src/sandbox.rs",
        "shows sandboxes as CRI has them, which they tell events in",
    ),
    (
        "crates/runtime/src/runtime.rs",
        "holds all parts of a runtime, and every part is handed it",
    ),
    (
        "crates/scheduler/src/framework.rs",
        "a pod's state has a typed field for each plugin, so that none has to be asked for its type",
    ),
    (
        "crates/scheduler/src/framework/profiles.rs",
        "a profile has the plugins by name that do more than filter and score",
    ),
    (
        "crates/scheduler/src/pod_info.rs",
        "what plugins read of a pod is read once",
    ),
];

/// Folders with more floors than the limit, and how many.
pub const DEEP: &[(&str, usize, &str)] = &[
    (
        "benches/src",
        9,
        "tables of reports of figures of rows: each is made of the one below",
    ),
    (
        "crates/api/src",
        7,
        "documents over tables over groups over what a kind is",
    ),
    (
        "crates/apiserver/src/rest",
        8,
        "verbs that are made of verbs: a scale is a patch, which may be an apply",
    ),
    (
        "crates/apply/src",
        7,
        "sets of fields of elements, and what is done with them",
    ),
    (
        "crates/controllers/src",
        9,
        "controllers of controllers' objects share one way of counting pods",
    ),
    ("crates/devices/src", 9, "a search over pools over devices"),
    (
        "crates/ingress/src",
        11,
        "a connection passes listener, router and backend, whose rules are made of what objects say",
    ),
    (
        "crates/knarr/src",
        11,
        "subcommands start one another's parts: up is a server and a node",
    ),
    (
        "crates/nft/src",
        7,
        "statements of rules of tables of transactions",
    ),
    (
        "crates/policy/src",
        7,
        "a plan of chains of sets of addresses",
    ),
    (
        "crates/registry/src/cache",
        9,
        "a feed fills resources, whose rings wake watchers of entries, of which forms are kept",
    ),
    (
        "crates/runtime/src",
        8,
        "recovery over containers over what they are made from",
    ),
    (
        "crates/scheduler/src",
        7,
        "a simulation over the cycle over the framework, whose points are asked what plugins hold for a pod",
    ),
    (
        "crates/shim/src",
        8,
        "a server over containers over their launch over what a sandbox is made of",
    ),
    (
        "crates/schema/src",
        7,
        "checks of rules of schemas of types",
    ),
];

/// Files that would be worse in pieces.
pub const LONG_FILES: &[(&str, &str)] = &[
    (
        "crates/api/src/core/pod/tests.rs",
        "tables of what a pod may say",
    ),
    (
        "crates/devices/src/tests.rs",
        "tables of pools and claims over one cluster",
    ),
    (
        "crates/meta/src/patch/tests/cases.rs",
        "one table of patches",
    ),
    (
        "crates/runtime/src/container/run.rs",
        "a container from its creation to its end, whose steps undo those before them",
    ),
    (
        "crates/runtime/src/cri/runtime.rs",
        "the calls of one service, a few lines each",
    ),
    ("crates/runtime/tests/cri.rs", "stories over one runtime"),
];

/// `FILE NAME` of functions that would be worse in pieces.
pub const LONG_FUNCTIONS: &[(&str, &str)] = &[
    (
        "crates/admission/src/matching/tests.rs selectors_look_at_namespace_and_both_objects",
        "one story: each step stands on those before it",
    ),
    (
        "crates/admission/src/tests.rs priorities_come_from_classes",
        "one story: each step stands on those before it",
    ),
    (
        "crates/admission/src/tests/node_restriction.rs kubelets_write_only_their_own_pods_leases_and_tokens",
        "one story: each step stands on those before it",
    ),
    (
        "crates/api/src/openapi/tests/protobuf.rs v2_protobuf_says_what_v2_json_says",
        "one story: each step stands on those before it",
    ),
    (
        "crates/apiserver/src/bootstrap/tests.rs the_first_start_makes_everything_and_the_second_nothing",
        "one story: each step stands on those before it",
    ),
    (
        "crates/apiserver/src/server/handle.rs answer",
        "what is done around every request, in its order",
    ),
    (
        "crates/apiserver/src/server/handle.rs run",
        "the order in which a request is judged, which is what matters, in one place",
    ),
    (
        "crates/apiserver/src/server/tests/conversion.rs objects_are_served_in_every_version_whichever_they_were_written_in",
        "one story: each step stands on those before it",
    ),
    (
        "crates/apiserver/src/server/tests/custom.rs objects_are_pruned_defaulted_and_validated",
        "one story: each step stands on those before it",
    ),
    (
        "crates/apply/tests/oracle/main.rs one_step",
        "one kind of step after the other",
    ),
    (
        "crates/auth/src/route/tests.rs parses_paths_as_upstream",
        "one table",
    ),
    (
        "crates/kubelet/src/server/stream.rs url",
        "one structure of CRI for each kind of stream",
    ),
    (
        "crates/kubelet/src/status/container.rs from_runtime",
        "one state after the other, as upstream tells them",
    ),
    (
        "crates/kubelet/src/status/phase.rs of",
        "one decision, as upstream words it",
    ),
    (
        "crates/kubelet/src/worker/container.rs config",
        "one structure of CRI, field by field",
    ),
    (
        "crates/kubelet/src/worker/start.rs container",
        "a start is a sequence whose steps have to be undone in their order",
    ),
    (
        "crates/runtime/src/images/extract.rs make",
        "one kind of entry of an archive after the other",
    ),
    (
        "crates/runtime/src/streaming/http.rs session",
        "a session's ends have to be looked at together",
    ),
    (
        "crates/runtime/tests/cri.rs terminals_logs_and_lists",
        "one story: each step stands on those before it",
    ),
    (
        "crates/shim/src/server.rs wait",
        "what a shim waits for has to be looked at together",
    ),
    (
        "crates/store/tests/it/crash.rs verify",
        "what has to be true after a crash, in one place",
    ),
    (
        "crates/store/tests/it/model.rs run",
        "one kind of operation after the other",
    ),
    (
        "tests/loops/tests/join/joining.rs who_may_not_join_is_told_why",
        "one story: each step stands on those before it",
    ),
    (
        "tests/loops/tests/loops/controllers.rs check_services",
        "one story: each step stands on those before it",
    ),
    (
        "tests/loops/tests/loops/controllers.rs step",
        "one kind of step after the other",
    ),
    (
        "tests/loops/tests/loops/quarrels.rs a_job_that_is_edited_while_it_runs_does_what_it_says_last",
        "one story: each step stands on those before it",
    ),
    (
        "tests/tests/e2e/api/access.rs tokens",
        "one story: each step stands on those before it",
    ),
    (
        "tests/tests/e2e/api/objects.rs node_ports",
        "one story: each step stands on those before it",
    ),
    (
        "tests/tests/e2e/api/writing.rs namespaces",
        "one story: each step stands on those before it",
    ),
    (
        "tests/tests/e2e/certificates.rs pod",
        "one story: each step stands on those before it",
    ),
    (
        "tests/tests/e2e/parts.rs parts_left_out_take_their_places_from_outside",
        "one story: each step stands on those before it",
    ),
];
