//! Libraries that move the bytes of others.

/// Whether a target, such as `hyper_util::client`, is of one of them.
pub(crate) fn is_target(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or(target);
    let is_library =
        |name: &str| library == name || library.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
    // Nearly all targets are let through by their first byte.
    match library.as_bytes().first() {
        Some(b'h') => library == "h2" || is_library("hyper"),
        Some(b'r') => library == "rustls",
        Some(b't') => target == "tower::buffer" || target.starts_with("tower::buffer::"),
        Some(b'u') => is_library("ureq"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_target;

    #[test]
    fn targets_are_told_by_their_library() {
        for target in [
            "h2",
            "h2::codec",
            "hyper",
            "hyper_util::client::legacy",
            "rustls::conn",
            "tower::buffer::worker",
            "ureq_proto::util",
        ] {
            assert!(is_target(target), "{target}");
        }
        for target in
            ["", "h2o", "hyperspace", "rustls_pemfile", "tower", "tower::bufferings", "tower_http::trace", "shop::h2"]
        {
            assert!(!is_target(target), "{target}");
        }
    }
}
