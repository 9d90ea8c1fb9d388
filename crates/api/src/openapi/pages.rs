//! What is served beside kinds: the lists of groups and versions, the server's version, and where its tokens are checked.

use super::{
    item::{Operation, PathItem},
    names, served,
};
use crate::Kind;

const VERSIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions";
const GROUPS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList";
const GROUP: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup";
const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";
const JSON: &[&str] = &["application/json"];
/// Where every server has them.
const ALWAYS: [&str; 5] = [
    ".well-known/openid-configuration",
    "api",
    "apis",
    "openid/v1/jwks",
    "version",
];

/// The v3 documents of the pages that there are with a kind, those that are there always among them.
pub(super) fn documents(kind: &Kind) -> Vec<String> {
    let mut all: Vec<String> = ALWAYS.map(str::to_owned).into();
    // Who declares a kind at run time says nothing of its group.
    if kind.is_built_in() {
        let aliases = kind.aliases.iter().map(|alias| alias.group);
        let groups = std::iter::once(&*kind.group).chain(aliases);
        let groups = groups.filter(|group| !group.is_empty());
        all.extend(groups.map(|group| format!("apis/{group}")));
    }
    all
}

/// The page of a document.
pub(super) fn named(document: &str) -> Option<PathItem<'static>> {
    let page = match document {
        ".well-known/openid-configuration" => Page {
            tag: "WellKnown".to_owned(),
            id: "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
            description: "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            consumes: &[],
            produces: JSON,
            response: None,
        },
        "openid/v1/jwks" => Page {
            tag: "openid".to_owned(),
            id: "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            description: "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            consumes: &[],
            produces: &["application/jwk-set+json"],
            response: None,
        },
        "version" => Page {
            tag: "version".to_owned(),
            id: "getCodeVersion".to_owned(),
            description: "get the version information for this server",
            consumes: JSON,
            produces: JSON,
            response: Some(INFO),
        },
        "api" => Page::of_objects("core".to_owned(), "getCoreAPIVersions", VERSIONS),
        "apis" => Page::of_objects("apis".to_owned(), "getAPIVersions", GROUPS),
        _ => {
            let group = document.strip_prefix("apis/")?;
            if group.contains('/') {
                return None;
            }
            let id = format!("get{}APIGroup", names::group(group));
            Page {
                description: "get information of a group",
                ..Page::of_objects(names::tag(group), &id, GROUP)
            }
        }
    };
    Some(page.item(document))
}

struct Page {
    tag: String,
    id: String,
    description: &'static str,
    consumes: &'static [&'static str],
    produces: &'static [&'static str],
    response: Option<&'static str>,
}

impl Page {
    fn of_objects(tag: String, id: &str, response: &'static str) -> Page {
        Page {
            tag,
            id: id.to_owned(),
            description: "get available API versions",
            consumes: served::OBJECTS,
            produces: served::OBJECTS,
            response: Some(response),
        }
    }

    fn item(self, document: &str) -> PathItem<'static> {
        let operation = Operation {
            method: "get",
            action: None,
            id: self.id,
            description: self.description.to_owned(),
            gvk: None,
            query: &[],
            body: None,
            consumes: self.consumes,
            produces: self.produces,
            response: self.response,
            codes: &[200],
        };
        PathItem {
            path: format!("/{document}/"),
            document: document.to_owned(),
            tag: self.tag,
            kind: "",
            operations: vec![operation],
        }
    }
}
