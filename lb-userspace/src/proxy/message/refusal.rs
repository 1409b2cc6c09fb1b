//! Why a request was refused.

/// Why a request was refused before it reached a backend.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// A line of the head ends in LF alone, or has a CR that no LF follows.
    BareLineEnd,
    /// The request line does not have the form `METHOD SP target SP HTTP/1.0|1.1`.
    RequestLine,
    /// The version in the request line is not HTTP/1.
    Version,
    /// The target has a space or a fragment, or is none of these: a path, `*` with OPTIONS, an
    /// `http(s)://` URI.
    Target,
    /// A header line does not have the form `name: value`. It is folded (obs-fold), or has a space
    /// before the colon, NUL or another control character.
    HeaderLine,
    /// The head has more header lines than are allowed.
    TooManyHeaders,
    /// The head is longer than `max_header_bytes`.
    HeadTooLarge,
    /// The request has no Host, more than one, or an invalid one.
    Host,
    /// The authority of the target, or `:authority`, differs from Host.
    HostMismatch,
    /// Content-Length is not one number, or the request has more than one.
    ContentLength,
    /// The request has both Content-Length and Transfer-Encoding.
    AmbiguousLength,
    /// Transfer-Encoding does not end in `chunked`, or was sent with HTTP/1.0.
    TransferEncoding,
    /// Transfer-Encoding has a coding before `chunked`, which the front cannot decode.
    TransferCoding,
    /// The request has an expectation other than `100-continue`.
    Expectation,
    /// The method is CONNECT, or TRACE with a body.
    Method,
    /// A chunk header, trailer or chunk end violates RFC 9112 §7.1 or is too long.
    Chunk,
    /// The head of the request did not arrive in time.
    HeaderTimeout,
    /// The client paused for too long while it sent the body.
    BodyTimeout,
    /// Servers may interpret the path differently, and a route matches on paths.
    AmbiguousPath,
}

impl Refusal {
    /// All refusals, in the order of their discriminants.
    pub(crate) const ALL: [Self; 19] = [
        Self::BareLineEnd,
        Self::RequestLine,
        Self::Version,
        Self::Target,
        Self::HeaderLine,
        Self::TooManyHeaders,
        Self::HeadTooLarge,
        Self::Host,
        Self::HostMismatch,
        Self::ContentLength,
        Self::AmbiguousLength,
        Self::TransferEncoding,
        Self::TransferCoding,
        Self::Expectation,
        Self::Method,
        Self::Chunk,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::AmbiguousPath,
    ];

    /// Returns the status of the response to a request that is refused for this reason.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::TooManyHeaders | Self::HeadTooLarge => 431,
            Self::Expectation => 417,
            Self::TransferCoding | Self::Method => 501,
            Self::Version => 505,
            Self::HeaderTimeout | Self::BodyTimeout => 408,
            _ => 400,
        }
    }

    /// Returns the refusal as one sentence for the reader of the response.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::BareLineEnd => "A line of the request does not end in CR LF.",
            Self::RequestLine => "The first line is not `METHOD target HTTP/1.1`.",
            Self::Version => "This server speaks HTTP/1.0, HTTP/1.1 and, over TLS, HTTP/2.",
            Self::Target => "The request target is neither a path nor an http(s) URI.",
            Self::HeaderLine => "A header line is not `name: value`.",
            Self::TooManyHeaders => "The request has too many headers.",
            Self::HeadTooLarge => "The request's headers are too long.",
            Self::Host => "The request needs exactly one valid Host header.",
            Self::HostMismatch => "The request target names another host than the Host header.",
            Self::ContentLength => "The request needs at most one Content-Length, a plain number.",
            Self::AmbiguousLength => "The request has both Content-Length and Transfer-Encoding.",
            Self::TransferEncoding => {
                "The Transfer-Encoding does not end in chunked, or came with HTTP/1.0."
            }
            Self::TransferCoding => "The only transfer coding that is understood is chunked.",
            Self::Expectation => "The only expectation that is understood is 100-continue.",
            Self::Method => "This server does not serve that method.",
            Self::Chunk => "The chunked body is malformed.",
            Self::HeaderTimeout => "The request's headers did not arrive in time.",
            Self::BodyTimeout => "The request's body did not arrive in time.",
            Self::AmbiguousPath => {
                "The path has a segment . or .., %00, or a % without two hexadecimal digits."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn the_list_of_refusals_is_in_the_order_of_their_numbers() {
        for (number, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, number);
        }
    }
}
