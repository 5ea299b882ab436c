fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
// ---
fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
