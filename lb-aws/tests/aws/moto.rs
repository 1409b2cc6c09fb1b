//! Tests of calls to the EC2 API against moto, an independent implementation of AWS's
//! documentation.

use std::net::{Ipv4Addr, SocketAddr};

use lab::{
    Host,
    ec2::{Ec2 as _, Imds, Instance, Moto, REGION},
    host::joined,
};
use lb_aws::{
    ApiError, Ec2, ErrorKind, Instance as Listed, Instances, InstancesSettings, Owner, Settings,
};
use lb_config::InstanceFilter;

use crate::site::{BALANCERS, failed};

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
const METADATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);

/// A machine image (AMI) that moto has by default.
const IMAGE: &str = "ami-12c6146b";

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
        self.inside(async move || Ok(work(Ec2::connect(&settings).await?).await))
    }

    /// Lists instances in moto's network namespace.
    fn list(&self, filter: InstanceFilter) -> Result<Vec<Listed>, ApiError> {
        let settings = InstancesSettings {
            region: Some(REGION.to_owned()),
            endpoint: Some(self.moto.endpoint().to_owned()),
            auto_scaling_endpoint: Some(self.moto.endpoint().to_owned()),
            metadata_endpoint: Some(format!("http://{METADATA}")),
        };
        self.inside(async move || Ok(Instances::connect(&settings).await?.list(&filter).await))
    }

    fn inside<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>>,
    {
        let thread = self.host.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(work())?)
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

#[test]
fn moto_lists_instances_by_their_tags_and_by_their_group() {
    let site = Site::raise(&[]);
    let run = "Action=RunInstances&InstanceType=t3.micro&MinCount=2&MaxCount=2\
               &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Role\
               &TagSpecification.1.Tag.1.Value=web";
    let image = IMAGE;
    let started = site.moto.call(&format!("{run}&ImageId={image}"));
    let started = ids(&started.expect("two instances"));
    let by_tag = InstanceFilter::Tags(vec![("Role".to_owned(), "web".to_owned())]);
    assert_eq!(ids_of(site.list(by_tag.clone())), started);

    let stop = format!("Action=StopInstances&InstanceId.1={}", started[0]);
    site.moto.call(&stop).expect("a stopped instance");
    assert_eq!(ids_of(site.list(by_tag)), started[1..]);

    let group = InstanceFilter::AutoScalingGroup("web".to_owned());
    let words = ["group web", REGION];
    failed(site.list(group.clone()), ErrorKind::Invalid, &words);
    for form in [
        format!(
            "Action=CreateLaunchConfiguration&LaunchConfigurationName=web&ImageId={image}\
             &InstanceType=t3.micro"
        ),
        format!(
            "Action=CreateAutoScalingGroup&AutoScalingGroupName=web&LaunchConfigurationName=web\
             &MinSize=3&MaxSize=3&AvailabilityZones.member.1={REGION}a"
        ),
    ] {
        site.moto.call_auto_scaling(&form).expect("a group");
    }
    let described = site
        .moto
        .call_auto_scaling("Action=DescribeAutoScalingGroups");
    let members = described
        .expect("a group")
        .replace("InstanceId>", "instanceId>");
    let members = ids(&members);
    assert_eq!(members.len(), 3, "{members:?}");
    assert_eq!(ids_of(site.list(group)), members);
}

/// Returns the instance IDs in a response of moto, sorted.
fn ids(xml: &str) -> Vec<String> {
    let rest = xml.split("<instanceId>").skip(1);
    let mut ids: Vec<_> = rest
        .filter_map(|rest| Some(rest.split_once("</")?.0.to_owned()))
        .collect();
    ids.sort();
    ids
}

fn ids_of(listed: Result<Vec<Listed>, ApiError>) -> Vec<String> {
    let listed = listed.expect("instances").into_iter();
    let mut ids: Vec<_> = listed.map(|instance| instance.id).collect();
    ids.sort();
    ids
}

fn owner_of(site: &Site) -> Option<usize> {
    let owner = site.moto.owner().expect("an answer");
    owner.map(|owner| owner.interface)
}
