//! The feature `off` leaves nothing in the code of its user.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The instructions of a function of that name, without labels and directives.
fn instructions<'a>(assembly: &'a str, function: &str) -> Option<Vec<&'a str>> {
    let label = format!("{function}:");
    let mut lines = assembly.lines().skip_while(|line| *line != label);
    lines.next()?;
    let body = lines.map(str::trim).take_while(|line| !line.starts_with(".cfi_endproc"));
    Some(body.filter(|line| !line.starts_with('.') && !line.ends_with(':')).collect())
}

#[test]
fn a_traced_function_compiles_to_the_same_instructions_as_one_that_is_not() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("off");
    run(Command::new(env!("CARGO"))
        .args(["build", "--lib", "--locked", "--release", "--no-default-features", "--features", "off"])
        .current_dir(here)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_RELEASE_LTO", "off"));
    let assembly = target.join("off.s");
    let library = target.join("release/libtracewell.rlib");
    run(Command::new("rustc")
        .args(["--edition=2024", "--crate-type=lib", "-Copt-level=3", "-Ccodegen-units=1", "--emit=asm", "-o"])
        .arg(&assembly)
        .arg(format!("-Ldependency={}", target.join("release/deps").display()))
        .arg(format!("--extern=tracewell={}", library.display()))
        .arg(here.join("tests/fixtures/off.rs"))
        .current_dir(here));
    let assembly = std::fs::read_to_string(assembly).unwrap();
    // Mostly they are so equal that the compiler makes one function of the two.
    let (one, other) = ("with_tracing = without_tracing\n", "without_tracing = with_tracing\n");
    if !assembly.contains(one) && !assembly.contains(other) {
        let without = instructions(&assembly, "without_tracing").expect("the function without tracing");
        assert_eq!(instructions(&assembly, "with_tracing").expect("the function with tracing"), without);
    }
}
