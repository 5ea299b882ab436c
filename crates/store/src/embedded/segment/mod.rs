//! Segments: spans at rest, one file each, columns in a form of our own. docs/format.md shows every byte.
//!
//! Rows are sorted by trace, traces by the start of their first span: near traces in time are near on disk.
//!
//! | module       | holds                                                                          |
//! |--------------|--------------------------------------------------------------------------------|
//! | `coding`     | how columns of numbers, codes and texts become bytes                           |
//! | `table`      | templates: what spans have in common, and what varies in them                  |
//! | `rows`       | rows in memory, as a block holds them                                          |
//! | `block`      | rows as bytes, a chunk for each column                                         |
//! | `dictionary` | each distinct text of a column once                                            |
//! | `hash`, `index`, `filter` | which blocks have a trace, or a value                             |
//! | `postings`   | which blocks have what spans have in common, and how long these last            |
//! | `footer`     | what a segment says of itself                                                  |
//! | `mend`       | a footer with a wrong byte, for repairs                                        |
//! | `shapes`, `build`, `write` | from batches to a segment                                        |
//! | `merge`      | from several segments to one, a block at a time                                |
//! | `read`, `emit` | a segment's blocks, and their rows as spans                                  |
//! | `scan`, `query` | what is asked of a segment                                                  |
//! | `summary`    | what a list says of a large trace, without its rows                            |

mod block;
mod build;
mod coding;
mod dictionary;
mod emit;
mod filter;
mod footer;
mod hash;
mod index;
mod mend;
mod merge;
mod postings;
mod query;
mod read;
mod rows;
mod scan;
mod shapes;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use build::write;
pub(crate) use coding::{Damaged, Input, put_varint};
pub(crate) use emit::service_only;
pub(crate) use footer::Origin;
pub(crate) use merge::Merge;
pub(crate) use query::HeldTraces;
pub(crate) use read::Segment;

use super::files::SegmentFiles;

/// Deletes the file of a segment whose spans are elsewhere or are to go; false if it is still there.
pub(crate) fn remove(files: &dyn SegmentFiles, number: u64) -> bool {
    let removed = files.remove(number);
    if let Err(error) = &removed {
        tracing::warn!(segment = files.name(number), %error, "cannot delete a dropped segment; trying again later");
    }
    removed.is_ok()
}
