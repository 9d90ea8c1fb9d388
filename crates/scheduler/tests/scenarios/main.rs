//! Runs the scenarios in `tests/scenarios`: text files that say what a cluster has, what is asked of the scheduler, and what
//! comes of it. `UPDATE=1` writes what comes of it into the files.
//!
//! ```text
//! == a title starts a scenario, with an empty cluster
//! node a cpu=2 zone=x label:disk=ssd taint:k=v:NoSchedule cordoned image:web:1=300Mi
//! pod low on=a cpu=1 priority=-1 label:app=web        (what is there)
//! budget b app=web allowed=0
//! schedule p cpu=1 apart:app=web@zone                  (what is asked)
//! -> a                                                 (what comes of it)
//! ```
//!
//! The words are listed in [`words`]; JSON in braces is merged into an object as it is.

mod words;

use std::{fmt::Write, fs, path::Path};

use k8s_openapi::api::core::v1::Pod;
use knarr_scheduler::simulation::{Explanation, Object, Placement, Simulation, Verdict};
use serde_json::{Value, json};

/// A cluster, and the pods that it was told of.
#[derive(Default)]
struct World {
    simulation: Simulation,
    pods: Vec<Value>,
    scenarios: usize,
}

impl World {
    /// Does what a line says; what comes of it.
    fn run(&mut self, line: &str) -> Result<Option<String>, String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "schedule" => {
                let pod = self.pod(rest)?;
                return Ok(Some(self.schedule(&pod)?));
            }
            "explain" => {
                let pod = self.pod(rest)?;
                return Ok(Some(explained(&self.simulation.explain(*read(&pod)?))));
            }
            "pod" => {
                let pod = self.pod(rest)?;
                self.simulation.add(Object::Pod(read(&pod)?));
            }
            "end" => {
                let found = self
                    .pods
                    .iter()
                    .position(|pod| pod["metadata"]["name"] == rest);
                let at = found.ok_or_else(|| format!("no pod {rest}"))?;
                let pod = self.pods.remove(at);
                let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
                self.simulation.remove_pod(uid);
            }
            _ => self.simulation.add(words::object(verb, rest)?),
        }
        Ok(None)
    }

    /// A pod by its name, if it is known and nothing more is said, or a new one.
    fn pod(&mut self, text: &str) -> Result<Value, String> {
        let known = self.pods.iter().find(|pod| pod["metadata"]["name"] == text);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let pod = words::pod(text)?;
        self.pods
            .retain(|other| other["metadata"]["uid"] != pod["metadata"]["uid"]);
        self.pods.push(pod.clone());
        Ok(pod)
    }

    fn schedule(&mut self, pod: &Value) -> Result<String, String> {
        match self.simulation.schedule(*read(pod)?) {
            Placement::Nodes(nodes) => Ok(nodes.join(" or ")),
            Placement::Waits {
                message,
                nominated,
                victims,
            } => {
                let mut text = format!("waits: {message}");
                if let Some(node) = nominated {
                    let victims: Vec<&str> = victims
                        .iter()
                        .filter_map(|victim| Some(victim.split_once('/')?.1))
                        .collect();
                    let _ = write!(text, "\nends on {node}: {}", victims.join(" "));
                    for victim in victims {
                        self.preempt(victim)?;
                    }
                }
                Ok(text)
            }
        }
    }

    /// A victim has its grace period.
    fn preempt(&mut self, name: &str) -> Result<(), String> {
        let found = self
            .pods
            .iter_mut()
            .find(|pod| pod["metadata"]["name"] == name);
        let victim = found.ok_or_else(|| format!("no pod {name}"))?;
        victim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        victim["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler"}]);
        self.simulation.add(Object::Pod(read(&victim.clone())?));
        Ok(())
    }
}

fn read(pod: &Value) -> Result<Box<Pod>, String> {
    serde_json::from_value(pod.clone()).map_err(|error| format!("{error}: {pod}"))
}

fn explained(explanation: &Explanation) -> String {
    if let Some((plugin, why)) = &explanation.everywhere {
        return format!("nowhere, {plugin}: {why}");
    }
    let nodes = explanation
        .nodes
        .iter()
        .map(|(node, verdict)| match verdict {
            Verdict::Fits(scores) => {
                let total: i64 = scores.iter().map(|(_, score)| score).sum();
                let scores = scores
                    .iter()
                    .map(|(plugin, score)| format!("{plugin} {score}"));
                let scores: Vec<_> = scores.collect();
                format!("{node} {total}: {}", scores.join(", "))
            }
            Verdict::RuledOut {
                plugin,
                reasons,
                resolvable,
                ..
            } => {
                let hint = if *resolvable {
                    " (others are in the way)"
                } else {
                    ""
                };
                format!("{node} no, {plugin}: {}{hint}", reasons.join(", "))
            }
        });
    nodes.collect::<Vec<_>>().join("\n")
}

/// The file as it should be: every line that asks, followed by what comes of it.
fn replay(text: &str, world: &mut World) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("-> ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.starts_with("== ") {
            *world = World {
                scenarios: world.scenarios + 1,
                ..World::default()
            };
        } else if !line.is_empty() && !line.starts_with('#') {
            let answer = world
                .run(line)
                .map_err(|error| format!("line {}: {error}", number + 1))?;
            for line in answer.iter().flat_map(|answer| answer.lines()) {
                out.push_str("-> ");
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(out)
}

#[test]
fn scenarios_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    files.sort();
    let (mut scenarios, mut wrong) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).expect("a text");
        let mut world = World::default();
        let out = match replay(&text, &mut world) {
            Ok(out) => out,
            Err(error) => panic!("{}: {error}", file.display()),
        };
        scenarios += world.scenarios;
        if std::env::var_os("UPDATE").is_some() {
            fs::write(file, &out).expect("the file can be written");
        } else if out != text {
            wrong.push(difference(file, &text, &out));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(scenarios >= 60, "only {scenarios} scenarios");
}

/// The first lines that differ, below the title of their scenario.
fn difference(file: &Path, wanted: &str, found: &str) -> String {
    let mut title = "";
    for (wanted, found) in wanted.lines().zip(found.lines()) {
        if wanted.starts_with("== ") {
            title = wanted;
        }
        if wanted != found {
            let file = file.display();
            return format!("{file}\n{title}\nwritten: {wanted}\nfound:   {found}");
        }
    }
    format!("{}: of different length", file.display())
}
