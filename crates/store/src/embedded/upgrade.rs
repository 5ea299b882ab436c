//! A store of an older format becomes one of this format when it is opened.
//!
//! The catalog's `format` is that of the whole store. A step makes one format the next in memory; the next commit of the
//! catalog makes it so on disk. A crash before leaves the old store, which is read again; one after it the new.

use serde_json::Value;

use crate::StoreError;

/// The version of the store's layout. A newer one is refused.
pub(crate) const FORMAT: u32 = 4;
/// The oldest that can be read.
const OLDEST: u64 = 2;

/// The steps, the first from [`OLDEST`] to the next.
const STEPS: [fn(&mut Value); (FORMAT as u64 - OLDEST) as usize] = [from_2_to_3, from_3_to_4];

/// Refuses what is too new or too old.
pub(crate) fn check(format: u64, name: &str) -> Result<(), StoreError> {
    if format > u64::from(FORMAT) {
        return Err(StoreError::Invalid(format!(
            "{name} was written by a newer version (format {format}, this one reads up to {FORMAT})"
        )));
    }
    if format < OLDEST {
        return Err(StoreError::Invalid(format!(
            "{name} is of format {format}, which no released version wrote: export it with the version that did"
        )));
    }
    Ok(())
}

/// Runs the steps that a catalog of a checked format still needs. What is no object is left to who reads it as a catalog.
pub(crate) fn to_this_format(mut catalog: Value) -> Value {
    if !catalog.is_object() {
        return catalog;
    }
    let format = catalog["format"].as_u64().unwrap_or(OLDEST);
    let done = usize::try_from(format.saturating_sub(OLDEST)).unwrap_or(usize::MAX);
    STEPS.iter().skip(done).for_each(|step| step(&mut catalog));
    catalog
}

/// Format 3 counts how often the catalog was written. Segments and log files are as in format 2.
fn from_2_to_3(catalog: &mut Value) {
    catalog["format"] = 3.into();
    catalog["writes"] = 0.into();
}

/// Format 4 has the time of arrival in the log, and dates of segments. Both are optional, but an older version would take
/// log files that it does not know for damaged.
fn from_3_to_4(catalog: &mut Value) {
    catalog["format"] = 4.into();
}

#[cfg(test)]
mod tests;
