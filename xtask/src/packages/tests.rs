use super::*;
use serde_json::json;

/// A package as cargo describes it, all of it as it should be.
fn package() -> Value {
    let reqwest = published().unwrap().into_iter().find(|package| package["name"] == "tracewell-reqwest");
    reqwest.unwrap()
}

fn problem(change: impl FnOnce(&mut Value)) -> String {
    let mut package = package();
    change(&mut package);
    check(&package).unwrap_err().to_string()
}

#[test]
fn every_package_says_what_it_is() {
    let packages = published().unwrap();
    assert!(packages.len() >= 11, "{}", packages.len());
    for package in packages {
        check(&package).unwrap_or_else(|error| panic!("{}: {error:#}", package["name"]));
    }
}

#[test]
fn a_package_that_a_registry_would_not_show_well_is_named_by_what_it_lacks() {
    assert_eq!(problem(|package| package["readme"] = Value::Null), "its manifest has no readme");
    assert_eq!(problem(|package| package["rust_version"] = Value::Null), "its manifest has no rust-version");
    assert_eq!(problem(|package| package["keywords"] = json!([])), "it has 0 keywords, and not 1 to 5");
    assert_eq!(
        problem(|package| package["keywords"] = json!(["much-too-long-a-keyword"])),
        "the keyword \"much-too-long-a-keyword\" is longer than 20 characters"
    );
    assert_eq!(problem(|package| package["name"] = json!("other")), "its README.md does not begin with its name");
    assert_eq!(
        problem(|package| package["features"]["extra"] = json!([])),
        "docs.rs is not told to use the feature extra (package.metadata.docs.rs)"
    );
    assert_eq!(
        problem(|package| package["metadata"] = json!({ "docs": { "rs": { "features": ["gone"] } } })),
        "docs.rs is told to use the feature gone, which is not there"
    );
}

/// The manifests' tables of dependencies, those of tests included, by name.
fn requirement(folder: &str, library: &str) -> Option<String> {
    let read =
        |path: &str| -> toml::Table { std::fs::read_to_string(workspace().join(path)).unwrap().parse().unwrap() };
    let (manifest, root) = (read(&format!("{folder}/Cargo.toml")), read("Cargo.toml"));
    let version = |dependency: &toml::Value| -> Option<String> {
        let version = dependency.as_str().or_else(|| dependency.get("version")?.as_str());
        version.map(|version| version.trim_start_matches('=').to_owned())
    };
    let in_root = || version(root["workspace"]["dependencies"].get(library)?);
    ["dependencies", "dev-dependencies"].iter().find_map(|table| {
        let dependency = manifest.get(*table)?.get(library)?;
        version(dependency).or_else(in_root)
    })
}

/// `0.13.5` counts as `0.13`, and `1.2` as `1`: what may not break.
fn compatible(version: &str) -> String {
    let numbers: Vec<&str> = version.split('.').collect();
    let count = if numbers[0] == "0" { 2 } else { 1 };
    numbers[..count.min(numbers.len())].join(".")
}

#[test]
fn the_table_of_supported_versions_is_that_of_the_manifests() {
    let page = std::fs::read_to_string(workspace().join("docs/instrument-libraries.md")).unwrap();
    let (_, table) = page.split_once("## Supported versions\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut named = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [name, library, versions, rust] = cells[..] else { panic!("{line}") };
        let packages = published().unwrap();
        let package = packages.iter().find(|package| package["name"] == name).unwrap_or_else(|| panic!("{line}"));
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("");
        let folder = folder.strip_prefix(workspace()).unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        assert_eq!(package["rust_version"], rust, "{line}");
        let mut supported = Vec::new();
        // Of several versions the older ones have names of their own in the manifest.
        for version in versions.split(", ") {
            let renamed = format!("{library}-{}", version.replace('.', "-"));
            let required = requirement(&folder, &renamed).or_else(|| requirement(&folder, library));
            supported.push(compatible(&required.unwrap_or_else(|| panic!("{line}: {folder} has no {library}"))));
        }
        assert_eq!(supported.join(", "), versions, "{line}");
        named.push(name.to_owned());
    }
    for package in published().unwrap() {
        let name = package["name"].as_str().unwrap();
        let is_named = named.iter().any(|other| other == name);
        assert!(is_named || name == "tracewell-macros", "{name} is not in the table of supported versions");
    }
}
