//! One connection of a client, from its handshake on.

use std::{io, rc::Rc, time::Duration};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    client_certificates,
    front::{Front, Peer},
    http1, http2,
    metered::Metered,
    watchdog::Watchdog,
};
use crate::acme::ACME_TLS;

/// Room for plaintext that rustls holds before it is written: all that is read at once, so that it
/// goes out in one piece.
const TLS_BUFFER_BYTES: usize = 128 * 1024;

/// How long the end of a connection may take.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Serves a connection to its end.
pub(super) async fn serve_client(stream: TcpStream, mut peer: Peer, front: &Rc<Front>) {
    let mut watchdog = Watchdog::default();
    let Some(tls) = front.tls() else {
        let stream = Metered::new(stream);
        let progress = stream.progress();
        return http1::serve((stream, progress), front, &peer, watchdog).await;
    };
    let limit = front.limits().handshake_timeout;
    let handshake = async {
        // Whoever leaves without a word looked whether somebody is here: that is no failure.
        if stream.peek(&mut [0]).await? == 0 {
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
            count_handshake(&stream, front);
            peer.certificate = certificate_fields(&stream);
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2::serve((stream, progress), front, peer, watchdog).await,
                // The handshake was all (RFC 8737 §3).
                Some(ACME_TLS) => close(stream, watchdog).await,
                _ => http1::serve((stream, progress), front, &peer, watchdog).await,
            }
        }
        Ok(Err::<_, io::Error>(_)) | Err(_) => front.counters.handshake_failures.add(1),
    }
}

async fn close(mut stream: TlsStream<Metered>, mut watchdog: Watchdog) {
    // Whoever validates has seen what it came for.
    let _closed = watchdog.limit(LAST_WORD, stream.shutdown()).await;
}

/// What backends are told of the certificate that the client showed.
fn certificate_fields(stream: &TlsStream<Metered>) -> Option<Box<[u8]>> {
    let (_, session) = stream.get_ref();
    client_certificates::fields(session.peer_certificates()?.first()?)
}

fn count_handshake(stream: &TlsStream<Metered>, front: &Front) {
    let (_, session) = stream.get_ref();
    let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    front.counters.shook_hands(tls13, resumed);
}
