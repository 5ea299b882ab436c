//! What gets slower, where and when.

/// A planted fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From when on, in Unix nanoseconds; requests that enter before are untouched.
    pub at_unix_nano: u64,
    /// Where.
    pub place: FaultPlace,
    /// By how much each occurrence is slower.
    pub added_nanos: u64,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultPlace {
    /// A service's own work, in one operation (by its span's name) or in all.
    Own {
        /// The service.
        service: String,
        /// The operation; all if not said.
        operation: Option<String>,
    },
    /// A service's database calls.
    Database {
        /// The service that waits.
        service: String,
    },
    /// The way between two services; each way takes half of what is added.
    Edge {
        /// The caller.
        from: String,
        /// The callee.
        to: String,
    },
}

impl Fault {
    pub(crate) fn of_own_work(faults: &[Self], service: &str, operation: &str) -> u64 {
        added(faults, |place| match place {
            FaultPlace::Own { service: slow, operation: only } => {
                slow == service && only.as_deref().is_none_or(|only| only == operation)
            }
            _ => false,
        })
    }

    pub(crate) fn of_database(faults: &[Self], service: &str) -> u64 {
        added(faults, |place| matches!(place, FaultPlace::Database { service: slow } if slow == service))
    }

    pub(crate) fn of_edge(faults: &[Self], from: &str, to: &str) -> u64 {
        added(faults, |place| matches!(place, FaultPlace::Edge { from: f, to: t } if f == from && t == to))
    }
}

fn added(faults: &[Fault], is_hit: impl Fn(&FaultPlace) -> bool) -> u64 {
    faults.iter().filter(|fault| is_hit(&fault.place)).map(|fault| fault.added_nanos).sum()
}
