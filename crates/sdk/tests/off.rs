//! The feature `off` leaves nothing in the code of its user.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

mod fixtures;

use fixtures::Library;

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
    let library = Library::build("off", "release", "off", &[("CARGO_PROFILE_RELEASE_LTO", "off")]);
    let options = ["--crate-type=lib", "-Copt-level=3", "-Ccodegen-units=1", "--emit=asm"];
    let assembly = std::fs::read_to_string(library.compile("off.rs", &options)).unwrap();
    // Mostly they are so equal that the compiler makes one function of the two.
    let (one, other) = ("with_tracing = without_tracing\n", "without_tracing = with_tracing\n");
    if !assembly.contains(one) && !assembly.contains(other) {
        let without = instructions(&assembly, "without_tracing").expect("the function without tracing");
        assert_eq!(instructions(&assembly, "with_tracing").expect("the function with tracing"), without);
    }
}
