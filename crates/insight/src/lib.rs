//! Critical path and why: pure functions over traces.
