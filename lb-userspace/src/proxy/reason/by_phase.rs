//! Maps an event to its reason, by the phase of the request or connection in which it happens.

use super::{Phase, Reason};
use crate::proxy::message::Refusal;

/// How a client disconnected, or cancelled a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Disconnect {
    /// The client closed its connection.
    Closed,
    /// The client reset its connection, or the connection failed.
    Reset,
    /// The client cancelled this request alone, and its connection continues (HTTP/2, RFC 9113
    /// §8.7).
    Cancelled,
}

impl Reason {
    /// Returns the reason for a client that disconnected in this phase.
    pub(in crate::proxy) fn client_left(phase: Phase, left: Disconnect) -> Self {
        match (phase, left) {
            (Phase::Handshake, Disconnect::Closed) => Self::ClientHandshakeClosed,
            (Phase::Handshake, _) => Self::ClientHandshakeReset,
            (Phase::Head | Phase::KeepAlive, Disconnect::Closed) => Self::ClientHeadClosed,
            (Phase::Head | Phase::KeepAlive, _) => Self::ClientHeadReset,
            (Phase::Queue | Phase::Connect, Disconnect::Cancelled) => Self::ClientConnectCancelled,
            (Phase::Queue | Phase::Connect, _) => Self::ClientConnectClosed,
            (Phase::RequestBody, Disconnect::Closed) => Self::ClientRequestBodyClosed,
            (Phase::RequestBody, Disconnect::Reset) => Self::ClientRequestBodyReset,
            (Phase::RequestBody, Disconnect::Cancelled) => Self::ClientRequestBodyCancelled,
            (Phase::ResponseHead, Disconnect::Closed) => Self::ClientResponseHeadClosed,
            (Phase::ResponseHead, Disconnect::Reset) => Self::ClientResponseHeadReset,
            (Phase::ResponseHead, Disconnect::Cancelled) => Self::ClientResponseHeadCancelled,
            (Phase::ResponseBody, Disconnect::Closed) => Self::ClientResponseBodyClosed,
            (Phase::ResponseBody, Disconnect::Reset) => Self::ClientResponseBodyReset,
            (Phase::ResponseBody, Disconnect::Cancelled) => Self::ClientResponseBodyCancelled,
            (Phase::Tunnel, _) => Self::ClientTunnelReset,
        }
    }

    /// Returns the reason for a request whose total time limit (`request`) expired in this phase.
    pub(in crate::proxy) fn request_timeout(phase: Phase) -> Self {
        match phase {
            Phase::RequestBody => Self::LbRequestBodyTimeout,
            Phase::ResponseHead => Self::LbResponseHeadTimeout,
            Phase::ResponseBody | Phase::Tunnel => Self::LbResponseBodyTimeout,
            _ => Self::LbConnectTimeout,
        }
    }

    /// Returns the reason for a request that failed for the reason `self` and was not retried
    /// because the retry budget is exhausted.
    pub(in crate::proxy) fn over_budget(self) -> Self {
        match self.phase() {
            Phase::Connect => Self::LbConnectRetryBudget,
            _ => Self::LbResponseHeadRetryBudget,
        }
    }

    /// Returns the reason for a request that was broken off in this phase because its worker ended.
    pub(in crate::proxy) fn shutdown(phase: Phase) -> Self {
        match phase {
            Phase::RequestBody => Self::LbRequestBodyShutdown,
            Phase::ResponseHead => Self::LbResponseHeadShutdown,
            Phase::ResponseBody => Self::LbResponseBodyShutdown,
            Phase::Tunnel => Self::LbTunnelShutdown,
            _ => Self::LbConnectShutdown,
        }
    }

    /// Returns the reason for a request whose task panicked in this phase.
    pub(in crate::proxy) fn fault(phase: Phase) -> Self {
        match phase {
            Phase::RequestBody => Self::LbRequestBodyFault,
            Phase::ResponseHead => Self::LbResponseHeadFault,
            Phase::ResponseBody => Self::LbResponseBodyFault,
            Phase::Tunnel => Self::LbTunnelFault,
            _ => Self::LbConnectFault,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BareLineEnd => Self::ClientHeadBareLineEnd,
            Refusal::RequestLine => Self::ClientHeadRequestLine,
            Refusal::Version => Self::ClientHeadVersion,
            Refusal::Target => Self::ClientHeadTarget,
            Refusal::HeaderLine => Self::ClientHeadHeaderLine,
            Refusal::TooManyHeaders => Self::ClientHeadTooManyHeaders,
            Refusal::HeadTooLarge => Self::ClientHeadTooLarge,
            Refusal::Host => Self::ClientHeadHost,
            Refusal::HostMismatch => Self::ClientHeadHostMismatch,
            Refusal::ContentLength => Self::ClientHeadContentLength,
            Refusal::AmbiguousLength => Self::ClientHeadAmbiguousLength,
            Refusal::TransferEncoding => Self::ClientHeadTransferEncoding,
            Refusal::TransferCoding => Self::ClientHeadTransferCoding,
            Refusal::Expectation => Self::ClientHeadExpectation,
            Refusal::Method => Self::ClientHeadMethod,
            Refusal::AmbiguousPath => Self::ClientHeadAmbiguousPath,
            Refusal::Chunk => Self::ClientRequestBodyChunk,
            Refusal::HeaderTimeout => Self::ClientHeadTimeout,
            Refusal::BodyTimeout => Self::ClientRequestBodyTimeout,
        }
    }
}
