//! Why a thread panics, for the spans that it unwinds.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;

/// Longer texts are cut.
const MAX_CHARS: usize = 4096;

/// What a panic says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Panic {
    pub(crate) text: String,
    /// `src/main.rs:7:5`
    pub(crate) location: String,
}

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Has panics remembered from now on. The program's hook is still called; one that is set later replaces this, and spans
/// then say only that they panicked.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    // A thread that unwinds may not change the hook.
    if std::thread::panicking() {
        return;
    }
    WATCHED.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            remember(panic);
            others(panic);
        }));
    });
}

fn remember(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = crate::value::truncated(text.unwrap_or(""), MAX_CHARS).to_owned();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // Without the thread's locals (it is ending) nothing is remembered.
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(Panic { text, location })));
}

/// The panic of this thread, which unwinds.
pub(crate) fn current() -> Option<Panic> {
    LAST.try_with(|last| last.try_borrow().ok()?.clone()).ok().flatten()
}
