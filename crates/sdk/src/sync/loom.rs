//! The same as loom has it.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread::Builder;

use loom::thread::AccessError;
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::Duration;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time does not pass in a model: a wait for no time ends at once, every other when its condition does.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    timeout: Duration,
    mut condition: impl FnMut(&T) -> bool,
) -> (MutexGuard<'a, T>, bool) {
    while condition(&guard) {
        if timeout.is_zero() {
            return (guard, false);
        }
        guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    (guard, true)
}

/// A thread's own value. Loom drops those of a thread in random order, and a model must do the same each time: so all
/// are in one of loom's, in the order of their first use.
pub(crate) struct LocalKey<T: 'static> {
    pub(crate) init: fn() -> T,
}

impl<T: 'static> LocalKey<T> {
    pub(crate) fn try_with<R>(&'static self, work: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).cast::<()>();
        let value = LOCALS.try_with(|locals| {
            let mut locals = locals.borrow_mut();
            if let Some((_, value)) = locals.iter().find(|(known, _)| *known == key) {
                return Rc::clone(value);
            }
            let value: Rc<dyn Any> = Rc::new((self.init)());
            locals.push((key, Rc::clone(&value)));
            value
        })?;
        match value.downcast_ref() {
            Some(value) => Ok(work(value)),
            None => unreachable!("each key has its own type"),
        }
    }
}

type Locals = RefCell<Vec<(*const (), Rc<dyn Any>)>>;

loom::thread_local! {
    static LOCALS: Locals = RefCell::new(Vec::new());
}

macro_rules! constant_thread_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = const $initial:block;)*) => {
        $($(#[$attribute])* $visibility static $name: $crate::sync::LocalKey<$type> =
            $crate::sync::LocalKey { init: || $initial };)*
    };
}
pub(crate) use constant_thread_local as thread_local;
