//! Secrets that commonly stand in URLs, taken out.

/// What stands for a secret.
const REDACTED: &str = "REDACTED";

/// Parts of query keys whose values are secrets: signatures and credentials of the large clouds, as the semantic
/// conventions name them (`AWSAccessKeyId`, `Signature`, `sig`, `X-Goog-Signature`), tokens, and the usual names for
/// passwords.
const SECRET_PARTS: [&str; 10] =
    ["password", "passwd", "secret", "token", "signature", "credential", "apikey", "api_key", "api-key", "accesskey"];
const SECRET_KEYS: [&str; 8] = ["sig", "key", "pwd", "pass", "auth", "code", "session", "jwt"];

/// The URL with user, password and secret query values replaced by `REDACTED`.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let (before_query, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)));
    let mut redacted = String::with_capacity(url.len());
    match before_query.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find(['/', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority_end);
            redacted.push_str(scheme);
            redacted.push_str("://");
            match authority.rsplit_once('@') {
                Some((user, host)) => {
                    redacted.push_str(REDACTED);
                    if user.contains(':') {
                        redacted.push(':');
                        redacted.push_str(REDACTED);
                    }
                    redacted.push('@');
                    redacted.push_str(host);
                }
                None => redacted.push_str(authority),
            }
            redacted.push_str(path);
        }
        None => redacted.push_str(before_query),
    }
    if let Some(query) = query {
        redacted.push('?');
        redacted.push_str(&redact_query(query));
    }
    redacted
}

/// The text with every URL in it redacted.
pub(super) fn redact_urls_in(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|word| if word.contains("://") { redact_url(word).into() } else { std::borrow::Cow::from(word) })
        .collect()
}

/// The query with secret values replaced by `REDACTED`.
pub(crate) fn redact_query(query: &str) -> String {
    let mut redacted = String::with_capacity(query.len());
    for (at, pair) in query.split('&').enumerate() {
        if at > 0 {
            redacted.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => {
                redacted.push_str(key);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            _ => redacted.push_str(pair),
        }
    }
    redacted
}

fn is_secret(key: &str) -> bool {
    let key = crate::baggage::percent_decode(key).to_ascii_lowercase();
    SECRET_KEYS.contains(&key.as_str()) || SECRET_PARTS.iter().any(|part| key.contains(part))
}
