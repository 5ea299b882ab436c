//! What the README says that tracing takes is what the sources have, and no more.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Without spaces and line breaks, which the layout of a source adds.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The lines that the README adds: level, file, line.
fn added() -> Vec<(u32, String, String)> {
    let readme = std::fs::read_to_string(here().join("README.md")).unwrap();
    let (mut level, mut file, mut added) = (0, None, Vec::new());
    for line in readme.lines() {
        if let Some(heading) = line.strip_prefix("## Level ") {
            level = heading.split(':').next().unwrap().parse().unwrap();
        }
        match &file {
            None if line == "```diff" => file = Some(String::new()),
            Some(_) if line == "```" => file = None,
            Some(name) if name.is_empty() => file = Some(line.to_owned()),
            Some(name) => added.push((level, name.clone(), line.strip_prefix('+').unwrap().to_owned())),
            None => {}
        }
    }
    added
}

#[test]
fn each_line_of_the_readme_is_in_the_source_that_it_names() {
    for (_, file, line) in added() {
        let source = std::fs::read_to_string(here().join(&file)).unwrap();
        assert!(squeezed(&source).contains(&squeezed(&line)), "{file} has no {line}");
    }
}

#[test]
fn each_level_takes_as_many_lines_as_it_says() {
    let mut lines: BTreeMap<(u32, String), usize> = BTreeMap::new();
    for (level, file, _) in added() {
        *lines.entry((level, file)).or_default() += 1;
    }
    let counted: Vec<_> = lines.iter().map(|((level, file), count)| (*level, file.as_str(), *count)).collect();
    let expected = [
        (1, "src/lib.rs", 3),
        (2, "src/cluster.rs", 2),
        (2, "src/peer.rs", 1),
        (3, "src/database/mongo.rs", 1),
        (3, "src/database/postgres.rs", 1),
        (3, "src/database/sqlite.rs", 1),
        (3, "src/pictures/files.rs", 1),
        (3, "src/pictures/s3.rs", 1),
    ];
    assert_eq!(counted, expected);
}

/// All lines of code that speak of tracing, imports, settings and comments apart.
#[test]
fn the_sources_trace_nowhere_else() {
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let mut files = Vec::new();
    sources(&here().join("src"), &mut files);
    let told: Vec<_> = added().into_iter().map(|(_, file, line)| (file, squeezed(&line))).collect();
    for path in files {
        let file = path.strip_prefix(here()).unwrap().to_str().unwrap().to_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            let traces = ["tracewell", "ServerLayer", "ClientLayer", "in_span"].iter().any(|word| line.contains(word));
            // A field's type is none of what there is to do.
            if !traces || ["//", "use ", "#[", "client: "].iter().any(|begin| line.starts_with(begin)) {
                continue;
            }
            // Turned off at run time below level 3: a program that is always traced has no such line.
            let is_setting = line.contains("Tracer::noop()");
            let is_told = told.iter().any(|(name, told)| *name == file && squeezed(line).contains(told));
            assert!(is_told || is_setting, "{file}: {line}");
        }
    }
}
