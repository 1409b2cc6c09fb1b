//! Why a request was refused.

/// Why a request was refused before it reached a backend.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// A line ends in LF alone, or has a CR that no LF follows.
    BareLineEnd,
    /// The request line is not `METHOD SP target SP HTTP/1.0|1.1`.
    RequestLine,
    /// The version is not HTTP/1.
    Version,
    /// The target has a space or a fragment, or is neither a path, nor `*` for OPTIONS, nor an
    /// `http(s)://` URI.
    Target,
    /// A header line is not `name: value`: obs-fold, space before the colon, NUL or other control
    /// characters.
    HeaderLine,
    /// The head has too many header lines.
    TooManyHeaders,
    /// The head is longer than `max_header_bytes`.
    HeadTooLarge,
    /// There is no Host, more than one, or an invalid one.
    Host,
    /// An absolute target or `:authority` differs from Host.
    HostMismatch,
    /// Content-Length is not one number, or there is more than one.
    ContentLength,
    /// There are both Content-Length and Transfer-Encoding.
    AmbiguousLength,
    /// Transfer-Encoding does not end in `chunked`, or came with HTTP/1.0.
    TransferEncoding,
    /// There is a transfer coding before `chunked`, which cannot be decoded here.
    TransferCoding,
    /// There is an expectation other than `100-continue`.
    Expectation,
    /// The method is CONNECT, or TRACE with a body.
    Method,
    /// A chunk header, trailer or chunk end violates RFC 9112 §7.1 or is too long.
    Chunk,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// The body paused for too long.
    BodyTimeout,
    /// Servers interpret the path differently, and a route matches on paths.
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

    /// Returns the status of the response.
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

    /// Returns one sentence for the reader of the response.
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
