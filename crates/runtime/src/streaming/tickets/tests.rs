use super::*;

fn tickets() -> Tickets {
    Tickets::new(([127, 0, 0, 1], 7).into())
}

fn exec(container: &str) -> Ticket {
    Ticket::Exec(ExecRequest {
        container_id: container.to_owned(),
        ..ExecRequest::default()
    })
}

fn path(url: &str) -> &str {
    url.strip_prefix("http://127.0.0.1:7").unwrap()
}

#[test]
fn a_token_is_good_once() {
    let tickets = tickets();
    let url = tickets.issue(exec("a")).unwrap();
    assert_eq!(tickets.redeem(path(&url)), Some(exec("a")));
    assert_eq!(tickets.redeem(path(&url)), None);
}

#[test]
fn a_token_is_good_for_its_own_verb_only() {
    let tickets = tickets();
    let url = tickets.issue(exec("a")).unwrap();
    let other = path(&url).replace("/exec/", "/attach/");
    assert_eq!(tickets.redeem(&other), None);
    assert_eq!(tickets.redeem(path(&url)), None, "it was used up");
    assert_eq!(tickets.redeem("/exec/"), None);
    assert_eq!(tickets.redeem("exec"), None);
}

#[test]
fn a_token_expires() {
    let tickets = tickets();
    let start = Instant::now();
    let url = tickets.issue_at(exec("a"), start).unwrap();
    let late = start + TICKET_TTL + Duration::from_millis(1);
    assert_eq!(tickets.redeem_at(path(&url), late), None);
}

#[test]
fn the_number_is_bounded_until_old_ones_expire() {
    let tickets = tickets();
    let start = Instant::now();
    for _ in 0..MAX_TICKETS {
        tickets.issue_at(exec("a"), start).unwrap();
    }
    let refused = tickets.issue_at(exec("b"), start).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "maximum number of in-flight requests exceeded"
    );
    let late = start + TICKET_TTL + Duration::from_millis(1);
    let url = tickets.issue_at(exec("c"), late).unwrap();
    assert_eq!(tickets.redeem_at(path(&url), late), Some(exec("c")));
}

#[test]
fn a_token_that_was_used_takes_no_place() {
    let tickets = tickets();
    for _ in 0..=MAX_TICKETS {
        let url = tickets.issue(exec("a")).unwrap();
        assert_eq!(tickets.redeem(path(&url)), Some(exec("a")));
    }
}
