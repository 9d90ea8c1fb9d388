//! `$(NAME)` expansion in commands, arguments and variables, to the letter of upstream's
//! `third_party/forked/golang/expansion`: `$$` is a literal `$`, an unknown reference stays as it is written.

/// Expands `input`, asking `look` for each name.
pub(crate) fn expand<'a>(input: &str, mut look: impl FnMut(&str) -> Option<&'a str>) -> String {
    let bytes = input.as_bytes();
    let mut out = String::with_capacity(input.len());
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'$' || at + 1 >= bytes.len() {
            at += 1;
            continue;
        }
        out.push_str(&input[done..at]);
        match bytes[at + 1] {
            b'$' => {
                out.push('$');
                at += 2;
            }
            b'(' => match input[at + 2..].find(')') {
                Some(length) => {
                    let name = &input[at + 2..at + 2 + length];
                    match look(name) {
                        Some(value) => out.push_str(value),
                        None => out.push_str(&input[at..at + length + 3]),
                    }
                    at += length + 3;
                }
                None => {
                    out.push_str("$(");
                    at += 2;
                }
            },
            // A lone `$` is kept together with the byte after it, which may start a longer character.
            _ => {
                out.push('$');
                at += 1;
            }
        }
        done = at;
    }
    out.push_str(&input[done..]);
    out
}
