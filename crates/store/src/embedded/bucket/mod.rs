//! Segments and the catalog in a bucket of an S3-compatible object store; the log stays in the directory.
//!
//! ```text
//! s3://BUCKET/PREFIX/catalog.json        swapped with conditional PUT: of two writers one wins, the other knows
//!                   segments/NNNN.segment  written once, under a number that no other process uses
//! DIR/bucket.json                        which bucket the directory belongs to, and the directory's own name
//!    /bucket-catalog.json                a copy of the catalog, to start by while the bucket is away
//!    /segments/NNNN.segment              what the directory had before it had a bucket, until it is moved
//!    /cache/NNNN-PPPP.piece              pieces of segments that were read or written lately
//! ```
//!
//! | module    | holds                                                             |
//! |-----------|-------------------------------------------------------------------|
//! | `client`  | requests, waited for by threads that block, with a limit of time  |
//! | `cache`   | pieces of segments on the local disk, within a bound              |
//! | `held`    | which pieces it holds, and which goes next                         |
//! | `objects` | [`SegmentFiles`](super::files::SegmentFiles) of a bucket          |
//! | `object`  | a segment as an object: read in pieces, uploaded in parts          |
//! | `binding` | what a directory knows of its bucket                              |
//! | `known`   | the copy of the catalog                                           |
//! | `claim`   | becoming the one process that may change the catalog              |

mod binding;
mod cache;
mod claim;
mod client;
#[cfg(test)]
pub(crate) mod faulty;
mod held;
mod known;
mod object;
mod objects;
#[cfg(test)]
mod tests;

pub(crate) use binding::Binding;
pub(crate) use cache::Cache;
pub(crate) use claim::Claimant;
pub(crate) use client::Bucket;
use known::Known;
pub(crate) use objects::BucketFiles;

/// How a segment is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// What one request uploads; a larger segment is uploaded in parts. S3 allows 10,000 parts of at least 5 MiB.
    pub(crate) part_bytes: usize,
    /// What one request reads at least, and the cache holds as one file: a bucket takes as long for a few bytes.
    pub(crate) piece_bytes: usize,
    /// What has a checksum of its own in the cache, to be looked at with every read.
    pub(crate) page_bytes: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { part_bytes: 8 << 20, piece_bytes: 1 << 20, page_bytes: 64 << 10 }
    }
}
