//! ValidatingAdmissionWebhook: webhooks that may refuse what is written, all at once.

use async_trait::async_trait;
use futures::future::join_all;
use knarr_meta::status::Status;

use super::{Calls, annotations, concerns, source::Source};
use crate::{
    matching::Namespace,
    not_ready,
    request::{AdmissionPlugin, AdmissionRequest, Phase},
};

/// The plugin.
pub struct ValidatingWebhooks {
    calls: Calls,
    source: Source,
}

impl ValidatingWebhooks {
    pub fn new(calls: Calls) -> Self {
        let source = Source::new(calls.objects.clone(), "validatingwebhookconfigurations");
        ValidatingWebhooks { calls, source }
    }
}

#[async_trait]
impl AdmissionPlugin for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn runs_in(&self, phase: Phase) -> bool {
        phase == Phase::Validate
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        concerns(&self.source, request)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        if !self.source.is_whole() {
            return Err(not_ready(request));
        }
        let view = self.source.view();
        let namespace = Namespace::new(&*self.calls.objects);
        let mut invocations = Vec::new();
        for hook in &view.hooks {
            let invocation = self.calls.invocation(hook, request, &namespace);
            invocations.extend(invocation.await?);
        }
        let calls = invocations.iter().enumerate();
        let calls = calls.map(|(index, invocation)| async move {
            match self.calls.call(invocation, request, false).await {
                Ok(_) => Ok(()),
                Err(failure) => {
                    if failure.is_open(invocation.hook) {
                        annotations::validating_failed_open(request, invocation.hook, index);
                    }
                    failure.settle(invocation.hook)
                }
            }
        });
        // All are asked, and the first of those that refuse is told.
        let answers: Vec<Result<(), Status>> = join_all(calls).await;
        answers.into_iter().collect()
    }
}
