//! The greeting: the agents exchange their identities and protocol versions.

use std::{io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsStream;

use super::{
    HANDSHAKE_LIMIT, Refusal, Settings,
    frame::{Hello, PREAMBLE_BYTES, Preamble, greeting, hello},
};

/// An authenticated connection on which the peer has sent its hello.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) hello: Hello,
}

/// Why a connection was refused, and a sentence about it for the log.
pub(super) type Refused = (Refusal, String);

/// Performs the TLS handshake and then the greeting. Both together must end within
/// [`HANDSHAKE_LIMIT`].
pub(super) async fn greet(
    handshake: impl Future<Output = io::Result<TlsStream<TcpStream>>>,
    settings: &Settings,
) -> Result<Greeted, Refused> {
    let greeted = timeout(HANDSHAKE_LIMIT, async {
        let stream = handshake.await.map_err(|error| reason(&error))?;
        exchange(stream, settings).await
    });
    greeted
        .await
        .unwrap_or_else(|_| Err(too_slow(HANDSHAKE_LIMIT)))
}

async fn exchange(
    mut stream: TlsStream<TcpStream>,
    settings: &Settings,
) -> Result<Greeted, Refused> {
    let ours = greeting(settings.protocol, &settings.hello)
        .ok_or_else(|| refuse(Refusal::Greeting, "this host's own name is too long"))?;
    let (preamble, rest) = {
        // Both agents first send and then read, so that each has the other's version before one of
        // them refuses it.
        let talk = async {
            stream.write_all(&ours).await?;
            stream.flush().await?;
            let mut preamble = [0; PREAMBLE_BYTES];
            let _whole = stream.read_exact(&mut preamble).await?;
            let Some(preamble) = Preamble::decode(preamble) else {
                return Ok(None);
            };
            // The hello is read to its end: closing the connection with unread bytes would reset it
            // before the peer has read this host's greeting.
            let mut rest = vec![0; usize::from(preamble.hello)];
            let _whole = stream.read_exact(&mut rest).await?;
            Ok(Some((preamble, rest)))
        };
        let heard = talk.await.map_err(|error: io::Error| reason(&error))?;
        heard.ok_or_else(|| {
            refuse(
                Refusal::Greeting,
                "it did not send the greeting of an lb agent",
            )
        })?
    };
    if preamble.protocol != settings.protocol {
        let (ours, theirs) = (settings.protocol, preamble.protocol);
        let sentence = format!(
            "it has version {theirs} of the link and this host version {ours}; \
             run the same version of lb on both"
        );
        return Err(refuse(Refusal::Version, &sentence));
    }
    let hello =
        hello(&rest).ok_or_else(|| refuse(Refusal::Greeting, "its greeting is malformed"))?;
    if hello.instance == settings.hello.instance {
        let sentence = "it is this host itself; `ha.peer` must be an address of the other host";
        return Err(refuse(Refusal::Itself, sentence));
    }
    Ok(Greeted { stream, hello })
}

fn refuse(refusal: Refusal, why: &str) -> Refused {
    (refusal, format!("{PEER_REFUSED}{why}"))
}

fn too_slow(limit: Duration) -> Refused {
    let sentence = format!("it did not complete the handshake within {limit:?}");
    refuse(Refusal::Timeout, &sentence)
}

/// Beginning of the reason why the link is down although both agents run and reach each other. If
/// the operator can correct the cause, the reason ends with `; ` and what to do.
pub(crate) const PEER_REFUSED: &str = "the peer was refused: ";

const NOT_THE_SECRET: &str = "it does not have this pair's secret; copy the file of \
                              `ha.link.secret_file` from one host to the other and restart lb";

/// Says why a connection that failed before the end of the greeting is refused.
fn reason(error: &io::Error) -> Refused {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(
            TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
            | TlsError::NoCertificatesPresented
            // The TLS alert that a peer with another certificate sends.
            | TlsError::AlertReceived(
                AlertDescription::AccessDenied | AlertDescription::CertificateRequired,
            ),
        ) => refuse(Refusal::Secret, NOT_THE_SECRET),
        Some(other) => {
            let sentence = format!("the TLS handshake failed: {other}");
            refuse(Refusal::Handshake, &sentence)
        }
        None => {
            let sentence = format!("it closed the connection before its greeting: {error}");
            refuse(Refusal::Closed, &sentence)
        }
    }
}
