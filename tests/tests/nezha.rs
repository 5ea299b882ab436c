//! Real traces: the files of all 45 faults and both baselines import, and the counts are those of a separate count of the file.
//!
//! Needs `../shared/nezha` beside the checkout, and is skipped where it is absent.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracewell_e2e::{OrSkip, Server, normal, workspace};

fn files() -> Option<Vec<PathBuf>> {
    let folder = workspace().join("../shared/nezha");
    let entries = std::fs::read_dir(&folder).ok().or_skip(&format!("{} is absent", folder.display()))?;
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    files.sort();
    Some(files)
}

fn unzip(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// Spans and traces as a plain JSON parser counts them.
fn count(text: &str, spans: &mut BTreeSet<(String, String)>, traces: &mut BTreeSet<String>) {
    for line in text.lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        for resource in normal::list(&document, "resourceSpans") {
            for scope in normal::list(resource, "scopeSpans") {
                for span in normal::list(scope, "spans") {
                    let trace_id = normal::text(span, "traceId").to_owned();
                    spans.insert((trace_id.clone(), normal::text(span, "spanId").to_owned()));
                    traces.insert(trace_id);
                }
            }
        }
    }
}

#[test]
fn every_file_imports_whole() {
    let Some(files) = files() else { return };
    assert_eq!(files.len(), 45 + 2);
    let (mut spans, mut traces) = (BTreeSet::new(), BTreeSet::new());
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for path in &files {
        count(&unzip(path), &mut spans, &mut traces);
    }
    let paths: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let (imported, _) = server.run(&[&["import"], paths.as_slice()].concat()).unwrap();
    assert!(imported);

    let (exported, text) =
        server.run(&["export", "--from", "2023-01-01T00:00:00Z", "--to", "2023-03-01T00:00:00Z"]).unwrap();
    assert!(exported);
    let (mut spans_kept, mut traces_kept) = (BTreeSet::new(), BTreeSet::new());
    count(&text, &mut spans_kept, &mut traces_kept);
    assert_eq!(traces_kept.len(), traces.len());
    assert_eq!(spans_kept.len(), spans.len());
    assert!(spans_kept == spans && traces_kept == traces);
    server.stop().unwrap();
}
