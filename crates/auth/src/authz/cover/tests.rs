use super::*;

/// `verbs groups resources [names]`, or `verbs url urls`; lists with commas.
fn rule(text: &str) -> Rule {
    let words: Vec<&str> = text.split(' ').collect();
    let list = |at: usize| -> Vec<String> {
        let list = words.get(at).copied().unwrap_or("");
        let items = list.split(',').filter(|item| !item.is_empty());
        items.map(|item| item.replace("core", "")).collect()
    };
    match words[1] {
        "url" => Rule {
            verbs: list(0),
            non_resource_urls: list(2),
            ..Rule::default()
        },
        _ => Rule {
            verbs: list(0),
            api_groups: list(1),
            resources: list(2),
            resource_names: list(3),
            ..Rule::default()
        },
    }
}

fn check(held: &[&str], wanted: &str, expected: &[&str]) {
    let held: Vec<Rule> = held.iter().map(|text| rule(text)).collect();
    let missing = missing(held.iter(), &[rule(wanted)]).expect("a simple rule");
    let lines: Vec<String> = join_verbs(missing.parts)
        .iter()
        .map(Rule::compact)
        .collect();
    assert_eq!(lines, expected, "{wanted}");
}

#[test]
fn covers_as_upstream() {
    let pods = r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#;
    check(&["get core pods"], "get core pods", &[]);
    check(&[], "get core pods", &[pods]);
    check(
        &["* * *"],
        "get,list apps,core pods,deployments/scale a,b",
        &[],
    );
    // Several rules together cover one.
    check(
        &["get core pods", "list core pods", "get,list apps *"],
        "get,list core,apps pods",
        &[],
    );
    check(
        &["list core,apps pods", "get apps pods"],
        "get,list core,apps pods",
        &[pods],
    );
    // Names: all of them, or the ones that are held.
    check(&["get core pods a,b"], "get core pods a", &[]);
    check(&["get core pods a"], "get core pods", &[pods]);
    check(
        &["get core pods a"],
        "get core pods a,b",
        &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#],
    );
    check(
        &["get core pods *"],
        "get core pods a",
        &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#],
    );
    // Subresources of all resources.
    check(&["get core */log"], "get core pods/log", &[]);
    check(
        &["get core */log"],
        "get core pods/exec",
        &[r#"{APIGroups:[""], Resources:["pods/exec"], Verbs:["get"]}"#],
    );
    check(&["get url /a/*"], "get url /a/b,/a/*", &[]);
    check(
        &["get url /a/*", "list url /b"],
        "get,list url /a/b,/b",
        &[
            r#"{NonResourceURLs:["/a/b"], Verbs:["list"]}"#,
            r#"{NonResourceURLs:["/b"], Verbs:["get"]}"#,
        ],
    );
    check(
        &["get core pods"],
        "get url /a",
        &[r#"{NonResourceURLs:["/a"], Verbs:["get"]}"#],
    );
}

/// The parts of the expansion that upstream makes, looked up one by one.
fn expanded(held: &[Rule], wanted: &Rule) -> Vec<Rule> {
    let names = match wanted.resource_names.as_slice() {
        [] => vec![vec![]],
        names => names.iter().map(|name| vec![name.clone()]).collect(),
    };
    let star_or = |set: &[String], item: &str| set.iter().any(|i| i == "*" || i == item);
    let mut missing = Vec::new();
    for group in &wanted.api_groups {
        for resource in &wanted.resources {
            for verb in &wanted.verbs {
                for names in &names {
                    let covered = held.iter().any(|rule| {
                        star_or(&rule.verbs, verb)
                            && star_or(&rule.api_groups, group)
                            && star_or(&rule.resources, resource)
                            && (rule.resource_names.is_empty()
                                || names.iter().any(|n| rule.resource_names.contains(n)))
                    });
                    if !covered {
                        missing.push(Rule {
                            api_groups: vec![group.clone()],
                            resources: vec![resource.clone()],
                            verbs: vec![verb.clone()],
                            resource_names: names.clone(),
                            ..Rule::default()
                        });
                    }
                }
            }
        }
    }
    missing
}

#[test]
fn agrees_with_the_expansion() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut pick = |from: &str, least: usize| -> Vec<String> {
        let all: Vec<char> = from.chars().collect();
        let count = random.usize(least..=all.len());
        let picked = random.choose_multiple(all.iter(), count);
        picked.into_iter().map(|c| c.to_string()).collect()
    };
    for _ in 0..2000 {
        let mut rule = || Rule {
            verbs: pick("uvw*", 1),
            api_groups: pick("abc", 1),
            resources: pick("xyz*", 1),
            resource_names: pick("no", 0),
            ..Rule::default()
        };
        let held: Vec<Rule> = (0..4).map(|_| rule()).collect();
        let wanted = rule();
        let found = missing(held.iter(), std::slice::from_ref(&wanted)).expect("a simple rule");
        assert_eq!(found.parts, expanded(&held, &wanted), "{held:?} {wanted:?}");
    }
}

#[test]
fn a_short_rule_of_many_parts_costs_little() {
    let many = |prefix: &str| (0..100).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let wanted = Rule {
        verbs: many("v"),
        api_groups: many("g"),
        resources: many("r"),
        resource_names: many("n"),
        ..Rule::default()
    };
    let started = std::time::Instant::now();
    let none = missing([].iter(), std::slice::from_ref(&wanted)).expect("a simple walk");
    assert_eq!((none.parts.len(), none.more), (MAX_PARTS, true));
    let all = missing([rule("* * *")].iter(), std::slice::from_ref(&wanted)).expect("one too");
    assert_eq!(all, Missing::default());
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn what_cannot_be_compared_within_bounds_is_refused() {
    // Every element is granted by another set of rules.
    let mut random = fastrand::Rng::with_seed(1);
    let mut half = |prefix: &str| -> Vec<String> {
        let all = (0..400).map(|n| format!("{prefix}{n}"));
        all.filter(|_| random.bool()).collect()
    };
    let held: Vec<Rule> = (0..400)
        .map(|_| Rule {
            verbs: half("v"),
            api_groups: half("g"),
            resources: half("r"),
            ..Rule::default()
        })
        .collect();
    let all = |prefix: &str| (0..400).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let wanted = Rule {
        verbs: all("v"),
        api_groups: all("g"),
        resources: all("r"),
        ..Rule::default()
    };
    assert_eq!(missing(held.iter(), &[wanted]), Err(TooComplex));
}
