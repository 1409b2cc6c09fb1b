//! Tests that forged, truncated, replayed and random bytes are counted and have no other effect.

use std::{net::TcpStream as StdStream, time::Instant as StdInstant};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::*;

/// Connects to the host with number `host` from the address of the host with number `from`.
async fn connect(net: Net, from: u8, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::new(net.host(from), 0))
        .expect("bound");
    let target = SocketAddr::new(net.host(host), PORT);
    socket.connect(target).await.expect("connected")
}

/// Connects to host B as a peer that has the secret, and completes the greeting. Returns the
/// connection.
pub(super) async fn greeted(net: Net, secret: &Secret) -> TlsStream<TcpStream> {
    let config = tls::client_config(secret).expect("a config");
    let stream = connect(net, A, B).await;
    let handshake = async {
        let name = tls::server_name().expect("a name");
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(stream.into())
    };
    let greeted = greet::greet(handshake, &settings(net, A, B)).await;
    greeted.expect("greeted").stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_secret_is_refused_by_both() {
    let net = Net::new();
    let mut b = Link::start_with(settings(net, B, A), &secret()).expect("listening");
    let mut a = Link::start_with(settings(net, A, B), &secret()).expect("dialling");
    for started in [&mut a, &mut b] {
        started
            .until("a refusal", |view| count(view, Refusal::Secret) > 0)
            .await;
        let view = started.link.view();
        assert_eq!(
            (view.ups, started.all_refused()),
            (0, started.refused(Refusal::Secret))
        );
        let problem = view.problem.expect("a problem");
        assert!(problem.contains("secret_file"), "{problem}");
        assert!(started.events.try_recv().is_err(), "nothing happened");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_trusts_any_certificate_is_refused_without_the_secret() {
    let net = Net::new();
    let (ours, theirs) = (secret(), secret());
    let b = Link::start_with(settings(net, B, A), &ours).expect("listening");
    // A forger trusts the pair's certificate and presents another one, or presents the pair's
    // without having its key.
    let forged = Secret {
        certificate: ours.certificate.clone(),
        key: theirs.key.clone_key(),
    };
    for (shown, refusal) in [(&theirs, Refusal::Secret), (&forged, Refusal::Handshake)] {
        let mut config = (*tls::client_config(&ours).expect("a config")).clone();
        let chain = vec![shown.certificate.clone()];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = provider
            .key_provider
            .load_private_key(shown.key.clone_key());
        let key = rustls::sign::CertifiedKey::new(chain, key.expect("a key"));
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
        let stream = connect(net, A, B).await;
        let name = tls::server_name().expect("a name");
        // The client considers the handshake complete before the server has verified the client's
        // certificate.
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        let mut stream = connected.expect("the client's half");
        let _sent = stream.write_all(b"anything").await;
        assert!(stream.read_u8().await.is_err());
        b.until("a refusal", |view| count(view, refusal) == 1).await;
    }
    assert_eq!((b.link.view().ups, b.all_refused()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_half_handshakes_are_counted_and_change_nothing() {
    let net = Net::new();
    let secret = secret();
    let (ours, theirs) = (settings(net, A, B), settings(net, B, A));
    let Pair { mut a, mut b } = Pair::with(ours, theirs, &secret).await;
    let hello = recorded_hello(net, &secret).await;
    let before = b.all_refused();
    let mut flipped = hello.clone();
    flipped[60] ^= 0x55;
    let attacks: [(&[u8], Refusal); 5] = [
        (b"", Refusal::Closed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Handshake),
        (&[0; 100], Refusal::Handshake),
        (&hello[..hello.len() / 2], Refusal::Closed),
        (&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], Refusal::Handshake),
    ];
    for (bytes, refusal) in attacks {
        let counted = b.refused(refusal);
        let mut stream = connect(net, A, B).await;
        stream.write_all(bytes).await.expect("sent");
        stream.shutdown().await.expect("shut");
        b.until("a refusal", |view| count(view, refusal) == counted + 1)
            .await;
    }
    assert_eq!(b.all_refused(), before + attacks.len() as u64);
    // The server answers a TLS hello that was changed on its way, but the handshake is never
    // completed.
    let mut stream = connect(net, A, B).await;
    stream.write_all(&flipped).await.expect("sent");
    stream.write_all(&hello).await.expect("sent");
    b.until("a refusal", |_| {
        b.all_refused() == before + attacks.len() as u64 + 1
    })
    .await;
    still_up(&mut a, &mut b).await;
}

/// Returns the first bytes that a TLS client with the secret sends: its hello.
async fn recorded_hello(net: Net, secret: &Secret) -> Vec<u8> {
    let config = tls::client_config(secret).expect("a config");
    let name = tls::server_name().expect("a name");
    let client = rustls::ClientConnection::new(config, name);
    let mut bytes = Vec::new();
    client
        .expect("a client")
        .write_tls(&mut bytes)
        .expect("written");
    assert!(bytes.len() > 100, "{net:?}", net = net.number);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_connection_played_again_does_nothing() {
    let net = Net::new();
    let secret = secret();
    let mut through = settings(net, A, B);
    through.peer = SocketAddr::new(net.host(3), PORT);
    let mut behind = settings(net, B, A);
    behind.check_source = false;
    let tape = record(net).await;
    let Pair { a, mut b } = Pair::with(through, behind, &secret).await;
    for message in [PairMessage::Ask, PairMessage::TakeOver] {
        assert!(a.link.send_pair_message(message));
        assert_eq!(b.event().await, Event::PairMessage(message));
    }
    drop(a);
    b.down().await;
    let (sent, answered) = {
        let tape = tape.lock().expect("no panic");
        tape.clone()
    };
    assert!(
        sent.len() > 1000 && answered.len() > 1000,
        "there is something to play"
    );

    // The recorded bytes of the dialling host are replayed to the host that accepts.
    let mut stream = connect(net, 3, B).await;
    stream.write_all(&sent).await.expect("sent");
    let mut rest = Vec::new();
    let _end = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("an end");
    b.until("a refusal", |view| count(view, Refusal::Handshake) == 1)
        .await;
    assert!(b.events.try_recv().is_err(), "nothing happened");
    assert_eq!(b.link.view().ups, 1);

    // The recorded bytes of the accepting host are replayed to the host that dials.
    let listener = TcpListener::bind((net.host(9), PORT)).await.expect("free");
    let mut dialling = settings(net, A, B);
    dialling.peer = SocketAddr::new(net.host(9), PORT);
    let mut a = Link::start_with(dialling, &secret).expect("dialling");
    let (mut stream, _) = listener.accept().await.expect("dialled");
    stream.write_all(&answered).await.expect("sent");
    a.until("a refusal", |view| count(view, Refusal::Handshake) == 1)
        .await;
    assert!(a.events.try_recv().is_err(), "nothing happened");
    assert_eq!(a.link.view().ups, 0);
}

type Tape = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

/// Relays connections between the two hosts at the address with number 3, and records what both
/// hosts send.
async fn record(net: Net) -> Tape {
    let tape = Tape::default();
    let listener = TcpListener::bind((net.host(3), PORT)).await.expect("free");
    let written = Arc::clone(&tape);
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("dialled");
        let mut far = connect(net, 3, B).await;
        let (mut sent, mut answered) = ([0; 4096], [0; 4096]);
        loop {
            tokio::select! {
                Ok(count @ 1..) = near.read(&mut sent) => {
                    written.lock().expect("no panic").0.extend_from_slice(&sent[..count]);
                    let _passed = far.write_all(&sent[..count]).await;
                }
                Ok(count @ 1..) = far.read(&mut answered) => {
                    written.lock().expect("no panic").1.extend_from_slice(&answered[..count]);
                    let _passed = near.write_all(&answered[..count]).await;
                }
                else => return,
            }
        }
    });
    tape
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_addresses_are_refused_before_they_say_anything() {
    let net = Net::new();
    let secret = secret();
    let (ours, theirs) = (settings(net, A, B), settings(net, B, A));
    let Pair { mut a, mut b } = Pair::with(ours, theirs, &secret).await;
    let mut stream = connect(net, 7, B).await;
    assert_eq!(
        stream.read(&mut [0]).await.unwrap_or(0),
        0,
        "closed at once"
    );
    assert_eq!((b.refused(Refusal::Address), b.all_refused()), (1, 1));
    still_up(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_shake_hands_do_not_keep_the_peer_out() {
    let net = Net::new();
    let secret = secret();
    let mut b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let silent: Vec<StdStream> = (0..20).map(|_| silent(net)).collect();
    b.until("the oldest gave way", |view| {
        count(view, Refusal::Crowded) == 12
    })
    .await;
    let began = StdInstant::now();
    let mut a = Link::start_with(settings(net, A, B), &secret).expect("dialling");
    a.up().await;
    b.up().await;
    assert!(
        began.elapsed() < HANDSHAKE_LIMIT / 2,
        "nobody waited for the silent ones"
    );
    b.until("the rest ran out of time", |view| {
        count(view, Refusal::Crowded) + count(view, Refusal::Timeout) == 20
    })
    .await;
    drop(silent);
}

fn silent(net: Net) -> StdStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let bind = SocketAddr::new(net.host(A), 0).into();
    socket.bind(&bind).expect("bound");
    let target = SocketAddr::new(net.host(B), PORT).into();
    socket.connect(&target).expect("connected");
    socket.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_end_the_connection_and_are_counted() {
    let net = Net::new();
    let secret = secret();
    let mut b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let flows = [[0x82, 0, 0, 1, 9]; credit::WINDOW as usize + 1].concat();
    let pong_of_the_future = [&[0x80, 0, 0, 6, 1][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let attacks: [&[u8]; 6] = [
        // Three records of the link's protocol: one of a lane (class of urgency) that does not
        // exist, one with a frame of a kind that does not exist, and one with surplus bytes after a
        // frame.
        &[0x87, 0, 0, 1, 0],
        &[0x80, 0, 0, 1, 0x77],
        &[0x80, 0, 0, 3, 2, 1, 0],
        // Records that acknowledge messages with flows that were never sent, that answer a ping
        // which was not sent, and that carry more flows than were permitted.
        &[0x80, 0, 0, 2, 2, 1],
        &pong_of_the_future,
        &flows,
    ];
    for (number, bytes) in (1..).zip(attacks) {
        let mut stream = greeted(net, &secret).await;
        b.up().await;
        stream.write_all(bytes).await.expect("sent");
        stream.flush().await.expect("sent");
        let down = b.down().await;
        assert!(
            matches!(down, DownReason::Malformed(_)),
            "{bytes:?}: {down}"
        );
        let malformed = ("malformed", number);
        assert!(b.link.view().downs.contains(&malformed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_cut_off_is_not_taken_in() {
    let net = Net::new();
    let secret = secret();
    let mut b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let bytes = frame::encode(record::Lane::Urgent, &Urgent::Pair(PairMessage::TakeOver));
    let mut outgoing = record::Outgoing::new(record::Lane::Urgent, bytes.expect("short"));
    let mut whole = Vec::new();
    outgoing.next_record(&mut whole);
    for cut in 1..whole.len() {
        let mut stream = greeted(net, &secret).await;
        b.up().await;
        stream.write_all(&whole[..cut]).await.expect("sent");
        stream.shutdown().await.expect("shut");
        // The link between the agents goes down, and no message about who is active is delivered.
        assert!(matches!(b.event().await, Event::Down(DownReason::Closed)));
    }
}

/// Asserts that no session has ended: a message arrives, and the link between the agents came up
/// once on each host.
async fn still_up(a: &mut Started, b: &mut Started) {
    assert!(a.link.send_pair_message(PairMessage::Ask));
    assert_eq!(b.event().await, Event::PairMessage(PairMessage::Ask));
    assert_eq!((a.link.view().ups, b.link.view().ups), (1, 1));
}
