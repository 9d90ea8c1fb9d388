//! Webhooks, and writes that they are asked about.

use super::*;

pub const GROUP: &str = "admissionregistration.k8s.io";

/// Both plugins over the same objects.
pub struct World {
    pub objects: Arc<Fake>,
    pub mutating: MutatingWebhooks,
    pub validating: ValidatingWebhooks,
}

/// What became of a write.
#[derive(Debug)]
pub struct Outcome {
    pub object: Value,
    pub warnings: Vec<Cow<'static, str>>,
}

impl World {
    pub fn new() -> World {
        let objects = Arc::new(Fake::default());
        objects.put("", "namespaces", json!({"metadata": {"name": "ns"}}));
        let calls = Calls::new(
            objects.clone(),
            Arc::new(Authz::new(objects.clone())),
            Arc::new(Clients::new(objects.clone())),
        );
        World {
            objects,
            mutating: MutatingWebhooks::new(calls.clone()),
            validating: ValidatingWebhooks::new(calls),
        }
    }

    pub fn configure(&self, resource: &str, name: &str, hooks: &[Value]) {
        let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
        self.objects.put(GROUP, resource, configuration);
    }

    pub fn mutate_with(&self, name: &str, hooks: &[Value]) {
        self.configure("mutatingwebhookconfigurations", name, hooks);
    }

    pub fn validate_with(&self, name: &str, hooks: &[Value]) {
        self.configure("validatingwebhookconfigurations", name, hooks);
    }

    /// Creates a config map with this data.
    pub async fn create(&self, data: Value) -> Result<Outcome, Status> {
        self.write("configmaps", data, false).await
    }

    pub async fn write(
        &self,
        resource: &str,
        data: Value,
        dry_run: bool,
    ) -> Result<Outcome, Status> {
        let mut object = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "a", "namespace": "ns"}, "data": data,
        });
        let (kinds, warnings) = (Kinds::built_in(), Warnings::default());
        let kind = built_in("", "v1", resource).or(built_in(GROUP, "v1", resource));
        let (mut reinvocation, user) = (Reinvocation::default(), UserInfo::default());
        let annotations = Annotations::default();
        let mut request = AdmissionRequest {
            operation: Operation::Create,
            kind: kind.expect("a kind"),
            alias: None,
            kinds: &kinds,
            converter: &(),
            options: &(),
            subresource: "",
            namespace: "ns",
            name: "a",
            user: &user,
            own: false,
            dry_run,
            object: Some(&mut object),
            old: None,
            warnings: &warnings,
            annotations: &annotations,
            reinvocation: &mut reinvocation,
        };
        if self.mutating.handles(&request) {
            self.mutating.admit(&mut request).await?;
        }
        if request.reinvocation.begin_again() && self.mutating.handles(&request) {
            self.mutating.admit(&mut request).await?;
        }
        if self.validating.handles(&request) {
            self.validating.validate(&request).await?;
        }
        Ok(Outcome {
            object,
            warnings: warnings.take(),
        })
    }
}

pub fn hook(server: &Server, name: &str, more: Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": server.config(&format!("/{name}")),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 5,
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        hook[field] = value.clone();
    }
    hook
}

pub fn told(error: &Status) -> String {
    format!("{} {}", error.code, error.message)
}
