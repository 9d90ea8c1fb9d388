use super::*;

fn text(ending: &Ending, format: Format) -> Option<String> {
    ending
        .encode(format)
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn endings() {
    let exited = Ending::Exited {
        command: vec!["sh".into(), "-c".into(), "exit 3".into()],
        code: 3,
    };
    let failed = Ending::Failed {
        what: "error executing command in container",
        error: Error::State("container is not running".into()),
    };
    assert_eq!(
        text(&Ending::Success, Format::Json).unwrap(),
        r#"{"metadata":{},"status":"Success"}"#
    );
    assert_eq!(text(&Ending::Success, Format::Text), None);
    assert_eq!(
        text(&exited, Format::Json).unwrap(),
        r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#
    );
    assert_eq!(
        text(&exited, Format::Text).unwrap(),
        "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3"
    );
    assert_eq!(
        text(&failed, Format::Json).unwrap(),
        r#"{"code":500,"details":{"causes":[{"message":"error executing command in container: container is not running"}]},"message":"Internal error occurred: error executing command in container: container is not running","metadata":{},"reason":"InternalError","status":"Failure"}"#
    );
    assert_eq!(
        text(&failed, Format::Text).unwrap(),
        "Internal error occurred: error executing command in container: container is not running"
    );
}
