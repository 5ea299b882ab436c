//! Failures, as spans record them.

use crate::Value;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::ops::Deref;

/// Causes of causes that are looked at.
const MAX_CAUSES: usize = 32;

/// Why something failed: an error, with its causes, or a text. `Kind` tells the two apart and is never written.
///
/// Errors of any type (`Box<dyn Error + Send + Sync>`, `anyhow::Error`) are errors, too. For something else that can be
/// printed write [`crate::display`] around it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an error nor a text",
    label = "write `tracewell::display(..)` around it",
    note = "what implements `std::error::Error` is recorded with its causes; of other types that implement `Display` write `tracewell::display(value)`"
)]
pub trait Failure<Kind> {
    /// What there is to record.
    #[doc(hidden)]
    fn described(&self) -> Described<'_>;
}

/// What there is to record of a failure.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "it is not seen")]
pub struct Described<'a> {
    pub(crate) text: &'a dyn Display,
    /// With the name of its type.
    pub(crate) error: Option<(&'static str, &'a (dyn Error + 'a))>,
}

/// Of [`Failure`]: an error.
#[derive(Debug)]
#[doc(hidden)]
pub enum AnError {}
/// Of [`Failure`]: a text.
#[derive(Debug)]
#[doc(hidden)]
pub enum AText {}
/// Of [`Failure`]: what contains an error of any type.
#[derive(Debug)]
#[doc(hidden)]
pub enum AContainer {}
/// Of [`Failure`]: an error of any type.
#[derive(Debug)]
#[doc(hidden)]
pub enum AnyError {}

impl<E: Error> Failure<AnError> for E {
    fn described(&self) -> Described<'_> {
        Described { text: self, error: Some((type_name::<E>(), self)) }
    }
}

macro_rules! texts {
    ($($type:ty),*) => {
        $(impl Failure<AText> for $type {
            fn described(&self) -> Described<'_> {
                Described { text: self, error: None }
            }
        })*
    };
}

texts!(&str, String, Cow<'_, str>, Box<str>, fmt::Arguments<'_>, char);

impl<T: Failure<AText>> Failure<AText> for &T {
    fn described(&self) -> Described<'_> {
        (**self).described()
    }
}

impl Failure<AText> for Value {
    fn described(&self) -> Described<'_> {
        match self {
            // Without the quotes that a value has.
            Self::String(text) => Described { text, error: None },
            other => Described { text: other, error: None },
        }
    }
}

macro_rules! boxes {
    ($($type:ty),*) => {
        $(impl Failure<AnyError> for $type {
            fn described(&self) -> Described<'_> {
                Described { text: self, error: Some(("", &**self)) }
            }
        })*
    };
}

boxes!(Box<dyn Error>, Box<dyn Error + Send>);

/// `Box<dyn Error + Send + Sync>`, `anyhow::Error`.
impl<T: Deref<Target = dyn Error + Send + Sync>> Failure<AContainer> for T {
    fn described(&self) -> Described<'_> {
        Described { text: &**self, error: Some(("", &**self)) }
    }
}

impl<T: Deref<Target = dyn Error + Send + Sync>> Failure<&AContainer> for &T {
    fn described(&self) -> Described<'_> {
        Described { text: &***self, error: Some(("", &***self)) }
    }
}

impl<T: Failure<AnyError>> Failure<AnyError> for &T {
    fn described(&self) -> Described<'_> {
        (**self).described()
    }
}

/// The type's name, unless it is any error's.
pub(crate) fn type_name<E: ?Sized>() -> &'static str {
    let name = std::any::type_name::<E>().trim_start_matches('&');
    if name.starts_with("dyn ") { "" } else { name }
}

/// The error with its causes, a line each; `None` when it has no cause.
pub(crate) fn causes(error: &dyn Error) -> Option<String> {
    let mut cause = Some(error.source()?);
    let mut lines = error.to_string();
    for _ in 0..MAX_CAUSES {
        let Some(error) = cause else { break };
        // Writing to a string cannot fail.
        let _ = write!(lines, "\ncaused by: {error}");
        cause = error.source();
    }
    Some(lines)
}

/// What `#[traced(err)]` records: as much as the type of the error allows, which only method resolution can tell.
#[doc(hidden)]
pub mod caught {
    use crate::{Context, display};
    use std::error::Error;
    use std::fmt::Display;

    /// An error of a type that the macro does not know. Methods are looked for first on what has more references.
    #[allow(missing_debug_implementations, missing_docs, reason = "it is not seen")]
    pub struct Caught<'a, E: ?Sized>(pub &'a E);

    #[allow(missing_docs, reason = "it is not seen")]
    pub trait AsError {
        fn record(&self);
    }

    impl<E: Error> AsError for &&Caught<'_, E> {
        fn record(&self) {
            Context::current().error(self.0);
        }
    }

    #[allow(missing_docs, reason = "it is not seen")]
    pub trait AsContainer {
        fn record(&self);
    }

    /// `Box<dyn Error + Send + Sync>`, `anyhow::Error`.
    impl<E: std::ops::Deref<Target = dyn Error + Send + Sync>> AsContainer for &Caught<'_, E> {
        fn record(&self) {
            Context::current().error(self.0);
        }
    }

    #[allow(missing_docs, reason = "it is not seen")]
    pub trait AsDisplay {
        fn record(&self);
    }

    impl<E: Display> AsDisplay for Caught<'_, E> {
        fn record(&self) {
            let context = Context::current();
            if context.is_recording() {
                context.error(display(self.0));
            }
        }
    }

    /// Calls a closure that may take out of what it captures, which closures elsewhere may not.
    #[inline(always)]
    pub fn call<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

#[cfg(test)]
#[cfg(not(feature = "off"))]
mod tests;
