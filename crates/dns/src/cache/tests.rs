use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{
        RData, Record, RecordType,
        rdata::{A, SOA},
    },
};

use super::*;

fn query(name: &str) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

fn answer(name: &str, owner: &str, ttl: u32) -> Vec<u8> {
    let mut message = query(name).into_response();
    let data = RData::A(A::new(192, 0, 2, 1));
    message.add_answer(Record::from_rdata(
        Name::from_ascii(owner).unwrap(),
        ttl,
        data,
    ));
    message.to_vec().unwrap()
}

fn denial(name: &str, ttl: u32, minimum: u32, code: ResponseCode, soa: bool) -> Vec<u8> {
    let mut message = query(name).into_response();
    message.metadata.response_code = code;
    if soa {
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, minimum);
        message.add_authority(Record::from_rdata(root, ttl, RData::SOA(soa)));
    }
    message.to_vec().unwrap()
}

fn judged(name: &str, answer: &[u8]) -> Option<Judged> {
    let bytes = query(name).to_vec().unwrap();
    Kept::judge(answer, &Question::read(&bytes).unwrap(), &Rules::default())
}

#[test]
fn what_is_kept_and_for_how_long() {
    let name = "a.example.";
    let soa = |ttl, minimum, code| denial(name, ttl, minimum, code, true);
    for (answer, wanted, why) in [
        (answer(name, name, 20), Some((Sort::Success, 20)), "records"),
        (
            answer(name, name, 900),
            Some((Sort::Success, 30)),
            "at most",
        ),
        (answer(name, name, 0), Some((Sort::Success, 5)), "at least"),
        (answer(name, "b.example.", 20), None, "of another name"),
        (
            soa(25, 12, ResponseCode::NXDomain),
            Some((Sort::Denial, 12)),
            "the SOA's minimum",
        ),
        (
            soa(11, 12, ResponseCode::NoError),
            Some((Sort::Denial, 11)),
            "the SOA's own time",
        ),
        (
            denial(name, 0, 0, ResponseCode::NXDomain, false),
            None,
            "denied by nobody",
        ),
        (
            denial(name, 0, 0, ResponseCode::ServFail, false),
            Some((Sort::Failure, 5)),
            "a failure",
        ),
        (
            denial(name, 0, 0, ResponseCode::Refused, false),
            None,
            "refused",
        ),
    ] {
        let found = judged(name, &answer).map(|judged| (judged.sort, judged.ttl));
        assert_eq!(found, wanted, "{why}");
    }
}

#[test]
fn times_are_counted_down_and_what_is_old_is_told_apart() {
    let name = "a.example.";
    let bytes = query(name).to_vec().unwrap();
    let question = Question::read(&bytes).unwrap();
    let cache = Cache::new(Rules::default());
    let (key, now) = (question.key(), Instant::now());
    let entry = Entry::new(judged(name, &answer(name, name, 20)).unwrap(), now);
    cache.put(key.bytes(), &Arc::new(entry), now);
    for (after, wanted) in [(0, Some(20)), (7, Some(13)), (19, Some(1)), (20, None)] {
        let now = now + Duration::from_secs(after);
        let found = match cache.get(key.bytes(), now) {
            Found::Fresh(entry, _) => {
                let answer = Message::from_vec(&entry.answer(&question, now)).unwrap();
                Some(answer.answers[0].ttl)
            }
            Found::Stale(_) => None,
            Found::Nothing => panic!("nothing after {after} s"),
        };
        assert_eq!(found, wanted, "after {after} s");
    }
    let late = now + Duration::from_secs(20 + 3600);
    assert!(matches!(cache.get(key.bytes(), late), Found::Nothing));
}

#[test]
fn popular_entries_are_renewed_once_in_the_last_tenth() {
    let name = "a.example.";
    let cache = Cache::new(Rules::default());
    let now = Instant::now();
    let entry = Entry::new(judged(name, &answer(name, name, 30)).unwrap(), now);
    cache.put(b"k", &Arc::new(entry), now);
    let due = |after: u64| {
        let found = cache.get(b"k", now + Duration::from_secs(after));
        matches!(found, Found::Fresh(_, true))
    };
    let found: Vec<bool> = [1, 2, 3, 28, 28, 28].map(due).into();
    assert_eq!(found, [false, false, false, false, true, false]);
}

#[test]
fn shelves_are_bounded_and_denials_move_no_records() {
    let name = "a.example.";
    let rules = Rules {
        successes: 3,
        denials: 1000,
        bytes: 2000,
        ..Rules::default()
    };
    let cache = Cache::new(rules);
    let now = Instant::now();
    let put = |key: String, answer: &[u8]| {
        let entry = Entry::new(judged(name, answer).unwrap(), now);
        cache.put(key.as_bytes(), &Arc::new(entry), now);
    };
    for i in 0..5 {
        put(format!("yes{i}"), &answer(name, name, 20));
    }
    for i in 0..50 {
        put(
            format!("no{i}"),
            &denial(name, 9, 9, ResponseCode::NXDomain, true),
        );
    }
    let length = |shelf: &Mutex<Shelf>| shelf.lock().entries.len();
    let (successes, denials) = (length(&cache.successes), length(&cache.denials));
    assert_eq!(successes, 3);
    assert!(
        (1..=10).contains(&denials),
        "{denials} denials in 2000 bytes"
    );
    assert!(matches!(cache.get(b"yes1", now), Found::Nothing));
    assert!(matches!(cache.get(b"yes4", now), Found::Fresh(..)));
}
