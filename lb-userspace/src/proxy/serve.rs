//! Serves one client connection, from its TLS handshake on.

use std::{
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    client_certificates,
    front::{Client, Front},
    http1, http1_body, http2,
    metered::Metered,
    reason::{Phase, Reason},
    request_recorder::connection_ended,
    watchdog::{Expired, Watchdog},
};
use crate::acme::ACME_TLS;

/// Limit, in bytes, of the plaintext that rustls buffers before it is written: enough for one full
/// read from a backend, so that the read is sent in one piece.
const TLS_BUFFER_BYTES: usize = 128 * 1024;

/// Number of bytes at the beginning of a client's TLS handshake that are kept for `lb errors`, in
/// case the handshake fails.
const FIRST_BYTES: usize = 32;

/// Time limit for closing a client's connection.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Serves a client's connection to its end.
pub(super) async fn serve_client(stream: TcpStream, mut client: Client, front: &Rc<Front>) {
    let mut watchdog = Watchdog::default();
    let Some(tls) = front.tls() else {
        let stream = Metered::new(stream);
        let progress = stream.progress();
        return http1::serve((stream, progress), front, &client, watchdog).await;
    };
    let limit = front.limits().timeouts.handshake;
    let began = front.access_log().map(|_| Instant::now());
    let mut first_bytes = ([0; FIRST_BYTES], 0);
    let handshake = async {
        // A client that disconnects without sending anything was only probing the port, and its
        // handshake does not count as failed.
        first_bytes.1 = stream.peek(&mut first_bytes.0).await?;
        if first_bytes.1 == 0 {
            return Ok(None);
        }
        let stream = Metered::new(stream);
        let progress = stream.progress();
        let accept = TlsAcceptor::from(tls).accept_with(stream, |session| {
            session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        });
        Ok(Some((accept.await?, progress)))
    };
    match watchdog.limit(limit, handshake).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some((stream, progress)))) => {
            note_handshake(&stream, front, &client);
            client.tls.took(began.map(|began| began.elapsed()));
            client.certificate = certificate_fields(&stream);
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2::serve((stream, progress), front, client, watchdog).await,
                // The handshake proves what the ACME validation server checks; no request follows
                // it (RFC 8737 §3).
                Some(ACME_TLS) => close(stream, watchdog).await,
                _ => http1::serve((stream, progress), front, &client, watchdog).await,
            }
        }
        Ok(Err(error)) => {
            let reason = handshake_failure(&error);
            let (bytes, length) = first_bytes;
            connection_ended(front, &client, reason, &bytes[..length]);
        }
        Err(Expired) => {
            let (bytes, length) = first_bytes;
            connection_ended(
                front,
                &client,
                Reason::ClientHandshakeTimeout,
                &bytes[..length],
            );
        }
    }
}

async fn close(mut stream: TlsStream<Metered>, mut watchdog: Watchdog) {
    // The ACME validation server has what it needs, so a failure to close is irrelevant.
    let _closed = watchdog.limit(CLOSE_LIMIT, stream.shutdown()).await;
}

/// Returns the header lines that describe the client's certificate to backends; `None` if the
/// client presented none.
fn certificate_fields(stream: &TlsStream<Metered>) -> Option<Box<[u8]>> {
    let (_, session) = stream.get_ref();
    client_certificates::fields(session.peer_certificates()?.first()?)
}

fn note_handshake(stream: &TlsStream<Metered>, front: &Front, client: &Client) {
    let (_, session) = stream.get_ref();
    let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    front.counters.handshake_succeeded(tls13, resumed);
    client.tls.handshake_succeeded(tls13, resumed);
}

/// Returns the reason that is reported for a failed TLS handshake.
fn handshake_failure(error: &io::Error) -> Reason {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
    match of_tls {
        Some(rustls::Error::AlertReceived(_)) => Reason::ClientHandshakeAlert,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            Reason::ClientHandshakeIncompatible
        }
        Some(_) => Reason::ClientHandshakeMalformed,
        None => Reason::client_left(Phase::Handshake, http1_body::disconnect_of_error(error)),
    }
}
