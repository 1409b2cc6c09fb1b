//! A fake EC2 API and metadata service on loopback. The host under test is the first instance.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use lab::ec2::{Ec2 as _, FakeEc2, Faults, Imds, Instance};
use lb_aws::{ApiError, Ec2, ErrorKind, Settings};

pub(crate) const BALANCERS: &[(&str, Ipv4Addr)] = &[
    ("lb-a", Ipv4Addr::new(172, 31, 0, 68)),
    ("lb-b", Ipv4Addr::new(172, 31, 15, 233)),
];

/// Time limit for what a test waits for, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) ec2: FakeEc2,
    pub(crate) imds: Imds,
}

impl Site {
    pub(crate) fn raise() -> Self {
        let ec2 = FakeEc2::start(None, any_port(), BALANCERS).expect("an EC2");
        let mut instances = Instance::of(&ec2);
        instances[0].asks_from = vec![Ipv4Addr::LOCALHOST];
        let imds = Imds::start(None, any_port(), instances).expect("a metadata service");
        Self { ec2, imds }
    }

    /// Returns the fewest settings with which the first instance, which is the host under test,
    /// reaches the fake EC2 API and metadata service.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            allocation_id: self.ec2.allocation_id().to_owned(),
            region: None,
            network_interface_id: None,
            private_ip: None,
            moves_private_ip: false,
            endpoint: Some(self.ec2.endpoint().to_owned()),
            metadata_endpoint: Some(self.imds.endpoint()),
            source: None,
        }
    }

    pub(crate) async fn connect(&self) -> Ec2 {
        Ec2::connect(&self.settings()).await.expect("a client")
    }

    /// Sets a fault of the fake EC2 API for longer than the test takes.
    pub(crate) fn lastingly(&self, fault: impl FnOnce(&mut Faults) -> &mut Option<Instant>) {
        self.ec2
            .faults(|faults| *fault(faults) = Faults::lasting(PATIENCE * 10));
    }

    /// Returns the ID of the network interface of the second instance.
    pub(crate) fn other_interface(&self) -> &str {
        &self.ec2.interfaces()[1].id
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Asserts that a call failed with this kind of error, whose sentence contains these words.
pub(crate) fn failed<T>(result: Result<T, ApiError>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else {
        panic!("it succeeded");
    };
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.sentence.contains(word), "no {word} in: {error}");
    }
}

/// Waits until a condition holds; fails the test if it does not hold within [`PATIENCE`].
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
