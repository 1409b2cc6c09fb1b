//! Tests how calls to the EC2 API report that the API fails.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use lab::ec2::Ec2 as _;
use lb_aws::{ErrorKind, Owner};
use socket2::{Domain, Socket, Type};

use crate::site::{Site, any_port, failed};

/// By how much a call to the EC2 API may exceed its time limit on a busy machine.
const ALLOWANCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn throttling_is_distinguished_and_the_call_is_not_repeated() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.lastingly(|faults| &mut faults.throttled);
    let words = ["AssociateAddress", "RequestLimitExceeded", "eipalloc-"];
    failed(ec2.associate().await, ErrorKind::Throttled, &words);
    let words = ["DescribeAddresses", "RequestLimitExceeded"];
    failed(ec2.describe().await, ErrorKind::Throttled, &words);
    assert_eq!(site.ec2.calls().len(), 2, "a call was made again");
}

#[tokio::test]
async fn an_internal_error_is_no_reason_to_try_again_by_oneself() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.lastingly(|faults| &mut faults.failing);
    failed(ec2.associate().await, ErrorKind::Other, &["InternalError"]);
    assert_eq!(site.ec2.calls().len(), 1);
    site.ec2.restore();
    assert_eq!(ec2.associate().await, Ok(()));
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_waited_for_a_second_and_a_half() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.lastingly(|faults| &mut faults.hanging);
    for _ in 0..2 {
        let began = Instant::now();
        failed(
            ec2.associate().await,
            ErrorKind::TimedOut,
            &["AssociateAddress"],
        );
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1500), "{took:?}");
        assert!(took < Duration::from_millis(1500) + ALLOWANCE, "{took:?}");
    }
    assert_eq!(site.ec2.calls().len(), 2);
    site.ec2.restore();
    assert_eq!(ec2.associate().await, Ok(()), "it is forgotten afterwards");
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_may_have_been_carried_out() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.ec2
        .faults(|faults| faults.answer_delay = Duration::from_secs(4));
    failed(ec2.associate().await, ErrorKind::TimedOut, &["in time"]);
    assert!(site.ec2.owner().expect("an answer").is_some());
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_waited_for_a_second() {
    let site = Site::raise();
    let full = FullListener::new();
    let mut settings = site.settings();
    settings.endpoint = Some(format!("http://{}", full.address));
    let ec2 = lb_aws::Ec2::connect(&settings).await.expect("a client");
    let began = Instant::now();
    let words = ["DescribeAddresses", "no connection"];
    failed(ec2.describe().await, ErrorKind::Unreachable, &words);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(1) + ALLOWANCE, "{took:?}");
}

/// A listener whose accept queue is full, so the kernel drops further attempts to connect.
struct FullListener {
    address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl FullListener {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&any_port().into()).expect("a port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let address = address.as_socket().expect("an IPv4 address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue = std::iter::from_fn(connect).collect();
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.ec2.close();
    failed(ec2.associate().await, ErrorKind::Unreachable, &["refused"]);
    site.ec2.open().expect("the port");
    assert_eq!(ec2.associate().await, Ok(()));
}

#[tokio::test]
async fn an_answer_that_is_no_xml_is_a_failure() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.lastingly(|faults| &mut faults.babbling);
    failed(
        ec2.describe().await,
        ErrorKind::Other,
        &["did not come from EC2"],
    );
    failed(
        ec2.associate().await,
        ErrorKind::Other,
        &["AssociateAddress"],
    );
}

#[tokio::test]
async fn a_denied_call_says_which_permission_it_wants() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.ec2.deny("AssociateAddress");
    let words = ["ec2:AssociateAddress", "docs/aws.md"];
    failed(ec2.associate().await, ErrorKind::Denied, &words);
    assert_eq!(ec2.describe().await, Ok(Owner::Nobody));
}

#[tokio::test]
async fn a_stale_description_is_believed_as_it_is() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    site.ec2
        .faults(|faults| faults.stale = Duration::from_secs(600));
    ec2.associate().await.expect("an association");
    assert_eq!(ec2.describe().await, Ok(Owner::Nobody));
    site.ec2.restore();
    assert_eq!(ec2.describe().await, Ok(Owner::Us));
}
