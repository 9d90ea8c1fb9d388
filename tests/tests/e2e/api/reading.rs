//! Lists: selectors, chunks, tables, revisions.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Caller, names};

pub async fn selectors(api: &Caller<'_>) -> Result<()> {
    for (name, labels) in [
        ("a", json!({"tier": "web", "track": "stable"})),
        ("b", json!({"tier": "web", "track": "canary"})),
        ("c", json!({"tier": "data"})),
        ("d", json!({})),
    ] {
        api.config_map(name, labels).await?;
    }
    let cases: &[(&str, &[&str])] = &[
        ("labelSelector=tier%3Dweb", &["a", "b"]),
        (
            "labelSelector=tier%21%3Dweb",
            &["c", "d", "kube-root-ca.crt"],
        ),
        (
            "labelSelector=tier+in+(web,data),track+notin+(canary)",
            &["a", "c"],
        ),
        ("labelSelector=tier,%21track", &["c"]),
        ("fieldSelector=metadata.name%3Db", &["b"]),
        (
            "fieldSelector=metadata.name%21%3Db&labelSelector=tier",
            &["a", "c"],
        ),
    ];
    for (query, wanted) in cases {
        let path = format!("{}?{query}", api.core("configmaps"));
        let list = api.get(&path).await?.is(200)?.body;
        // The root CA's map comes whenever its controller gets to it.
        let found: Vec<&str> = names(&list)
            .into_iter()
            .filter(|name| *name != "kube-root-ca.crt")
            .collect();
        let wanted: Vec<&str> = wanted
            .iter()
            .copied()
            .filter(|name| *name != "kube-root-ca.crt")
            .collect();
        ensure!(found == wanted, "{query}: {found:?} instead of {wanted:?}");
    }
    let path = format!("{}?fieldSelector=data.a%3D1", api.core("configmaps"));
    let answer = api.get(&path).await?.is(400)?;
    ensure!(
        answer
            .text
            .contains("\\\"data.a\\\" is not a known field selector")
            || answer.text.contains("field label not supported: data.a"),
        "{}",
        answer.text
    );
    api.get(&format!(
        "{}?labelSelector=a%3D%3D%3Db",
        api.core("configmaps")
    ))
    .await?
    .is(400)?;
    let pods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode,status.phase%3DRunning,spec.restartPolicy%3DAlways";
    api.get(pods).await?.is(200)?;
    Ok(())
}

pub async fn chunks(api: &Caller<'_>) -> Result<()> {
    for number in 0..7 {
        api.config_map(&format!("c-{number}"), json!({"in": "chunks"}))
            .await?;
    }
    let base = api.core("secrets");
    for number in 0..5 {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s-{number}")}});
        api.post(&base, &secret).await?.is(201)?;
    }
    let first = api.get(&format!("{base}?limit=2")).await?.is(200)?.body;
    ensure!(
        names(&first) == ["s-0", "s-1"] && first["metadata"]["remainingItemCount"] == 3,
        "{first}"
    );
    let token = first["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // What happens now is not in the list that was begun.
    api.delete(&format!("{base}/s-3")).await?.is(200)?;
    let second = api
        .get(&format!("{base}?limit=2&continue={token}"))
        .await?
        .is(200)?
        .body;
    ensure!(names(&second) == ["s-2", "s-3"], "{:?}", names(&second));
    ensure!(
        second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"],
        "the list's revision changed"
    );
    let token = second["metadata"]["continue"].as_str().unwrap_or_default();
    let last = api
        .get(&format!("{base}?limit=2&continue={token}"))
        .await?
        .is(200)?
        .body;
    ensure!(
        names(&last) == ["s-4"] && last["metadata"]["continue"].is_null(),
        "{last}"
    );
    // Of a selection nobody knows how many remain.
    let path = format!(
        "{}?limit=3&labelSelector=in%3Dchunks",
        api.core("configmaps")
    );
    let chosen = api.get(&path).await?.is(200)?.body;
    ensure!(
        names(&chosen).len() == 3 && chosen["metadata"]["remainingItemCount"].is_null(),
        "{chosen}"
    );
    api.get(&format!("{base}?limit=2&continue=nonsense"))
        .await?
        .is(400)?;
    Ok(())
}

pub async fn tables(api: &Caller<'_>) -> Result<()> {
    api.config_map("a", json!({})).await?;
    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let path = api.core("configmaps/a");
    let answer = api.send("GET", &path, &table, "").await?.is(200)?.body;
    ensure!(
        answer["kind"] == "Table" && answer["apiVersion"] == "meta.k8s.io/v1",
        "{answer}"
    );
    let columns: Vec<&str> = answer["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    ensure!(columns == ["Name", "Data", "Age"], "{columns:?}");
    let row = &answer["rows"][0];
    ensure!(row["cells"][0] == "a" && row["cells"][1] == 1, "{row}");
    ensure!(
        row["object"]["kind"] == "PartialObjectMetadata" && row["object"]["data"].is_null(),
        "{row}"
    );
    let whole = api
        .send("GET", &format!("{path}?includeObject=Object"), &table, "")
        .await?
        .is(200)?
        .body;
    ensure!(whole["rows"][0]["object"]["data"]["a"] == "1", "{whole}");
    let none = api
        .send("GET", &format!("{path}?includeObject=None"), &table, "")
        .await?
        .is(200)?
        .body;
    ensure!(none["rows"][0]["object"].is_null(), "{none}");
    let partial = [(
        "accept",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )];
    let list = api
        .send("GET", &api.core("configmaps"), &partial, "")
        .await?
        .is(200)?
        .body;
    ensure!(
        list["kind"] == "PartialObjectMetadataList" && list["items"][0]["data"].is_null(),
        "{list}"
    );
    Ok(())
}

pub async fn revisions(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps");
    let made = super::revision(&api.config_map("a", json!({})).await?)?;
    let list = api.get(&path).await?.is(200)?;
    ensure!(
        list.revision()? >= made,
        "a list is older than what was written before"
    );
    let empty = api.get(&api.core("services")).await?.is(200)?;
    ensure!(
        names(&empty.body).is_empty() && empty.revision()? >= made,
        "{}",
        empty.text
    );
    api.config_map("b", json!({})).await?;
    let exact = format!(
        "{path}?resourceVersion={made}&resourceVersionMatch=Exact&labelSelector=none%3Dnone"
    );
    let exact = api.get(&exact).await?.is(200)?;
    ensure!(exact.revision()? == made, "{}", exact.text);
    let newer = format!("{path}?resourceVersion={made}&resourceVersionMatch=NotOlderThan");
    let newer = api.get(&newer).await?.is(200)?.body;
    ensure!(names(&newer).contains(&"a"), "{newer}");
    api.get(&format!("{path}?resourceVersion=x"))
        .await?
        .is(400)?;
    api.get(&format!("{path}?resourceVersionMatch=Exact"))
        .await?
        .is(422)?;
    let future = api
        .get(&format!("{path}/a?resourceVersion=999999999"))
        .await?
        .is(504)?;
    ensure!(
        future.body["reason"] == "Timeout" && future.text.contains("Too large resource version"),
        "{}",
        future.text
    );
    Ok(())
}
