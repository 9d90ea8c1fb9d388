use super::*;

struct Text {
    text: &'static str,
    memo: Memo,
}

impl State for Text {
    fn namespaced_name(&self) -> (&str, &str) {
        ("", self.text)
    }

    fn revision(&self) -> u64 {
        1
    }

    fn write(&self, _: Form, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
    }

    fn size(&self, _: Form) -> usize {
        self.text.len()
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

fn state(text: &'static str) -> Arc<dyn State> {
    Arc::new(Text {
        text,
        memo: Memo::default(),
    })
}

fn length(json: &[u8]) -> Result<usize, ()> {
    Ok(json.len())
}

fn never<K>(_: &[u8]) -> Result<K, ()> {
    panic!("it is decoded already")
}

/// What one of these costs.
const COST: usize = size_of::<usize>() + 3 * DECODED_FACTOR;

fn is_kept(state: &Arc<dyn State>) -> bool {
    state.memo().value.lock().is_some()
}

#[test]
fn is_decoded_once() {
    let recent = Recent::default();
    let one = state("one");
    let first = recent.read(&one, length).unwrap();
    let second = recent.read(&one, never::<usize>).unwrap();
    assert_eq!(*first, 3);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(recent.bytes(), COST);
}

#[test]
fn what_cannot_be_decoded_is_not_kept() {
    let recent = Recent::default();
    let one = state("one");
    assert!(recent.read::<usize, _>(&one, |_| Err(())).is_err());
    assert_eq!(recent.bytes(), 0);
    assert!(recent.read(&one, length).is_ok());
}

#[test]
fn another_type_is_decoded_anew() {
    let recent = Recent::default();
    let one = state("one");
    recent.read(&one, length).unwrap();
    let text = recent.read(&one, |json| Ok::<_, ()>(json.to_vec()));
    assert_eq!(*text.unwrap(), b"one");
}

#[test]
fn the_limit_holds_and_what_is_read_stays() {
    let recent = Recent::with_limit(2 * COST);
    let states = ["one", "two", "ten"].map(state);
    recent.read(&states[0], length).unwrap();
    recent.read(&states[1], length).unwrap();
    // Nobody reads the second one until the next time around.
    recent.queue.lock().sweep();
    recent.read(&states[0], never::<usize>).unwrap();
    recent.read(&states[2], length).unwrap();
    assert!(recent.bytes() <= 2 * COST);
    assert_eq!(states.each_ref().map(is_kept), [true, false, true]);
}

#[test]
fn a_flood_of_reads_stays_within_the_limit() {
    let recent = Recent::with_limit(10 * COST);
    let states: Vec<_> = (0..1000).map(|_| state("one")).collect();
    for state in &states {
        recent.read(state, length).unwrap();
        assert!(recent.bytes() <= 10 * COST);
    }
    assert!(states.iter().filter(|state| is_kept(state)).count() <= 10);
}

#[test]
fn states_that_are_gone_cost_nothing() {
    let recent = Recent::default();
    recent.read(&state("one"), length).unwrap();
    recent.queue.lock().sweep();
    assert_eq!(recent.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_forgotten() {
    let recent = Arc::new(Recent::default());
    let one = state("one");
    let forgetting = recent.clone();
    let forgetting = tokio::spawn(async move { forgetting.forget_idle().await });
    recent.read(&one, length).unwrap();
    for _ in 0..3 {
        sleep(IDLE).await;
        recent.read(&one, never::<usize>).unwrap();
    }
    sleep(3 * IDLE).await;
    assert!(!is_kept(&one));
    assert_eq!(recent.bytes(), 0);
    // And again.
    recent.read(&one, length).unwrap();
    sleep(3 * IDLE).await;
    assert_eq!(recent.bytes(), 0);
    forgetting.abort();
}
