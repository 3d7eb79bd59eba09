//! A parser that fails as no input is known to make it fail.

use std::cell::Cell;

thread_local! {
    static PANIC_AT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// From now on, on this thread, a record that begins like this is a bug of ours.
pub(crate) fn fail_at(text: Option<&'static str>) {
    PANIC_AT.set(text);
}

pub(super) fn fail_if_asked(rest: &[u8]) {
    if PANIC_AT
        .get()
        .is_some_and(|text| rest.starts_with(text.as_bytes()))
    {
        panic!("a test wants the parser to fail");
    }
}
