//! The order of the house, checked: who may use whom, and that the map is true.

use std::collections::BTreeSet;

use crate::run::workspace;

/// Each crate with the crates of the workspace that it may use: those before it. Tests may use more.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("crates/sdk-macros", "tracewell-macros", &[]),
    ("crates/sdk", "tracewell", &["tracewell-macros"]),
    // Its library is the source of `crates/sdk`.
    ("crates/sdk-loom", "tracewell-loom", &[]),
    ("crates/sdk-actix-web", "tracewell-actix-web", &["tracewell"]),
    ("crates/sdk-kube", "tracewell-kube", &["tracewell"]),
    ("crates/sdk-mongodb", "tracewell-mongodb", &["tracewell"]),
    ("crates/sdk-object-store", "tracewell-object-store", &["tracewell"]),
    ("crates/sdk-opentelemetry", "tracewell-opentelemetry", &["tracewell"]),
    ("crates/sdk-redis", "tracewell-redis", &["tracewell"]),
    ("crates/sdk-reqwest", "tracewell-reqwest", &["tracewell"]),
    ("crates/sdk-sqlx", "tracewell-sqlx", &["tracewell"]),
    ("crates/sdk-tonic", "tracewell-tonic", &["tracewell"]),
    ("crates/sdk-tracing", "tracewell-tracing", &["tracewell"]),
    ("crates/model", "tracewell-model", &[]),
    ("crates/wire", "tracewell-wire", &["tracewell-model"]),
    ("crates/store", "tracewell-store", &["tracewell-model", "tracewell-wire"]),
    ("crates/query", "tracewell-query", &["tracewell-model", "tracewell-wire", "tracewell-store"]),
    ("crates/insight", "tracewell-insight", &["tracewell-model"]),
    ("crates/sim", "tracewell-sim", &["tracewell-model", "tracewell-wire"]),
    (
        "crates/server",
        "tracewell-server",
        &["tracewell-model", "tracewell-wire", "tracewell-store", "tracewell-query", "tracewell-insight"],
    ),
    ("bench", "tracewell-bench", &["tracewell-model", "tracewell-wire", "tracewell-sim"]),
    (
        "examples/image-gallery",
        "image-gallery",
        &["tracewell", "tracewell-kube", "tracewell-mongodb", "tracewell-object-store", "tracewell-sqlx"],
    ),
    ("tests/parts", "tracewell-parts", &[]),
    ("xtask", "xtask", &[]),
];

#[test]
fn every_room_knows_only_those_before_it() {
    for (folder, name, allowed) in ROOMS {
        let text = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(*name));
        let used: BTreeSet<&str> = manifest
            .get("dependencies")
            .and_then(|dependencies| dependencies.as_table())
            .into_iter()
            .flat_map(|dependencies| dependencies.keys())
            .map(String::as_str)
            .filter(|dependency| dependency.starts_with("tracewell"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(used.is_subset(&allowed), "{name} uses {used:?}, and may use {allowed:?}");
    }
}

#[test]
fn every_crate_has_its_place_in_the_order() {
    for entry in std::fs::read_dir(workspace().join("crates")).unwrap() {
        let folder = format!("crates/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(ROOMS.iter().any(|(room, ..)| *room == folder), "{folder} is not in the order of the house");
    }
}

/// Whether a text in backticks is meant as a path of this repository.
fn is_path(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or("");
    ["bench", "crates", "ui", "examples", "tests", "xtask", "docs", "deploy"].contains(&first) && !text.contains(' ')
}

#[test]
fn the_paths_in_the_map_are_true() {
    let map = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let paths: Vec<&str> = map.split('`').skip(1).step_by(2).filter(|text| is_path(text)).collect();
    assert!(paths.len() > 10, "the map names paths: {paths:?}");
    for path in paths {
        assert!(workspace().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
}

#[test]
fn the_links_in_the_documents_lead_somewhere() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/api.md",
        "docs/why.md",
        "docs/metrics.md",
        "docs/instrument-libraries.md",
        "docs/environment-variables.md",
        "docs/instrument-a-service.md",
        "docs/instrument-service-n-plus-one.md",
        "docs/from-tracing.md",
        "docs/from-opentracing.md",
    ] {
        let path = workspace().join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(target).exists(), "{document} links to {target}, which is not there");
        }
    }
}
