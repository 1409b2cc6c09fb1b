//! Tests with connections that are dead without having been closed.

use std::sync::atomic::AtomicBool;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy},
    net::TcpListener,
};

use super::*;

const FAST: Rhythm = Rhythm {
    ping: Duration::from_millis(100),
    silence: Duration::from_millis(300),
};

/// The fault of the simulated network, which affects the connections that exist when it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    /// The network accepts all bytes and delivers none.
    Swallows,
    /// The network accepts no more bytes.
    Stalls,
    /// The network accepts all bytes, and delivers those to host A but none to host B.
    SwallowsToB,
    SwallowsToA,
}

impl Failure {
    /// Returns whether this fault can be why a connection goes down for this reason.
    fn explains(self, down: &DownReason) -> bool {
        match (self, down) {
            (_, DownReason::Silent | DownReason::Replaced) => true,
            // If only one direction fails, the host that notices it closes the connection, and the
            // other host learns of that by the direction that works.
            (Self::SwallowsToA | Self::SwallowsToB, down) => {
                matches!(down, DownReason::Closed | DownReason::Broken(_))
            }
            _ => false,
        }
    }
}

/// A relay between the two hosts, at the address with number 3. New connections through it work
/// even while older ones fail.
struct Network {
    broken: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Network {
    async fn new(net: Net, failure: Failure) -> Self {
        let listener = TcpListener::bind((net.host(3), PORT)).await.expect("free");
        let broken: Arc<Mutex<Vec<Arc<AtomicBool>>>> = Arc::default();
        let all = Arc::clone(&broken);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let breaks = Arc::new(AtomicBool::new(false));
                all.lock().expect("no panic").push(Arc::clone(&breaks));
                tokio::spawn(pass(near, net, failure, breaks));
            }
        });
        Self { broken }
    }

    fn fail(&self) {
        for breaks in &*self.broken.lock().expect("no panic") {
            breaks.store(true, Relaxed);
        }
    }
}

async fn pass(near: TcpStream, net: Net, failure: Failure, breaks: Arc<AtomicBool>) {
    let Ok(far) = TcpStream::connect((net.host(B), PORT)).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let to_b = failure != Failure::SwallowsToA;
    let to_a = failure != Failure::SwallowsToB;
    tokio::join!(
        pass_one_way(
            near_read,
            far_write,
            failure,
            to_b.then(|| Arc::clone(&breaks))
        ),
        pass_one_way(
            far_read,
            near_write,
            failure,
            to_a.then(|| Arc::clone(&breaks))
        ),
    );
}

/// Passes bytes on in one direction until the fault begins. From then on nothing arrives, not even
/// the end of the stream.
async fn pass_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    failure: Failure,
    breaks: Option<Arc<AtomicBool>>,
) {
    let mut bytes = vec![0; 4096];
    loop {
        let count = from.read(&mut bytes).await.unwrap_or(0);
        if breaks.as_ref().is_some_and(|breaks| breaks.load(Relaxed)) {
            if failure != Failure::Stalls {
                let _swallowed = copy(&mut from, &mut tokio::io::sink()).await;
            }
            sleep(2 * PATIENCE).await;
        }
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn is_noticed_and_replaced(failure: Failure, with_flows: bool) {
    let net = Net::new();
    let secret = secret();
    let mut through = settings(net, A, B);
    through.peer = SocketAddr::new(net.host(3), PORT);
    let mut behind = settings(net, B, A);
    behind.check_source = false;
    (through.rhythm, behind.rhythm) = (FAST, FAST);
    let network = Network::new(net, failure).await;
    let Pair { mut a, mut b } = Pair::with(through, behind, &secret).await;
    let flows = with_flows.then(|| {
        let bulk = a.link.bulk().expect("up");
        tokio::spawn(async move { while bulk.send(vec![1; BULK_BYTES]).await.is_ok() {} })
    });
    let began = Instant::now();
    network.fail();
    let down = a.down().await;
    assert!(failure.explains(&down), "{failure:?}: {down}");
    assert_ne!(down, DownReason::Replaced, "this is the side that dials");
    let noticed = began.elapsed();
    assert!(
        noticed >= FAST.silence - 2 * FAST.ping,
        "{failure:?}: {noticed:?}"
    );
    assert!(
        noticed < FAST.silence + Duration::from_secs(1),
        "{failure:?}: {noticed:?}"
    );
    let down = b.down().await;
    assert!(failure.explains(&down), "{failure:?}: {down}");
    assert_eq!((a.up().await.session, b.up().await.session), (2, 2));
    assert!(began.elapsed() < FAST.silence + Duration::from_secs(2));
    assert!(a.link.send_pair_message(PairMessage::Ask));
    assert_eq!(b.event().await, Event::PairMessage(PairMessage::Ask));
    if let Some(flows) = flows {
        timeout(PATIENCE, flows)
            .await
            .expect("the sender was let go")
            .expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_bytes_vanish_is_noticed_and_replaced() {
    is_noticed_and_replaced(Failure::Swallows, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_takes_no_bytes_is_noticed_and_replaced() {
    is_noticed_and_replaced(Failure::Stalls, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_takes_no_bytes_amid_flows_is_noticed_and_replaced() {
    is_noticed_and_replaced(Failure::Stalls, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_works_one_way_is_noticed_and_replaced() {
    is_noticed_and_replaced(Failure::SwallowsToB, false).await;
    is_noticed_and_replaced(Failure::SwallowsToA, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_takes_over_while_the_old_one_still_seems_well() {
    let net = Net::new();
    let secret = secret();
    let (ours, mut theirs) = (settings(net, A, B), settings(net, B, A));
    // The time-out of host B is so long that B would not notice the fault by itself.
    theirs.rhythm.silence = 10 * PATIENCE;
    let Pair { a, mut b } = Pair::with(ours.clone(), theirs, &secret).await;
    let _other = Link::start_with(ours, &secret).expect("dialling");
    assert_eq!(b.down().await, DownReason::Replaced);
    assert_eq!(b.up().await.session, 2);
    drop(a);
}
