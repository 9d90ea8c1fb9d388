use super::*;

fn room(requested: i64, capacity: i64) -> Room {
    Room {
        requested,
        capacity,
    }
}

#[test]
fn what_is_used_least_is_best() {
    let cases = [
        (room(0, 10), 100),
        (room(1, 10), 90),
        (room(1, 3), 67),
        (room(10, 10), 0),
        (room(11, 10), 0),
        (room(0, 0), 0),
        (room(i64::MAX, i64::MAX), 0),
    ];
    for (room, score) in cases {
        let (requested, capacity) = (room.requested, room.capacity);
        assert_eq!(room.score(), score, "{requested} of {capacity}");
    }
}

#[test]
fn classes_count_alike() {
    let rooms = |all: &[Room]| {
        let named = all.iter().enumerate();
        named
            .map(|(index, room)| (index.to_string(), *room))
            .collect()
    };
    assert_eq!(mean(&rooms(&[])), 0);
    assert_eq!(mean(&rooms(&[room(1, 10)])), 90);
    assert_eq!(mean(&rooms(&[room(1, 10), room(10, 10)])), 45);
    // 90 and 91 are 90.5, which is 91 as upstream rounds.
    assert_eq!(mean(&rooms(&[room(10, 100), room(9, 100)])), 91);
}
