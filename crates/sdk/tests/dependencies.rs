//! What users of the library have to build with it.

use std::process::Command;

#[test]
fn the_library_brings_few_dependencies_and_none_of_this_workspace() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", "tracewell@0.1.0", "--features", "tower"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let mut packages: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    packages.sort_unstable();
    packages.dedup();
    let own: Vec<_> = packages.iter().filter(|name| name.starts_with("tracewell")).collect();
    assert_eq!(own, [&"tracewell", &"tracewell-macros"]);
    for runtime in ["tokio", "prost", "hyper", "serde", "tracing", "rustls", "syn"] {
        assert!(!packages.contains(&runtime), "{packages:?}");
    }
    assert!(packages.len() <= 12, "{} packages: {packages:?}", packages.len());
}
