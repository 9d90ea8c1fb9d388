//! What a client says of its steps: lines on standard output, words apart at spaces. Everything else it prints is for its log.
//!
//!     plan STEP                    there is such a step; all plans come first
//!     ok STEP SECONDS              it did what it should
//!     fail STEP SECONDS REASON     it did not
//!     skip STEP REASON             this client or machine cannot try it
//!     restart                      restart the cluster; the answer is a line on standard input: `restarted` or `cannot`

use crate::record::{Outcome, State};

/// A line of a client that means something.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Plan(String),
    Done(String, Outcome),
    Restart,
}

/// What a line says; `None` for one that is no part of the protocol.
pub fn parse(line: &str) -> Option<Line> {
    let mut words = line.splitn(4, ' ');
    let verb = words.next()?;
    if verb == "restart" {
        return words.next().is_none().then_some(Line::Restart);
    }
    let step = words.next().filter(|step| !step.is_empty())?.to_owned();
    let (state, seconds, reason) = match verb {
        "plan" => return words.next().is_none().then_some(Line::Plan(step)),
        "ok" => (State::Pass, words.next()?.parse().ok()?, String::new()),
        "fail" => {
            let seconds = words.next()?.parse().ok()?;
            (
                State::Fail,
                seconds,
                words.next().unwrap_or("no reason given").to_owned(),
            )
        }
        "skip" => (State::Skip, 0.0, words.collect::<Vec<_>>().join(" ")),
        _ => return None,
    };
    let outcome = Outcome {
        state,
        seconds,
        reason,
    };
    Some(Line::Done(step, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_protocol_are_told_from_others() {
        let outcome = |state, seconds, reason: &str| Outcome {
            state,
            seconds,
            reason: reason.to_owned(),
        };
        let cases = [
            ("plan apply", Some(Line::Plan("apply".to_owned()))),
            ("restart", Some(Line::Restart)),
            (
                "ok apply 1.25",
                Some(Line::Done(
                    "apply".to_owned(),
                    outcome(State::Pass, 1.25, ""),
                )),
            ),
            (
                "fail top 0.5 no metrics: not found",
                Some(Line::Done(
                    "top".to_owned(),
                    outcome(State::Fail, 0.5, "no metrics: not found"),
                )),
            ),
            (
                "skip debug needs kubectl 1.25",
                Some(Line::Done(
                    "debug".to_owned(),
                    outcome(State::Skip, 0.0, "needs kubectl 1.25"),
                )),
            ),
            ("ok then", None),
            ("ok apply soon", None),
            ("plan to do it", None),
            ("restart it", None),
            ("deployment.apps/hello created", None),
            ("", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(parse(line), wanted, "{line:?}");
        }
    }
}
