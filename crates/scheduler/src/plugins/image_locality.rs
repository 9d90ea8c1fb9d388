//! ImageLocality: a node that has the pod's images need not pull them.

use crate::{
    framework::{self, MAX_SCORE, Score},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// Images smaller than this together are as good as none, and one larger counts as this large, in bytes (upstream's
/// thresholds).
const MIN_BYTES: i64 = 23 * 1024 * 1024;
const MAX_BYTES_AN_IMAGE: i64 = 1000 * 1024 * 1024;

pub struct ImageLocality;

/// An image that the pod needs.
struct Image {
    /// With a tag or a digest, as nodes name it.
    name: String,
    /// The share of nodes that have it: what few have would draw all pods to them.
    spread: f64,
}

/// The images that some node has.
pub struct ScoreState {
    found: Vec<Image>,
    /// The most that they count for.
    max_bytes: i64,
}

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
    fn pre_score(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        _: &[&NodeInfo],
        state: &mut framework::ScoreState,
    ) -> bool {
        let names: Vec<String> = names(pod).collect();
        let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let found = names.into_iter().filter_map(|name| {
            let nodes = cluster.nodes_with_image(&name);
            let spread = nodes as f64 / cluster.len() as f64;
            (nodes > 0).then_some(Image { name, spread })
        });
        let found: Vec<Image> = found.collect();
        let any = !found.is_empty();
        state.images = Some(ScoreState {
            found,
            max_bytes: MAX_BYTES_AN_IMAGE.saturating_mul(count),
        });
        any
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "sizes of images"
    )]
    fn score(&self, _: &PodInfo, node: &NodeInfo, state: &framework::ScoreState) -> i64 {
        let Some(state) = &state.images else {
            return 0;
        };
        let scaled = |image: &Image| {
            let bytes = node.images.get(&image.name)?;
            Some((*bytes as f64 * image.spread) as i64)
        };
        let sum = state.found.iter().filter_map(scaled);
        let sum = sum.fold(0_i64, i64::saturating_add);
        let above = sum
            .clamp(MIN_BYTES, state.max_bytes)
            .saturating_sub(MIN_BYTES);
        let range = state.max_bytes.saturating_sub(MIN_BYTES);
        let scaled = above.saturating_mul(MAX_SCORE);
        scaled.checked_div(range).unwrap_or(0)
    }
}

/// The images of containers and of image volumes.
fn names(pod: &PodInfo) -> impl Iterator<Item = String> {
    let spec = pod.spec().into_iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        let containers = init.chain(&spec.containers);
        let volumes = spec.volumes.iter().flatten();
        let volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
        let images = containers.filter_map(|container| container.image.as_deref());
        images.chain(volumes).map(with_tag)
    })
}

/// As CRI names it: `latest` where no tag is said.
fn with_tag(image: &str) -> String {
    match image.rfind(':') > image.rfind('/') {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn images_are_named_as_nodes_name_them() {
        for (given, named) in [
            ("a", "a:latest"),
            ("a:1", "a:1"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
            ("a@sha256:00", "a@sha256:00"),
        ] {
            assert_eq!(with_tag(given), named);
        }
    }
}
