//! What `knarr image` prints.

use anyhow::Result;
use knarr_cri::v1::Image;
use serde_json::json;

/// Digits of a digest that people are shown.
const ID_DIGITS: usize = 13;
/// What has no name or no tag.
const NONE: &str = "<none>";

/// A line an image's name, as `crictl images` has it, with a heading.
pub(super) fn table(images: &[Image]) -> Vec<String> {
    let mut rows: Vec<[String; 4]> = images.iter().flat_map(rows).collect();
    rows.sort();
    rows.insert(0, ["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let line = |[name, tag, id, size]: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{name:<a$}  {tag:<b$}  {id:<c$}  {size}")
    };
    rows.iter().map(line).collect()
}

fn rows(image: &Image) -> Vec<[String; 4]> {
    let row = |name: &str, tag: &str| {
        [
            name.to_owned(),
            tag.to_owned(),
            short(&image.id),
            size(image.size),
        ]
    };
    let tagged: Vec<_> = image.repo_tags.iter().map(|name| split(name)).collect();
    if !tagged.is_empty() {
        return tagged
            .into_iter()
            .map(|(name, tag)| row(name, tag))
            .collect();
    }
    let digest = image.repo_digests.first();
    let name = digest
        .and_then(|name| name.split_once('@'))
        .map_or(NONE, |(name, _)| name);
    vec![row(name, NONE)]
}

/// Name and tag; a colon before a slash is that of a port.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name, NONE),
    }
}

fn short(id: &str) -> String {
    id.trim_start_matches("sha256:")
        .chars()
        .take(ID_DIGITS)
        .collect()
}

/// One image in a sentence.
pub(super) fn one(image: &Image) -> String {
    let name = image.repo_tags.first().or(image.repo_digests.first());
    named(name.map_or(NONE, String::as_str), image)
}

/// A sentence for each of its tags; one where it has none.
pub(super) fn each_name(image: &Image) -> Vec<String> {
    match &*image.repo_tags {
        [] | [_] => vec![one(image)],
        tags => tags.iter().map(|tag| named(tag, image)).collect(),
    }
}

fn named(name: &str, image: &Image) -> String {
    format!("{name} ({}, {})", short(&image.id), size(image.size))
}

/// As people read it, in powers of a thousand, as `docker` and `crictl` have it: `12.3MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What would be shown as a thousand is one of the next.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match unit {
        0 => 0,
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// As `crictl images -o json` has it, whose numbers are strings.
pub(super) fn json(images: &[Image]) -> Result<String> {
    let item = |image: &Image| {
        json!({
            "id": image.id,
            "repoTags": image.repo_tags,
            "repoDigests": image.repo_digests,
            "size": image.size.to_string(),
            "uid": image.uid.as_ref().map(|uid| json!({ "value": uid.value.to_string() })),
            "username": image.username,
            "pinned": image.pinned,
        })
    };
    let items: Vec<_> = images.iter().map(item).collect();
    Ok(serde_json::to_string_pretty(&json!({ "images": items }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str], digests: &[&str], size: u64) -> Image {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Image {
            id: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            repo_tags: owned(tags),
            repo_digests: owned(digests),
            size,
            ..Image::default()
        }
    }

    #[test]
    fn a_name_a_line() {
        let images = [
            image(
                &["localhost:5000/web:1", "docker.io/library/web:1"],
                &[],
                12_345_678,
            ),
            image(&[], &["docker.io/library/old@sha256:aa"], 999),
            image(&[], &[], 0),
        ];
        assert_eq!(
            table(&images),
            [
                "IMAGE                  TAG     IMAGE ID       SIZE",
                "<none>                 <none>  0123456789abc  0B",
                "docker.io/library/old  <none>  0123456789abc  999B",
                "docker.io/library/web  1       0123456789abc  12.3MB",
                "localhost:5000/web     1       0123456789abc  12.3MB",
            ]
        );
        assert_eq!(table(&[]), ["IMAGE  TAG  IMAGE ID  SIZE"]);
        assert_eq!(one(&images[2]), "<none> (0123456789abc, 0B)");
        assert_eq!(each_name(&images[2]), [one(&images[2])]);
        assert_eq!(
            each_name(&images[0]),
            [
                "localhost:5000/web:1 (0123456789abc, 12.3MB)",
                "docker.io/library/web:1 (0123456789abc, 12.3MB)",
            ]
        );
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, wanted) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.00kB"),
            (9_994, "9.99kB"),
            (9_996, "10.0kB"),
            (99_960, "100kB"),
            (999_499, "999kB"),
            (999_600, "1.00MB"),
            (1_234_000_000, "1.23GB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(size(bytes), wanted, "{bytes}");
        }
    }

    #[test]
    fn json_is_that_of_crictl() {
        let text = json(&[image(&["a:1"], &[], 7)]).unwrap();
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(tree["images"][0]["repoTags"][0], "a:1");
        assert_eq!(tree["images"][0]["size"], "7");
        assert_eq!(tree["images"][0]["uid"], serde_json::Value::Null);
    }
}
