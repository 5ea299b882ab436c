fn example() -> crate::Result {
    BLOCK!();
    Ok(())
}
