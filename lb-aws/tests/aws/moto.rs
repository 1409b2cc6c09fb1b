//! Tests of calls of the EC2 API against moto, an independent implementation of AWS's
//! documentation.

use std::net::{Ipv4Addr, SocketAddr};

use lab::{
    Host,
    ec2::{Ec2 as _, Imds, Instance, Moto, REGION},
    host::joined,
};
use lb_aws::{Ec2, ErrorKind, Owner, Settings};

use crate::site::{BALANCERS, failed};

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
const METADATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);

struct Site {
    host: Host,
    moto: Moto,
    _imds: Imds,
}

impl Site {
    fn raise(environment: &[(&str, &str)]) -> Self {
        let host = Host::raise("aws").expect("a host");
        let moto = Moto::start_with(&host, API, BALANCERS, environment).expect("moto");
        let mut instances = Instance::of(&moto);
        instances[0].asks_from = vec![Ipv4Addr::LOCALHOST];
        let imds = Imds::start(Some(&host), METADATA, instances).expect("a metadata service");
        Self {
            host,
            moto,
            _imds: imds,
        }
    }

    /// Connects to moto as the first instance, in moto's network namespace, and runs `work` with
    /// the client.
    fn with_client<T, F>(&self, work: impl FnOnce(Ec2) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let settings = Settings {
            allocation_id: self.moto.allocation_id().to_owned(),
            region: Some(REGION.to_owned()),
            network_interface_id: None,
            private_ip: None,
            moves_private_ip: false,
            endpoint: Some(self.moto.endpoint().to_owned()),
            metadata_endpoint: Some(format!("http://{METADATA}")),
            source: Some(BALANCERS[0].1),
        };
        let thread = self.host.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async { Ok(work(Ec2::connect(&settings).await?).await) })
        });
        joined(thread).expect("a client of moto")
    }
}

#[test]
fn moto_does_as_it_is_told_and_says_so() {
    let site = Site::raise(&[]);
    site.with_client(async |ec2: Ec2| {
        assert_eq!(ec2.describe().await, Ok(Owner::Nobody));
        let inspection = ec2.dry_run().await.expect("an inspection");
        assert!(inspection.is_clean(), "{inspection:?}");
        ec2.associate().await.expect("an association");
        ec2.associate().await.expect("the same again");
        assert_eq!(ec2.describe().await, Ok(Owner::Us));
    });
    assert_eq!(owner_of(&site), Some(0));
    site.moto.move_to(Some(1)).expect("a move");
    let other = site.moto.interfaces()[1].id.clone();
    site.with_client(async |ec2: Ec2| {
        let Ok(Owner::Other { interface, .. }) = ec2.describe().await else {
            panic!("it was moved away");
        };
        assert_eq!(interface, Some(other));
        ec2.associate().await.expect("an association");
        assert_eq!(ec2.describe().await, Ok(Owner::Us));
    });
    assert_eq!(owner_of(&site), Some(0));
}

#[test]
fn moto_denies_what_no_policy_allows() {
    // moto does not check the permissions of the first six calls, which set it up; the calls under
    // test come after them.
    let site = Site::raise(&[("INITIAL_NO_AUTH_ACTION_COUNT", "6")]);
    site.with_client(async |ec2: Ec2| {
        failed(
            ec2.associate().await,
            ErrorKind::Denied,
            &["AssociateAddress"],
        );
        failed(
            ec2.describe().await,
            ErrorKind::Denied,
            &["DescribeAddresses"],
        );
    });
}

#[test]
fn moto_knows_no_allocation_that_is_not_there() {
    let site = Site::raise(&[]);
    let settings = Settings {
        allocation_id: "eipalloc-00000000000000000".to_owned(),
        region: Some(REGION.to_owned()),
        network_interface_id: Some(site.moto.interfaces()[0].id.clone()),
        private_ip: Some(BALANCERS[0].1),
        moves_private_ip: false,
        endpoint: Some(site.moto.endpoint().to_owned()),
        metadata_endpoint: Some(format!("http://{METADATA}")),
        source: None,
    };
    site.with_client(async move |_| {
        let ec2 = Ec2::connect(&settings).await.expect("a client");
        let words = ["eipalloc-00000000000000000", "[ha.elastic_ip]"];
        failed(ec2.describe().await, ErrorKind::Invalid, &words);
        failed(ec2.associate().await, ErrorKind::Invalid, &words);
    });
}

fn owner_of(site: &Site) -> Option<usize> {
    let owner = site.moto.owner().expect("an answer");
    owner.map(|owner| owner.interface)
}
