//! Which plugins a profile runs at each extension point, in which order (upstream `mergePlugins` and
//! `expandMultiPointPlugins`).

use std::collections::BTreeMap;

use knarr_meta::field::{Error, ErrorList, Path};

use super::{
    file::{Plugin, PluginSet, Plugins},
    points::{self, Point},
};

/// The names of the plugins of each extension point.
pub type Enabled = BTreeMap<Point, Vec<&'static str>>;

/// Reads the plugin sets of a profile; the plugins of each point, and the weights of those that score.
pub fn resolve(
    plugins: &Plugins,
    path: &Path,
    errors: &mut ErrorList,
) -> (Enabled, Vec<(&'static str, i64)>) {
    check_names(plugins, path, errors);
    let everywhere = merge(default_set(), &plugins.multi_point);
    check_repeated(&everywhere.enabled, &path.child("multiPoint"), errors);
    let mut enabled = Enabled::new();
    for point in points::ALL {
        let set = set_of(plugins, point);
        check_repeated(&set.enabled, &path.child(point.field()), errors);
        enabled.insert(point, expand(point, set, &everywhere));
    }
    let weights = weights(
        enabled.get(&Point::Score),
        &plugins.score.enabled,
        &everywhere.enabled,
    );
    (enabled, weights)
}

fn set_of(plugins: &Plugins, point: Point) -> &PluginSet {
    match point {
        Point::PreEnqueue => &plugins.pre_enqueue,
        Point::QueueSort => &plugins.queue_sort,
        Point::PreFilter => &plugins.pre_filter,
        Point::Filter => &plugins.filter,
        Point::PostFilter => &plugins.post_filter,
        Point::PreScore => &plugins.pre_score,
        Point::Score => &plugins.score,
        Point::Reserve => &plugins.reserve,
        Point::Permit => &plugins.permit,
        Point::PreBind => &plugins.pre_bind,
        Point::Bind => &plugins.bind,
        Point::PostBind => &plugins.post_bind,
        Point::PlacementGenerate => &plugins.placement_generate,
        Point::PlacementScore => &plugins.placement_score,
        Point::PodGroupPostFilter => &plugins.pod_group_post_filter,
    }
}

fn default_set() -> PluginSet {
    let enabled = points::DEFAULT.iter().map(|known| Plugin {
        name: known.name.to_owned(),
        weight: (known.weight != 0).then_some(known.weight),
    });
    PluginSet {
        enabled: enabled.collect(),
        disabled: Vec::new(),
    }
}

/// The default set with what is said of it: plugins that are named again stay in their place.
fn merge(default: PluginSet, custom: &PluginSet) -> PluginSet {
    let is_disabled = |name: &str| custom.disabled.iter().any(|plugin| plugin.name == name);
    let mut replaced = Vec::new();
    let mut enabled = Vec::new();
    for plugin in default.enabled {
        if is_disabled("*") || is_disabled(&plugin.name) {
            continue;
        }
        // Where it is named twice the last one counts.
        let again = custom.enabled.iter().rposition(|c| c.name == plugin.name);
        match again.and_then(|at| Some((at, custom.enabled.get(at)?))) {
            Some((at, custom)) => {
                replaced.push(at);
                enabled.push(custom.clone());
            }
            None => enabled.push(plugin),
        }
    }
    let more = custom.enabled.iter().enumerate();
    let more = more.filter(|(at, _)| !replaced.contains(at));
    enabled.extend(more.map(|(_, plugin)| plugin.clone()));
    PluginSet {
        enabled,
        disabled: custom.disabled.clone(),
    }
}

/// Those that run at a point: first those of `everywhere` that its own set names too, in the order of its own set; then the others
/// of `everywhere`; then the others of its own set.
fn expand(point: Point, own: &PluginSet, everywhere: &PluginSet) -> Vec<&'static str> {
    let runs = |name: &str| points::find(name).filter(|known| known.points.contains(&point));
    let is_disabled = |name: &str| own.disabled.iter().any(|plugin| plugin.name == name);
    let is_own = |name: &str| own.enabled.iter().any(|plugin| plugin.name == name);
    let own_names = own.enabled.iter().filter_map(|plugin| runs(&plugin.name));
    let own_names: Vec<_> = own_names.map(|known| known.name).collect();
    if is_disabled("*") {
        return own_names;
    }
    let expanded = everywhere.enabled.iter();
    let expanded = expanded.filter(|plugin| !is_disabled(&plugin.name));
    let expanded: Vec<_> = expanded.filter_map(|plugin| runs(&plugin.name)).collect();
    let in_both = |name: &&&'static str| expanded.iter().any(|known| known.name == **name);
    let mut all: Vec<&'static str> = own_names.iter().filter(in_both).copied().collect();
    let others = expanded.iter().map(|known| known.name);
    all.extend(others.filter(|name| !is_own(name)));
    all.extend(own_names.iter().filter(|name| !in_both(name)));
    all
}

/// What is said at `score` goes before what is said at `multiPoint`; where nothing is, a weight is 1.
fn weights(
    scoring: Option<&Vec<&'static str>>,
    own: &[Plugin],
    everywhere: &[Plugin],
) -> Vec<(&'static str, i64)> {
    let weight = |name: &str| {
        let mut said = own.iter().chain(everywhere);
        let said = said.find(|plugin| plugin.name == name);
        let weight = said.and_then(|plugin| plugin.weight).unwrap_or(0);
        if weight == 0 { 1 } else { i64::from(weight) }
    };
    let scoring = scoring.into_iter().flatten();
    scoring.map(|name| (*name, weight(name))).collect()
}

/// Plugins that were removed (upstream `invalidPluginsByVersion`).
const REMOVED: [&str; 4] = [
    "AzureDiskLimits",
    "CinderLimits",
    "EBSLimits",
    "GCEPDLimits",
];

/// Why a plugin of this name cannot be in a configuration of this version.
pub fn removed(name: &str) -> Option<String> {
    let version = super::file::VERSION;
    REMOVED.contains(&name).then(|| {
        format!(
            "was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"{version}\")"
        )
    })
}

fn check_names(plugins: &Plugins, path: &Path, errors: &mut ErrorList) {
    let mut check = |field: &'static str, set: &PluginSet, point: Option<Point>| {
        let path = path.child(field).child("enabled");
        for (index, plugin) in set.enabled.iter().enumerate() {
            let name = plugin.name.as_str();
            let interface = point.map_or_else(|| "Plugin".to_owned(), Point::interface);
            let known = points::find(name);
            let extends = |point: Point| known.is_some_and(|known| known.points.contains(&point));
            let why = match removed(name) {
                Some(why) => why,
                None if known.is_none() => format!("{interface} \"{name}\" does not exist"),
                None if point.is_some_and(|point| !extends(point)) => {
                    format!("plugin \"{name}\" does not extend {interface} plugin")
                }
                None => continue,
            };
            errors.push(Error::invalid(&path.index(index), name, why));
        }
    };
    check("multiPoint", &plugins.multi_point, None);
    for point in points::ALL {
        check(point.field(), set_of(plugins, point), Some(point));
    }
}

fn check_repeated(enabled: &[Plugin], path: &Path, errors: &mut ErrorList) {
    for (index, plugin) in enabled.iter().enumerate() {
        let before = enabled.iter().take(index);
        if before.clone().any(|other| other.name == plugin.name) {
            let path = path.child("enabled");
            let name = plugin.name.as_str();
            errors.push(Error::duplicate(&path, name));
        }
    }
}

/// What runs together cannot be had apart here: a plugin's PreFilter with its Filter, and with what it reserves for a pod.
pub fn check_together(enabled: &Enabled, path: &Path, errors: &mut ErrorList) {
    let at = |point: Point, name: &str| {
        let list = enabled.get(&point);
        list.is_some_and(|list| list.contains(&name))
    };
    let scoring = |point: &Point| matches!(point, Point::PreScore | Point::Score);
    for known in &points::DEFAULT {
        let (ranking, deciding): (Vec<_>, Vec<_>) = known
            .points
            .iter()
            .copied()
            .partition(|point| scoring(point));
        let needed = |points: &[Point], last: Point| {
            // Preparing for what does not run changes nothing.
            let harmless = !at(last, known.name)
                && points.iter().all(|point| match point {
                    Point::PreFilter => known.only_prepares,
                    Point::PreScore => true,
                    point => !at(*point, known.name),
                });
            let running = points.iter().filter(|point| at(**point, known.name));
            let running = running.count();
            running != 0 && running != points.len() && !harmless
        };
        for (points, last) in [(deciding, Point::Filter), (ranking, Point::Score)] {
            if needed(&points, last) {
                let fields: Vec<_> = points.iter().map(|point| point.field()).collect();
                let missing = points.iter().find(|point| !at(**point, known.name));
                let field = missing.map_or("multiPoint", |point| point.field());
                let detail = format!(
                    "{} runs at {} together, or at none of them",
                    known.name,
                    fields.join(", ")
                );
                errors.push(Error::forbidden(&path.child(field), detail));
            }
        }
    }
    // Upstream has no others that could stand in for these two; without the third, pods would be bound that are not to be.
    for (name, point) in [
        ("PrioritySort", Point::QueueSort),
        ("DefaultBinder", Point::Bind),
        ("SchedulingGates", Point::PreEnqueue),
    ] {
        if !at(point, name) {
            let detail = format!("{name} cannot be disabled");
            errors.push(Error::forbidden(&path.child(point.field()), detail));
        }
    }
}
