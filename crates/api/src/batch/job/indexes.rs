//! Lists of completion indexes as text: `1,3-5,7`.

/// First and last index of an interval.
type Interval = (i64, i64);

/// How many indexes the text lists.
///
/// # Errors
/// What is wrong with it: each index must be lower than `completions`, and greater than the one before.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut last = None;
    let mut total = 0;
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last
            && last >= first
        {
            return Err(decreasing(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn decreasing(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

fn interval(text: &str, completions: i64) -> Result<Interval, String> {
    let limits: Vec<&str> = text.split('-').collect();
    let index = |limit: &str| {
        let number: i64 = limit
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {limit:?}"))?;
        match number < completions {
            true => Ok(number),
            false => Err(format!("too large index: {limit:?}")),
        }
    };
    match limits[..] {
        [one] => {
            let one = index(one)?;
            Ok((one, one))
        }
        [first, last] => {
            let (first, last) = (index(first)?, index(last)?);
            match first < last {
                true => Ok((first, last)),
                false => Err(decreasing(first, last)),
            }
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

/// The first index that both list. Parts that are no intervals are another check's.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<Interval> {
        let parts = text.split(',');
        parts
            .filter_map(|part| interval(part, completions).ok())
            .collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some(one), Some(other)) = (completed.get(c), failed.get(f)) {
        if one.0 <= other.1 && other.0 <= one.1 {
            return Some(one.0.max(other.0));
        }
        match one.0 <= other.0 {
            true => c += 1,
            false => f += 1,
        }
    }
    None
}
