use oci_client::errors::OciEnvelope;

use super::*;

fn text(error: &OciDistributionError) -> String {
    PullError {
        reference: "docker.io/library/x:1".to_owned(),
        failure: PullFailure::of(
            error,
            "docker.io/library/x:1",
            "failed to fetch the manifest",
        ),
    }
    .to_string()
}

fn envelope(code: &str) -> OciDistributionError {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"said the registry"}}]}}"#);
    let envelope: OciEnvelope = serde_json::from_str(&body).unwrap();
    OciDistributionError::RegistryError {
        envelope,
        url: "https://r/v2/".to_owned(),
    }
}

#[test]
fn wording() {
    let missing = "failed to pull and unpack image \"docker.io/library/x:1\": failed to resolve reference \"docker.io/library/x:1\": docker.io/library/x:1: not found";
    assert_eq!(text(&envelope("MANIFEST_UNKNOWN")), missing);
    assert_eq!(text(&envelope("NAME_UNKNOWN")), missing);
    let gone = OciDistributionError::ServerError {
        code: 404,
        url: String::new(),
        message: String::new(),
    };
    assert_eq!(text(&gone), missing);
    let denied = text(&envelope("DENIED"));
    assert!(
        denied
            .contains("pull access denied, repository does not exist or may require authorization")
            && denied.contains("said the registry"),
        "{denied}"
    );
    let limited = text(&envelope("TOOMANYREQUESTS"));
    assert!(
        limited.starts_with("failed to pull and unpack image \"docker.io/library/x:1\": failed to fetch the manifest: "),
        "{limited}"
    );
}
