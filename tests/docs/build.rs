//! Puts each block of Rust in a document into what `around/` has for it, and fails when there is one too many or too few.
//! Blocks of `rs` are code of libraries that are not ours.

use std::fmt::Write as _;
use std::path::Path;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = String::new();
    println!("cargo::rerun-if-changed=around");
    for entry in std::fs::read_dir(here.join("around")).expect("the folder around/") {
        let path = entry.expect("an entry of around/").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let document = here.join("../../docs").join(&name).with_extension("md");
        println!("cargo::rerun-if-changed={}", document.display());
        let text = std::fs::read_to_string(&document).unwrap_or_else(|error| panic!("{name}.md: {error}"));
        let around = std::fs::read_to_string(&path).expect("a file of around/");
        let blocks: Vec<&str> = text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let around: Vec<&str> = around.split("\n// ---\n").collect();
        assert_eq!(blocks.len(), around.len(), "blocks of docs/{name}.md, and parts of tests/docs/around/{name}.rs");
        for (number, (block, around)) in blocks.iter().zip(around).enumerate() {
            assert_eq!(around.matches("BLOCK!();").count(), 1, "part {number} of around/{name}.rs");
            let module = name.replace('-', "_");
            // What a block leaves to its reader.
            let block = block.replace("{ /* ... */ }", "{ todo!() }");
            let code = around.replace("BLOCK!();", &block);
            writeln!(out, "mod {module}_{number} {{\n{code}\n}}").expect("memory");
        }
    }
    let target = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&target).join("blocks.rs"), out).expect("the output");
}
