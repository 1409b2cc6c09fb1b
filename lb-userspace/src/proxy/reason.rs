//! The reasons why the front answered a request itself, or why a request or a connection ended
//! early.
//!
//! The same words are used in metrics, in the access log, in `lb errors` and in `docs/reasons.md`;
//! a test compares that page with this file.

mod by_phase;

pub(super) use by_phase::Disconnect;

/// Which party ended a request or a connection. For a timeout, this is the party that was waited
/// for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// The client of the connection or request.
    Client,
    /// The backend that had the request.
    Backend,
    /// The load balancer itself.
    Lb,
}

impl By {
    /// Returns the party as the first word of a reason's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Lb => "lb",
        }
    }
}

/// How far a connection or a request had come when it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// From the beginning of the connection to the end of the TLS handshake.
    Handshake,
    /// From the first byte of a request to the end of the request's head.
    Head,
    /// From the moment when there is a connection to the backend until the backend has the whole
    /// request.
    RequestBody,
    /// From the end of the request's head until a backend is chosen.
    Queue,
    /// From the choice of a backend until there is a connection to it.
    Connect,
    /// From the end of the request to the end of the response's head.
    ResponseHead,
    /// From the end of the response's head to the end of the response's body.
    ResponseBody,
    /// After the response `101 Switching Protocols`.
    Tunnel,
    /// Between two requests on a connection.
    KeepAlive,
}

impl Phase {
    /// Returns the phase as the second part of a reason's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Head => "head",
            Self::RequestBody => "request_body",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::ResponseHead => "response_head",
            Self::ResponseBody => "response_body",
            Self::Tunnel => "tunnel",
            Self::KeepAlive => "keep_alive",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $by:ident $phase:ident $word:literal $meaning:literal;)*) => {
        /// Why the front answered a request itself, or why a request or a connection ended early.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns which party ended the request or connection that has this reason.
            #[must_use]
            pub fn by(self) -> By {
                match self {
                    $(Self::$variant => By::$by,)*
                }
            }

            /// Returns how far the request or connection that has this reason had come.
            #[must_use]
            pub fn phase(self) -> Phase {
                match self {
                    $(Self::$variant => Phase::$phase,)*
                }
            }

            /// Returns the name of the reason: the party, the phase and the cause, joined by `_`.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Returns the meaning of the reason, as full sentences.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    ClientHandshakeTimeout Client Handshake "client_handshake_timeout"
        "The TLS handshake did not end within `handshake`.";
    ClientHandshakeClosed Client Handshake "client_handshake_closed"
        "The client closed its connection during the TLS handshake.";
    ClientHandshakeReset Client Handshake "client_handshake_reset"
        "The client's connection failed during the TLS handshake.";
    ClientHandshakeMalformed Client Handshake "client_handshake_malformed"
        "The client did not send a TLS handshake (usually plain HTTP to the HTTPS port).";
    ClientHandshakeIncompatible Client Handshake "client_handshake_incompatible"
        "Client and service have no TLS version, cipher suite, group or protocol in common.";
    ClientHandshakeAlert Client Handshake "client_handshake_alert"
        "The client ended the handshake by an alert; usually it does not trust the certificate.";
    LbHandshakeClientLimit Lb Handshake "lb_handshake_client_limit"
        "The client already had `max_connections_per_client` connections.";

    ClientHeadTimeout Client Head "client_head_timeout"
        "The head of the request did not end within `head`.";
    ClientHeadNoRequest Client Head "client_head_no_request"
        "A new connection carried no request within `head`.";
    ClientHeadClosed Client Head "client_head_closed"
        "The client closed its connection during the head of a request.";
    ClientHeadReset Client Head "client_head_reset"
        "The client's connection failed during the head of a request.";
    ClientHeadBareLineEnd Client Head "client_head_bare_line_end"
        "A line of the head does not end in CR LF.";
    ClientHeadRequestLine Client Head "client_head_request_line"
        "The first line is not `METHOD target HTTP/1.1`.";
    ClientHeadVersion Client Head "client_head_version"
        "The version is not HTTP/1.";
    ClientHeadTarget Client Head "client_head_target"
        "The target is neither a path nor an `http(s)://` URI, or has a space or a fragment.";
    ClientHeadHeaderLine Client Head "client_head_header_line"
        "A header line is not `name: value`, or is connection-specific and came by HTTP/2.";
    ClientHeadTooManyHeaders Client Head "client_head_too_many_headers"
        "The head has too many header lines.";
    ClientHeadTooLarge Client Head "client_head_too_large"
        "The head is longer than `max_header_bytes`.";
    ClientHeadHost Client Head "client_head_host"
        "There is no Host, more than one, or an invalid one.";
    ClientHeadHostMismatch Client Head "client_head_host_mismatch"
        "The target, or `:authority`, names another host than Host does.";
    ClientHeadContentLength Client Head "client_head_content_length"
        "Content-Length is not one number, occurs twice, or contradicts the frames of HTTP/2.";
    ClientHeadAmbiguousLength Client Head "client_head_ambiguous_length"
        "There are both Content-Length and Transfer-Encoding.";
    ClientHeadTransferEncoding Client Head "client_head_transfer_encoding"
        "Transfer-Encoding does not end in `chunked`, or came with HTTP/1.0.";
    ClientHeadTransferCoding Client Head "client_head_transfer_coding"
        "There is a transfer coding before `chunked`.";
    ClientHeadExpectation Client Head "client_head_expectation"
        "Expect asks for something other than `100-continue`.";
    ClientHeadMethod Client Head "client_head_method"
        "The method is CONNECT, or TRACE with a body.";
    ClientHeadAmbiguousPath Client Head "client_head_ambiguous_path"
        "A route matches on the path or host, and servers interpret it differently.";
    ClientHeadHttp2 Client Head "client_head_http2"
        "The client caused an HTTP/2 connection error (RFC 9113 §5.4.1).";
    LbHeadCancellations Lb Head "lb_head_cancellations"
        "The client cancelled 100 more requests than it completed (HTTP/2).";
    LbHeadAcmeChallenge Lb Head "lb_head_acme_challenge"
        "lb answered an ACME challenge (RFC 8555 §8.3).";
    LbHeadRedirect Lb Head "lb_head_redirect"
        "A route redirected the client.";
    LbHeadFixedAnswer Lb Head "lb_head_fixed_answer"
        "A route has a fixed answer.";
    LbHeadNoRoute Lb Head "lb_head_no_route"
        "No route matched the request, and the service has no pool of its own.";

    ClientRequestBodyTimeout Client RequestBody "client_request_body_timeout"
        "The request's body paused for longer than `body`.";
    ClientRequestBodyClosed Client RequestBody "client_request_body_closed"
        "The client closed its connection during the body of its request.";
    ClientRequestBodyReset Client RequestBody "client_request_body_reset"
        "The client's connection failed during the body of its request.";
    ClientRequestBodyCancelled Client RequestBody "client_request_body_cancelled"
        "The client cancelled the request during its body (HTTP/2).";
    ClientRequestBodyChunk Client RequestBody "client_request_body_chunk"
        "The chunked body violates RFC 9112 §7.1.";
    BackendRequestBodyTimeout Backend RequestBody "backend_request_body_timeout"
        "The backend accepted nothing of the request for longer than `send`.";
    LbRequestBodyTimeout Lb RequestBody "lb_request_body_timeout"
        "`request` expired before the backend had the whole request.";
    LbRequestBodyShutdown Lb RequestBody "lb_request_body_shutdown"
        "lb stopped before the backend had the whole request.";
    LbRequestBodyFault Lb RequestBody "lb_request_body_fault"
        "A panic in lb, see `lb_panics_total`, before the backend had the whole request.";

    LbQueueNoBackend Lb Queue "lb_queue_no_backend"
        "No backend of the pool takes requests.";
    LbQueueFull Lb Queue "lb_queue_full"
        "Every backend is at `max_connections`, and the queue is at its `size`.";
    LbQueueTimeout Lb Queue "lb_queue_timeout"
        "No backend had room within `timeout` of the queue.";

    ClientConnectClosed Client Connect "client_connect_closed"
        "The client closed its connection before a backend was connected.";
    ClientConnectCancelled Client Connect "client_connect_cancelled"
        "The client cancelled the request before a backend was connected (HTTP/2).";
    BackendConnectTimeout Backend Connect "backend_connect_timeout"
        "No connection to the backend was established within `connect`.";
    BackendConnectRefused Backend Connect "backend_connect_refused"
        "The backend refused the connection.";
    BackendConnectUnreachable Backend Connect "backend_connect_unreachable"
        "The backend is unreachable: there is no route to it, or no host at its address.";
    BackendConnectDown Backend Connect "backend_connect_down"
        "Health checks or the operator took the backend down while lb was connecting to it.";
    LbConnectNoDescriptor Lb Connect "lb_connect_no_descriptor"
        "lb has no file descriptor left for a connection to a backend.";
    LbConnectRetryBudget Lb Connect "lb_connect_retry_budget"
        "No connection to the backend was established within `connect`, and `retry_budget` was \
         exhausted.";
    LbConnectTimeout Lb Connect "lb_connect_timeout"
        "`request` expired before a backend was connected.";
    LbConnectShutdown Lb Connect "lb_connect_shutdown"
        "lb stopped before a backend was connected.";
    LbConnectFault Lb Connect "lb_connect_fault"
        "A panic in lb, see `lb_panics_total`, before a backend was connected.";

    ClientResponseHeadClosed Client ResponseHead "client_response_head_closed"
        "The client closed its connection before the response arrived.";
    ClientResponseHeadReset Client ResponseHead "client_response_head_reset"
        "The client's connection failed before the response arrived.";
    ClientResponseHeadCancelled Client ResponseHead "client_response_head_cancelled"
        "The client cancelled the request before the response arrived (HTTP/2).";
    BackendResponseHeadTimeout Backend ResponseHead "backend_response_head_timeout"
        "The head of the response did not end within `response_head`.";
    BackendResponseHeadClosed Backend ResponseHead "backend_response_head_closed"
        "The backend closed the connection before the first byte of its response.";
    BackendResponseHeadReset Backend ResponseHead "backend_response_head_reset"
        "The connection to the backend failed before the first byte of its response.";
    BackendResponseHeadIncomplete Backend ResponseHead "backend_response_head_incomplete"
        "The connection to the backend ended during the head of its response.";
    BackendResponseHeadMalformed Backend ResponseHead "backend_response_head_malformed"
        "The backend's response head is invalid, or leaves the length of the body ambiguous.";
    BackendResponseHeadTooLarge Backend ResponseHead "backend_response_head_too_large"
        "The head of the response is longer than `max_header_bytes`.";
    BackendResponseHeadDown Backend ResponseHead "backend_response_head_down"
        "Health checks or the operator took the backend down before the first byte of its response.";
    LbResponseHeadRetryBudget Lb ResponseHead "lb_response_head_retry_budget"
        "The backend ended the connection, or went down, before the first byte of its response, and \
         `retry_budget` was exhausted.";
    LbResponseHeadTimeout Lb ResponseHead "lb_response_head_timeout"
        "`request` expired before the response arrived.";
    LbResponseHeadShutdown Lb ResponseHead "lb_response_head_shutdown"
        "lb stopped before the response arrived.";
    LbResponseHeadFault Lb ResponseHead "lb_response_head_fault"
        "A panic in lb, see `lb_panics_total`, before the response arrived.";

    ClientResponseBodyTimeout Client ResponseBody "client_response_body_timeout"
        "The client accepted nothing of the response for longer than `send`.";
    ClientResponseBodyClosed Client ResponseBody "client_response_body_closed"
        "The client closed its connection during the response.";
    ClientResponseBodyReset Client ResponseBody "client_response_body_reset"
        "The client's connection failed during the response.";
    ClientResponseBodyCancelled Client ResponseBody "client_response_body_cancelled"
        "The client cancelled the request during the response (HTTP/2).";
    BackendResponseBodyTimeout Backend ResponseBody "backend_response_body_timeout"
        "The body of the response paused for longer than `response_body`.";
    BackendResponseBodyClosed Backend ResponseBody "backend_response_body_closed"
        "The backend closed the connection before the end of its response.";
    BackendResponseBodyReset Backend ResponseBody "backend_response_body_reset"
        "The connection to the backend failed before the end of its response.";
    BackendResponseBodyChunk Backend ResponseBody "backend_response_body_chunk"
        "The chunked body of the response violates RFC 9112 §7.1.";
    LbResponseBodyTimeout Lb ResponseBody "lb_response_body_timeout"
        "`request` expired before the end of the response.";
    LbResponseBodyShutdown Lb ResponseBody "lb_response_body_shutdown"
        "lb stopped before the end of the response.";
    LbResponseBodyFault Lb ResponseBody "lb_response_body_fault"
        "A panic in lb, see `lb_panics_total`, before the end of the response.";

    ClientTunnelReset Client Tunnel "client_tunnel_reset"
        "The client's connection failed while it was a tunnel.";
    BackendTunnelReset Backend Tunnel "backend_tunnel_reset"
        "The connection to the backend failed while it was a tunnel.";
    LbTunnelTimeout Lb Tunnel "lb_tunnel_timeout"
        "Nothing moved in the tunnel for longer than `tunnel`.";
    LbTunnelHalfClosed Lb Tunnel "lb_tunnel_half_closed"
        "One side had closed the tunnel, and nothing moved for longer than `half_closed`.";
    LbTunnelShutdown Lb Tunnel "lb_tunnel_shutdown"
        "lb stopped, handed over to its peer, or no longer serves the service.";
    LbTunnelFault Lb Tunnel "lb_tunnel_fault"
        "A panic in lb, see `lb_panics_total`, during a tunnel.";

    ClientKeepAliveTimeout Client KeepAlive "client_keep_alive_timeout"
        "The client sent no request for longer than `keep_alive`.";
    LbKeepAliveRoom Lb KeepAlive "lb_keep_alive_room"
        "A connection limit was reached, and this connection had been idle longest.";
}

impl Reason {
    /// The number of reasons.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// Returns the status of the front's own answer with this reason, unless a `Refusal` determines
    /// it.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::LbHeadAcmeChallenge => 200,
            Self::LbQueueNoBackend
            | Self::LbQueueFull
            | Self::LbQueueTimeout
            | Self::LbConnectNoDescriptor => 503,
            Self::BackendConnectTimeout
            | Self::BackendRequestBodyTimeout
            | Self::BackendResponseHeadTimeout
            | Self::LbConnectRetryBudget
            | Self::LbConnectTimeout
            | Self::LbRequestBodyTimeout
            | Self::LbResponseHeadTimeout => 504,
            _ => 502,
        }
    }

    /// Returns whether `lb errors` leaves this reason out: it does so for ends of idle connections,
    /// and for answers that are no errors.
    pub(super) fn is_ordinary(self) -> bool {
        matches!(
            self,
            Self::ClientHeadNoRequest
                | Self::ClientKeepAliveTimeout
                | Self::LbKeepAliveRoom
                | Self::LbHeadAcmeChallenge
                | Self::LbHeadRedirect
                | Self::LbHeadFixedAnswer
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, env, fs, path::PathBuf};

    use super::*;
    use crate::proxy::message::Refusal;

    #[test]
    fn every_word_says_who_and_in_which_phase_and_is_there_once() {
        let mut words = HashSet::new();
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
            let (by, phase, word) = (reason.by().word(), reason.phase().word(), reason.word());
            let why = word.strip_prefix(&format!("{by}_{phase}_"));
            assert!(why.is_some_and(|why| !why.is_empty()), "{word}");
            assert!(words.insert(word), "{word} stands there twice");
        }
    }

    #[test]
    fn every_refusal_is_of_the_client_before_a_response() {
        for refusal in Refusal::ALL {
            let reason = Reason::from(refusal);
            assert_eq!(reason.by(), By::Client, "{reason:?}");
            assert!(matches!(reason.phase(), Phase::Head | Phase::RequestBody));
        }
    }

    /// Returns the table of reasons that `docs/reasons.md` should have, as Markdown.
    fn table() -> String {
        let mut table =
            String::from("| reason | ended by | phase | meaning |\n|---|---|---|---|\n");
        for reason in Reason::ALL {
            let (by, phase) = (reason.by().word(), reason.phase().word());
            let (word, meaning) = (reason.word(), reason.meaning());
            table.push_str(&format!("| `{word}` | {by} | {phase} | {meaning} |\n"));
        }
        table
    }

    /// Compares the table of reasons with the page `docs/reasons.md`; `UPDATE=1 cargo test -p
    /// lb-userspace --lib reason` writes that page.
    #[test]
    fn the_page_has_every_reason() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
        let page = fs::read_to_string(&file).expect("docs/reasons.md");
        let (before, _) = page.split_once("| reason |").expect("the table");
        let wanted = format!("{before}{}", table());
        if env::var_os("UPDATE").is_some() {
            fs::write(&file, &wanted).expect("docs/reasons.md can be written");
        } else {
            assert!(
                page == wanted,
                "docs/reasons.md differs from the reasons: UPDATE=1 cargo test --lib reason"
            );
        }
    }
}
