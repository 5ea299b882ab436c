//! Span kinds and status codes, with OpenTelemetry's numbers.

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)+
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value with this OTLP number; `None` for a number of a newer protocol.
            pub fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The lower-case name, as queries and APIs write it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str().eq_ignore_ascii_case(text))
                    .ok_or_else(|| {
                        let known: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                        format!("{text:?} is none of {}", known.join(", "))
                    })
            }
        }
    };
}

numbered! {
    /// The part a span plays in a call between services.
    SpanKind {
        /// Not said.
        #[default]
        Unspecified = 0, "unspecified";
        /// Work inside a service.
        Internal = 1, "internal";
        /// The handling of a request from elsewhere.
        Server = 2, "server";
        /// A request to elsewhere, waited for.
        Client = 3, "client";
        /// A message sent.
        Producer = 4, "producer";
        /// A message handled.
        Consumer = 5, "consumer";
    }
}

numbered! {
    /// How a span ended.
    StatusCode {
        /// Not said; the usual case.
        #[default]
        Unset = 0, "unset";
        /// Marked as successful by the application.
        Ok = 1, "ok";
        /// Failed.
        Error = 2, "error";
    }
}
