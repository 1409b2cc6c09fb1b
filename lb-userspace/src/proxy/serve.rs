//! One connection of a client, from its handshake on.

use std::{io, rc::Rc};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    front::{Front, Peer},
    http1, http2,
    metered::Metered,
    watchdog::Watchdog,
};

/// Room for plaintext that rustls holds before it is written: all that is read at once, so that it
/// goes out in one piece.
const TLS_BUFFER_BYTES: usize = 128 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve_client(stream: TcpStream, peer: Peer, front: &Rc<Front>) {
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
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2::serve((stream, progress), front, peer, watchdog).await;
            } else {
                http1::serve((stream, progress), front, &peer, watchdog).await;
            }
        }
        Ok(Err::<_, io::Error>(_)) | Err(_) => front.counters.handshake_failures.add(1),
    }
}

fn count_handshake(stream: &TlsStream<Metered>, front: &Front) {
    let (_, session) = stream.get_ref();
    let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    front.counters.shook_hands(tls13, resumed);
}
