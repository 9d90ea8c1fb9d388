use super::*;

fn check(accept: &str, shapes: Shapes, wanted: Option<(Encoding, Shape)>) {
    let got = negotiate(accept, shapes, Objects::BuiltIn)
        .ok()
        .map(|a| (a.encoding, a.shape));
    assert_eq!(got, wanted, "{accept}");
}

#[test]
fn chooses_what_clients_ask_for() {
    use Encoding::{Json, Yaml};
    let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    check(
        kubectl,
        Shapes::List,
        Some((Json, Shape::Table(MetaVersion::V1))),
    );
    check(kubectl, Shapes::None, Some((Json, Shape::Object)));
    check("", Shapes::Object, Some((Json, Shape::Object)));
    check("*/*", Shapes::Object, Some((Json, Shape::Object)));
    check("application/*", Shapes::Object, Some((Json, Shape::Object)));
    check(
        "application/yaml",
        Shapes::Object,
        Some((Yaml, Shape::Object)),
    );
    check(
        "application/json;q=0.5, application/yaml",
        Shapes::Object,
        Some((Yaml, Shape::Object)),
    );
    check(
        "application/vnd.kubernetes.protobuf,application/json",
        Shapes::Object,
        Some((Encoding::Protobuf, Shape::Object)),
    );
    check(
        "application/json;stream=watch",
        Shapes::Object,
        Some((Json, Shape::Object)),
    );
    check(
        "application/vnd.kubernetes.protobuf;q=0, application/json;q=0.1",
        Shapes::Object,
        Some((Json, Shape::Object)),
    );
    check("application/json;q=0", Shapes::Object, None);
    check(
        "text/html, */*;q=0.8",
        Shapes::Object,
        Some((Json, Shape::Object)),
    );
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    check(
        partial,
        Shapes::Object,
        Some((Json, Shape::Partial(MetaVersion::V1))),
    );
    check(partial, Shapes::None, None);
    let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    check(
        list,
        Shapes::List,
        Some((Json, Shape::Partial(MetaVersion::V1))),
    );
    check(
        "application/json;as=Table;g=meta.k8s.io;v=v9",
        Shapes::List,
        None,
    );
    check(
        "application/json;as=Nonsense;g=meta.k8s.io;v=v1",
        Shapes::List,
        None,
    );
}

/// Upstream chooses what does not fit, and finds that out with the answer.
#[test]
fn what_does_not_fit_is_chosen_all_the_same() {
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    for (accept, shapes, wanted) in [
        (partial, Shapes::List, Refused::List),
        (list, Shapes::Object, Refused::NotList),
        (list, Shapes::Metadata, Refused::NotList),
        (list, Shapes::None, Refused::NotAcceptable),
    ] {
        let refused = negotiate(accept, shapes, Objects::BuiltIn);
        assert_eq!(refused, Err(wanted), "{accept}");
    }
    let both = format!("{list},application/json");
    let refused = negotiate(&both, Shapes::Object, Objects::BuiltIn);
    assert_eq!(refused, Err(Refused::NotList));
}

#[test]
fn indents_for_people() {
    assert!(pretty(None, "curl/8"));
    assert!(pretty(Some("true"), "kubectl"));
    assert!(!pretty(Some("false"), "curl/8"));
    assert!(!pretty(None, "kubectl/v1.33"));
}

#[test]
fn knows_bodies() {
    assert_eq!(body_encoding("").unwrap(), BodyEncoding::Json);
    assert_eq!(
        body_encoding("application/json; charset=utf-8").unwrap(),
        BodyEncoding::Json
    );
    assert_eq!(
        body_encoding("application/yaml").unwrap(),
        BodyEncoding::Yaml
    );
    assert_eq!(body_encoding("application/cbor").unwrap_err().code, 415);
    assert_eq!(body_encoding("application/x-yaml").unwrap_err().code, 415);
}

#[test]
fn protobuf_is_for_kinds_that_have_messages() {
    use Objects::{BuiltIn, Custom};
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let chosen = |accept: &str, shapes, objects| {
        let accepted = negotiate(accept, shapes, objects).ok();
        accepted.map(|accepted| (accepted.encoding, accepted.shape))
    };
    let both = format!("{PROTOBUF},application/json");
    let whole = |encoding| Some((encoding, Shape::Object));
    assert_eq!(
        chosen(PROTOBUF, Shapes::Object, BuiltIn),
        whole(Encoding::Protobuf)
    );
    assert_eq!(chosen(&both, Shapes::Object, Custom), whole(Encoding::Json));
    assert_eq!(chosen(PROTOBUF, Shapes::Object, Custom), None);
    let partial = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let metadata = Some((Encoding::Protobuf, Shape::Partial(MetaVersion::V1)));
    assert_eq!(chosen(&partial, Shapes::Object, Custom), metadata);
    let table = "as=Table;g=meta.k8s.io;v=v1";
    let tables = format!("{PROTOBUF};{table},application/json;{table}");
    let json = Some((Encoding::Json, Shape::Table(MetaVersion::V1)));
    assert_eq!(chosen(&tables, Shapes::List, BuiltIn), json);
    let stream = format!("{PROTOBUF};stream=watch");
    assert_eq!(
        chosen(&stream, Shapes::Object, BuiltIn),
        whole(Encoding::Protobuf)
    );
}

/// What is known as a whole is chosen as what is looked at part by part.
#[test]
fn what_clients_usually_say_is_no_exception() {
    for shapes in [Shapes::None, Shapes::Object, Shapes::Metadata, Shapes::List] {
        for objects in [Objects::BuiltIn, Objects::Custom] {
            for accept in [
                "*/*",
                "application/json",
                "application/vnd.kubernetes.protobuf",
                "application/vnd.kubernetes.protobuf,application/json",
            ] {
                let whole = negotiate(accept, shapes, objects).ok();
                let spaced = accept.replace(',', " , ") + " ";
                assert_eq!(whole, negotiate(&spaced, shapes, objects).ok(), "{accept}");
            }
        }
    }
}
