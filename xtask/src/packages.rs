//! `cargo xtask test packages`: what is published can be: it packs, and says what it is.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run::{cargo, run, workspace};

/// What a registry shows of a package.
const TOLD: [&str; 6] = ["description", "license", "repository", "readme", "rust_version", "edition"];
/// What a package has to bring along.
const FILES: [&str; 4] = ["Cargo.toml", "LICENSE", "README.md", "src/lib.rs"];

/// The library and the crates around it: everything in `crates/sdk*` that is not kept back by `publish = false`. The server's
/// crates are parts of its binary.
fn published() -> Result<Vec<Value>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("start cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let libraries = workspace().join("crates");
    let is_published = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(&libraries).ok());
        folder.is_some_and(|folder| folder.to_string_lossy().starts_with("sdk")) && package["publish"].is_null()
    };
    Ok(packages.into_iter().filter(is_published).collect())
}

/// Nothing is compiled: `cargo publish` does that, once for each package.
pub(crate) fn packages() -> Result<()> {
    let packages = published()?;
    let mut pack = cargo(&["package", "--quiet", "--no-verify", "--allow-dirty", "--target-dir", "target/publish"]);
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        check(package).with_context(|| format!("package {name}"))?;
        pack.args(["--package", name]);
    }
    run(&mut pack)?;
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let output = cargo(&["package", "--list", "--allow-dirty", "--package", name]).output();
        let listed = String::from_utf8(output.context("start cargo package --list")?.stdout)?;
        for file in FILES {
            ensure!(listed.lines().any(|line| line == file), "package {name} lacks {file}");
        }
    }
    eprintln!("{} packages are ready to be published", packages.len());
    Ok(())
}

fn check(package: &Value) -> Result<()> {
    for field in TOLD {
        let told = package[field].as_str().unwrap_or_default();
        ensure!(!told.is_empty(), "its manifest has no {}", field.replace('_', "-"));
    }
    let texts = |field: &str| -> Vec<String> {
        let texts = package[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let (keywords, categories) = (texts("keywords"), texts("categories"));
    // The registry's own limits.
    ensure!((1..=5).contains(&keywords.len()), "it has {} keywords, and not 1 to 5", keywords.len());
    ensure!((1..=5).contains(&categories.len()), "it has {} categories, and not 1 to 5", categories.len());
    if let Some(long) = keywords.iter().find(|keyword| keyword.len() > 20) {
        bail!("the keyword {long:?} is longer than 20 characters");
    }
    let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).with_file_name("");
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let readme = read(&folder.join("README.md"))?;
    let name = package["name"].as_str().unwrap_or_default();
    ensure!(readme.starts_with(&format!("# {name}\n")), "its README.md does not begin with its name");
    // Where a checkout has no symbolic links, it would be a path.
    ensure!(
        read(&folder.join("LICENSE"))? == read(&workspace().join("LICENSE"))?,
        "its LICENSE is not the workspace's"
    );
    let documented = texts_of(&package["metadata"]["docs"]["rs"]["features"]);
    let known = package["features"].as_object().cloned().unwrap_or_default();
    if let Some(unknown) = documented.iter().find(|feature| !known.contains_key(*feature)) {
        bail!("docs.rs is told to use the feature {unknown}, which is not there");
    }
    let hidden = |feature: &&String| !documented.contains(feature) && !KEPT_FROM_DOCS.contains(&feature.as_str());
    let default = texts_of(&known.get("default").cloned().unwrap_or_default());
    if let Some(feature) = known.keys().filter(hidden).find(|feature| !default.contains(feature)) {
        bail!("docs.rs is not told to use the feature {feature} (package.metadata.docs.rs)");
    }
    Ok(())
}

/// Features that show nothing: `off` takes away, `webpki-roots` does the same otherwise, and of the others there is to be one of two.
const KEPT_FROM_DOCS: [&str; 6] = ["default", "off", "webpki-roots", "smol-comp", "bson-3", "openssl-tls"];

fn texts_of(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
