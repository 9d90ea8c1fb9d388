//! Who reads what a command prints may have seen enough, as `head` has: the command ends then, and has nothing to say about it.

use std::panic::{self, PanicHookInfo};

/// As a shell tells of a program that SIGPIPE has ended. The signal itself stays ignored: it would also come from connections.
const ENDED_BY_READER: i32 = 141;
/// How the standard library's `print!` says that nobody reads.
const UNREAD: &str = "failed printing to stdout: Broken pipe";

/// Before anything is printed.
pub fn end_with_it() {
    let other = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if is_unread(info) {
            std::process::exit(ENDED_BY_READER);
        }
        other(info);
    }));
}

fn is_unread(info: &PanicHookInfo<'_>) -> bool {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.is_some_and(|text| text.starts_with(UNREAD))
}
