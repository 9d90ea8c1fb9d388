use super::*;

#[test]
fn v2_protobuf_says_what_v2_json_says() {
    let json = parse(documents().v2_json());
    let bytes = documents().v2_proto().inflate().unwrap();
    let document = gnostic::Document::decode(bytes.as_slice()).unwrap();
    assert_eq!(document.swagger, "2.0");
    assert_eq!(document.info.unwrap().title, "Kubernetes");
    let definitions = document.definitions.unwrap().additional_properties;
    assert_eq!(
        definitions.len(),
        json["definitions"].as_object().unwrap().len()
    );
    let definition = |name: &str| {
        let found = definitions
            .iter()
            .find(|definition| definition.name == name)
            .unwrap();
        found.value.clone().unwrap()
    };

    let deployment = definition("io.k8s.api.apps.v1.Deployment");
    assert_eq!(deployment.r#type.unwrap().value, ["object"]);
    let extension = &deployment.vendor_extension[0];
    assert_eq!(extension.name, "x-kubernetes-group-version-kind");
    let gvks: Value = serde_json::from_str(&extension.value.as_ref().unwrap().yaml).unwrap();
    assert_eq!(
        gvks,
        serde_json::json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );

    let spec = definition("io.k8s.api.core.v1.PodSpec");
    assert_eq!(spec.required, ["containers"]);
    let properties = spec.properties.unwrap().additional_properties;
    let property = |name: &str| {
        properties
            .iter()
            .find(|property| property.name == name)
            .unwrap()
            .value
            .clone()
            .unwrap()
    };
    let containers = property("containers");
    assert_eq!(containers.r#type.unwrap().value, ["array"]);
    assert_eq!(
        containers.items.unwrap().schema[0].r#ref,
        "#/definitions/io.k8s.api.core.v1.Container"
    );
    let merge_key = containers
        .vendor_extension
        .iter()
        .find(|e| e.name == "x-kubernetes-patch-merge-key")
        .unwrap();
    assert_eq!(merge_key.value.as_ref().unwrap().yaml, "\"name\"");
    let selector = property("nodeSelector").additional_properties.unwrap();
    assert_eq!(selector.schema.unwrap().r#type.unwrap().value, ["string"]);

    let paths = document.paths.unwrap().path;
    assert_eq!(paths.len(), json["paths"].as_object().unwrap().len());
    let item = paths
        .iter()
        .find(|item| item.name == deployment_path())
        .unwrap()
        .value
        .clone()
        .unwrap();
    let patch = item.patch.unwrap();
    let gvk = patch
        .vendor_extension
        .iter()
        .find(|e| e.name == "x-kubernetes-group-version-kind")
        .unwrap();
    let gvk: Value = serde_json::from_str(&gvk.value.as_ref().unwrap().yaml).unwrap();
    assert_eq!(
        gvk,
        serde_json::json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let shared = document.parameters.unwrap().additional_properties;
    let resolve = |item: gnostic::ParametersItem| match item.json_reference {
        Some(reference) => {
            let name = reference
                .r#ref
                .trim_start_matches("#/parameters/")
                .to_owned();
            let found = shared.iter().find(|named| named.name == name);
            found.unwrap().value.clone().unwrap()
        }
        None => item.parameter.unwrap(),
    };
    let parameters: Vec<gnostic::Parameter> = patch.parameters.into_iter().map(resolve).collect();
    assert_eq!(parameters[0].body_parameter.as_ref().unwrap().name, "body");
    let query: Vec<String> = parameters
        .into_iter()
        .filter_map(|parameter| {
            Some(
                parameter
                    .non_body_parameter?
                    .query_parameter_sub_schema?
                    .name,
            )
        })
        .collect();
    assert_eq!(
        query,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
    let responses = patch.responses.unwrap().response_code;
    assert_eq!(responses[0].name, "200");
    let schema = responses[0]
        .value
        .clone()
        .unwrap()
        .response
        .unwrap()
        .schema
        .unwrap()
        .schema
        .unwrap();
    assert_eq!(schema.r#ref, "#/definitions/io.k8s.api.apps.v1.Deployment");
    let path = item.parameters[0].parameter.clone().unwrap();
    let path = path.non_body_parameter.unwrap();
    assert_eq!(path.path_parameter_sub_schema.unwrap().name, "name");
}
