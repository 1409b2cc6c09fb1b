//! Treats later minor versions of HTTP/1 as version 1.1 (RFC 9110 §2.5).

/// Replaces `HTTP/1.2` to `HTTP/1.9` at the end of a request's first line by `HTTP/1.1`.
pub(crate) fn settle_request_version(head: &mut [u8]) {
    let end = memchr::memchr(b'\r', head).unwrap_or(0);
    if let Some(version) = head[..end].last_chunk_mut() {
        settle(version);
    }
}

/// Replaces `HTTP/1.2` to `HTTP/1.9` at the beginning of a response by `HTTP/1.1`.
pub(crate) fn settle_response_version(head: &mut [u8]) {
    if let Some(version) = head.first_chunk_mut() {
        settle(version);
    }
}

fn settle(version: &mut [u8; 8]) {
    if let [
        b'H',
        b'T',
        b'T',
        b'P',
        b'/',
        b'1',
        b'.',
        minor @ b'2'..=b'9',
    ] = version
    {
        *minor = b'1';
    }
}

/// Returns whether a word of the request line has the form of a version (RFC 9112 §2.3), such as
/// `HTTP/1.1`.
pub(crate) fn is_version(word: &[u8]) -> bool {
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = word else {
        return false;
    };
    major.is_ascii_digit() && minor.is_ascii_digit()
}
