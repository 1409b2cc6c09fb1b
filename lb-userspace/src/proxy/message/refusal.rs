//! Why a request was refused.

/// Why a request was refused before any backend saw it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// A line that ends in LF alone, or CR that no LF follows.
    BareLineEnd,
    /// The request line is not `METHOD SP target SP HTTP/1.0|1.1`.
    RequestLine,
    /// A version other than HTTP/1.
    Version,
    /// A target with a space or a fragment, or that is neither a path, nor `*` for OPTIONS, nor an `http(s)://` URI.
    Target,
    /// A header line that is not `name: value`: obs-fold, space before the colon, NUL or other
    /// control characters.
    HeaderLine,
    /// More header lines than a head may have.
    TooManyHeaders,
    /// A head longer than `max_header_bytes`.
    HeadTooLarge,
    /// No Host, more than one, or one that is no host.
    Host,
    /// An absolute target, or an `:authority`, that disagrees with Host.
    HostMismatch,
    /// A Content-Length that is not one number, or more than one Content-Length.
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    AmbiguousLength,
    /// A Transfer-Encoding that does not end in `chunked`, or one in HTTP/1.0.
    TransferEncoding,
    /// A transfer coding before `chunked`, which nothing here can undo.
    TransferCoding,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The method CONNECT, or TRACE with a body.
    Method,
    /// A chunk header, trailer or chunk end that breaks RFC 9112 §7.1, or is too long.
    Chunk,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// The body paused for too long.
    BodyTimeout,
    /// A path that servers read in different ways, where routes look at paths.
    AmbiguousPath,
}

impl Refusal {
    /// Every refusal, in the order of their numbers.
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

    /// The status that the client is answered with.
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

    /// One sentence for whoever reads the response.
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
