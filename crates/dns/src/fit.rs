//! Answers of the size that a client takes.

use hickory_proto::op::Message;

/// A response of at most so many bytes; `None` where it cannot be written.
pub fn fit(mut response: Message, limit: u16) -> Option<Vec<u8>> {
    let fits = |message: &Message| {
        let bytes = message.to_vec().ok()?;
        (bytes.len() <= usize::from(limit)).then_some(bytes)
    };
    if let Some(bytes) = fits(&response) {
        return Some(bytes);
    }
    // They spare a client questions; it can ask them.
    response.additionals.clear();
    if let Some(bytes) = fits(&response) {
        return Some(bytes);
    }
    // The client asks again over TCP, unless it cannot: then it has what is here.
    response.metadata.truncation = true;
    let answers = std::mem::take(&mut response.answers);
    let kept = partition(answers.len(), |count| {
        response.answers = answers[..count].to_vec();
        fits(&response).is_some()
    });
    response.answers = answers[..kept].to_vec();
    response.to_vec().ok()
}

/// The same of bytes, which mostly fit.
pub fn fit_bytes(answer: Vec<u8>, limit: u16) -> Option<Vec<u8>> {
    if answer.len() <= usize::from(limit) {
        return Some(answer);
    }
    fit(Message::from_vec(&answer).ok()?, limit)
}

/// The largest of 0 to `limit` for which `holds`, which holds for all smaller ones; 0 if for none.
fn partition(limit: usize, mut holds: impl FnMut(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0_usize, limit.saturating_add(1));
    while good.saturating_add(1) < bad {
        let middle = good.midpoint(bad);
        if holds(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}
