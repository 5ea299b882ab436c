//! The parts of a release that others wrote: a software bill of materials (CycloneDX 1.5) and their licences.
//!
//! Made here from what cargo and npm know, and not by a tool: what is listed is exactly what is linked into the binary and
//! bundled into its pages, which tools that read lock files do not tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run::{cargo, run, workspace};
use crate::ui;

/// A package that is in the release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    /// `cargo` or `npm`, as in package URLs.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: String,
    authors: String,
    repository: String,
    /// SHA-256 of the package as the registry has it.
    sha256: Option<String>,
    folder: PathBuf,
    is_ours: bool,
}

impl Part {
    fn purl(&self) -> String {
        format!("pkg:{}/{}@{}", self.kind, self.name.replace('@', "%40"), self.version)
    }

    /// Files of the package that tell its licence, with their text.
    fn texts(&self) -> Vec<(String, String)> {
        let mut paths: Vec<PathBuf> = self
            .folder
            .read_dir()
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
                path.is_file()
                    && ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
                        .iter()
                        .any(|word| name.starts_with(word))
            })
            .collect();
        paths.sort();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        paths.iter().filter_map(|path| Some((name(path), std::fs::read_to_string(path).ok()?))).collect()
    }
}

/// Writes `tracewell.cdx.json` and `THIRD-PARTY-NOTICES.txt` into a folder.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut parts = crates()?;
    parts.extend(npm_packages()?);
    parts.sort();
    let version = env!("CARGO_PKG_VERSION");
    std::fs::write(folder.join("tracewell.cdx.json"), serde_json::to_vec_pretty(&bill(&parts, version))?)?;
    std::fs::write(folder.join("THIRD-PARTY-NOTICES.txt"), notices(&parts))?;
    let foreign = parts.iter().filter(|part| !part.is_ours).count();
    eprintln!(
        "wrote tracewell.cdx.json and THIRD-PARTY-NOTICES.txt, {foreign} parts of others, into {}",
        folder.display()
    );
    Ok(())
}

/// Every crate that is linked into the server.
pub(crate) fn crates() -> Result<Vec<Part>> {
    let wanted = tree()?;
    let metadata = read(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo's metadata is JSON")?;
    let checksums = checksums()?;
    let mut parts = Vec::new();
    for package in metadata["packages"].as_array().context("metadata names packages")? {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let key = (text("name"), text("version"));
        if !wanted.contains(&key) {
            continue;
        }
        let authors = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        parts.push(Part {
            kind: "cargo",
            license: text("license").replace('/', " OR "),
            authors: authors.collect::<Vec<_>>().join(", "),
            repository: text("repository"),
            sha256: checksums.get(&key).cloned(),
            folder: Path::new(&text("manifest_path")).parent().map(Path::to_owned).unwrap_or_default(),
            is_ours: package["source"].is_null(),
            name: key.0,
            version: key.1,
        });
    }
    if parts.len() != wanted.len() {
        bail!("{} of {} crates are known to `cargo metadata`", parts.len(), wanted.len());
    }
    Ok(parts)
}

/// Names and versions of what `cargo tree` shows for the server.
pub(crate) fn tree() -> Result<BTreeSet<(String, String)>> {
    let text = read(&mut cargo(&[
        "tree",
        "--package",
        "tracewell-server",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--locked",
    ]))?;
    let text = String::from_utf8(text)?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Checksums of the lock file, by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let text = std::fs::read_to_string(workspace().join("Cargo.lock"))?;
    let mut found = BTreeMap::new();
    for package in text.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) = (field("name"), field("version"), field("checksum")) {
            found.insert((name, version), checksum);
        }
    }
    Ok(found)
}

/// Every npm package of which the pages hold code, as the bundler's source maps tell.
pub(crate) fn npm_packages() -> Result<Vec<Part>> {
    ui::install()?;
    let out = workspace().join("target/release-maps");
    let mut vite = ui::script("build");
    run(vite.args(["--", "--sourcemap", "--logLevel", "warn", "--emptyOutDir", "--outDir"]).arg(&out))?;
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(out.join("assets"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "map") {
            continue;
        }
        let map: Value = serde_json::from_slice(&std::fs::read(&path)?).context("a source map is JSON")?;
        for source in map["sources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some((_, inside)) = source.rsplit_once("node_modules/") else { continue };
            let depth = if inside.starts_with('@') { 2 } else { 1 };
            folders.insert(inside.split('/').take(depth).collect::<Vec<_>>().join("/"));
        }
    }
    let modules = workspace().join("ui/node_modules");
    folders.into_iter().map(|name| npm_package(&modules.join(&name))).collect()
}

fn npm_package(folder: &Path) -> Result<Part> {
    let path = folder.join("package.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let package: Value = serde_json::from_slice(&text)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let author = &package["author"];
    Ok(Part {
        kind: "npm",
        name: text(&package["name"]),
        version: text(&package["version"]),
        license: text(&package["license"]),
        authors: if author.is_string() { text(author) } else { text(&author["name"]) },
        repository: text(if package["repository"].is_string() {
            &package["repository"]
        } else {
            &package["repository"]["url"]
        }),
        sha256: None,
        folder: folder.to_owned(),
        is_ours: false,
    })
}

/// The bill of materials.
pub(crate) fn bill(parts: &[Part], version: &str) -> Value {
    let components: Vec<Value> = parts
        .iter()
        .map(|part| {
            let mut component = json!({
                "type": "library",
                "bom-ref": part.purl(),
                "name": part.name,
                "version": part.version,
                "purl": part.purl(),
                "licenses": [{"expression": part.license}],
            });
            if let Some(sha256) = &part.sha256 {
                component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
            }
            if !part.repository.is_empty() {
                component["externalReferences"] = json!([{"type": "vcs", "url": part.repository}]);
            }
            component
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": "tracewell",
            "name": "tracewell",
            "version": version,
            "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": components,
        "dependencies": [{"ref": "tracewell", "dependsOn": parts.iter().map(Part::purl).collect::<Vec<_>>()}],
    })
}

/// The licence texts of all parts of others; each text once, under the parts that it is of.
pub(crate) fn notices(parts: &[Part]) -> String {
    let mut out = "Tracewell contains software of others, under the licences below.\n".to_owned();
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.is_ours) {
        let title = format!("{} {} ({})", part.name, part.version, part.license);
        let texts = part.texts();
        if texts.is_empty() {
            let by = if part.authors.is_empty() { String::new() } else { format!(", by {}", part.authors) };
            let text =
                format!("The package has no file with its licence. It is {}{by}: {}\n", part.license, part.repository);
            by_text.entry(text).or_default().push(title);
            continue;
        }
        for (name, text) in texts {
            by_text.entry(text.trim_end().to_owned()).or_default().push(format!("{title}, {name}"));
        }
    }
    let mut sections: Vec<(Vec<String>, String)> = by_text.into_iter().map(|(text, titles)| (titles, text)).collect();
    sections.sort();
    for (titles, text) in sections {
        out.push_str(&format!("\n{}\n{}\n\n{text}\n", "-".repeat(80), titles.join("\n")));
    }
    out
}

fn read(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_server_is_in_the_bill_and_in_the_notices() {
        let parts = crates().unwrap();
        let bill = bill(&parts, "1.2.3");
        let listed: BTreeSet<(String, String)> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| (part["name"].as_str().unwrap().to_owned(), part["version"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(listed, tree().unwrap());
        assert!(listed.len() > 100, "{}", listed.len());
        let notices = notices(&parts);
        for part in &parts {
            assert!(!part.license.is_empty(), "{} has a licence", part.name);
            assert!(part.is_ours || part.sha256.is_some(), "{} has a checksum", part.name);
            assert!(part.is_ours || notices.contains(&format!("{} {} (", part.name, part.version)), "{}", part.name);
        }
        let references: BTreeSet<&str> =
            bill["components"].as_array().unwrap().iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references.len(), parts.len(), "each part is listed once");
    }
}
