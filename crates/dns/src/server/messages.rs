//! Whole messages made of others: refusals, and questions that are asked under another name.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::Name,
};

use crate::{
    fit::fit,
    rewrite::{Rewrite, Undo, rewrite},
    wire::{PLAIN_LIMIT_BYTES, Question},
};

/// An answer without records.
pub fn refusal(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let mut refusal = Message::error_msg(query.metadata.id, query.metadata.op_code, code);
    refusal.metadata.recursion_desired = query.metadata.recursion_desired;
    refusal.metadata.recursion_available = true;
    refusal.add_queries(query.queries);
    refusal.to_vec().ok()
}

/// The name that a message asks for.
pub fn name_of(bytes: &[u8]) -> Option<Name> {
    let query = Message::from_vec(bytes).ok()?;
    match query.queries.as_slice() {
        [question] => Some(question.name().clone()),
        _ => None,
    }
}

/// What an answer to this may have, in bytes.
pub fn limit_of(query: &[u8], tcp: bool) -> u16 {
    match Question::read(query) {
        Some(question) => question.limit(tcp),
        None if tcp => u16::MAX,
        None => PLAIN_LIMIT_BYTES,
    }
}

/// The question to be asked instead, if there is one.
pub fn rewritten(rules: &[Rewrite], name: &Name, bytes: &[u8]) -> Option<(Vec<u8>, Undo)> {
    let (other, undo) = rewrite(rules, name)?;
    let mut query = Message::from_vec(bytes).ok()?;
    for question in &mut query.queries {
        question.set_name(other.clone());
    }
    Some((query.to_vec().ok()?, undo))
}

/// The answer to what was asked, by that to what was asked instead.
pub fn undone(undo: &Undo, answer: &[u8], limit: u16) -> Option<Vec<u8>> {
    let mut answer = Message::from_vec(answer).ok()?;
    undo.apply(&mut answer);
    fit(answer, limit)
}
