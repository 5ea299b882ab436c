//! Where panics abort no guard is dropped, and what has ended is exported all the same.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

mod fixtures;

use fixtures::Library;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

#[test]
fn a_program_that_aborts_on_a_panic_exports_what_has_ended() {
    let library = Library::build("aborts", "dev", "", &[("CARGO_PROFILE_DEV_PANIC", "abort")]);
    let program = library.compile("aborts.rs", &["-Cpanic=abort"]);
    let output = Command::new(program).output().unwrap();
    const SIGABRT: i32 = 6;
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    let (spans, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(said.contains("the program's own hook") && said.contains("planned"), "{said}");
    assert_eq!(spans.lines().count(), 2, "{spans}");
    assert!(spans.contains(" ended ") && spans.contains(" elsewhere "), "{spans}");
}
