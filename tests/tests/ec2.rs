//! Tests of the fake EC2 API and metadata service, which other tests rely on.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host,
    ec2::{Ec2, FakeEc2, Faults, Imds, Instance, Moto, Owner},
    topology::ELASTIC_IP,
    wait,
};

const BALANCERS: &[(&str, Ipv4Addr)] = &[
    ("lb-a", Ipv4Addr::new(172, 31, 0, 68)),
    ("lb-b", Ipv4Addr::new(172, 31, 15, 233)),
];

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// A host with a fake EC2 API, which the tests call with curl.
struct Site {
    host: Host,
    ec2: FakeEc2,
}

impl Site {
    fn raise() -> Result<Self> {
        let host = Host::raise("aws")?;
        let ec2 = FakeEc2::start(Some(&host), API, BALANCERS)?;
        Ok(Self { host, ec2 })
    }

    fn call(&self, form: &str) -> Result<String> {
        self.host.run(
            "curl",
            &[
                "-sS",
                "-m",
                "3",
                "-w",
                " %{http_code}",
                "-H",
                "Authorization: AWS4-HMAC-SHA256 Credential=KEY/20260101/me-central-1/ec2/aws4_request",
                "-d",
                form,
                self.ec2.endpoint(),
            ],
        )
    }

    fn associate(&self, interface: usize, more: &str) -> Result<String> {
        let (allocation, id) = (
            self.ec2.allocation_id(),
            &self.ec2.interfaces()[interface].id,
        );
        self.call(&format!(
            "Action=AssociateAddress&AllocationId={allocation}&NetworkInterfaceId={id}{more}"
        ))
    }

    fn describe(&self) -> Result<String> {
        let allocation = self.ec2.allocation_id();
        self.call(&format!(
            "Action=DescribeAddresses&AllocationId.1={allocation}"
        ))
    }
}

fn owner(interface: usize) -> Owner {
    Owner {
        interface,
        private_ip: BALANCERS[interface].1,
    }
}

fn says(answer: &str, what: &str) -> Result<()> {
    ensure!(answer.contains(what), "there is no {what} in: {answer}");
    Ok(())
}

#[test]
fn an_association_moves_only_where_it_may_and_counts_as_a_move_once() -> Result<()> {
    let site = Site::raise()?;
    ensure!(site.ec2.owner()?.is_none());
    says(&site.associate(0, "")?, "<associationId>eipassoc-")?;
    ensure!(site.ec2.owner()? == Some(owner(0)));
    let refused = site.associate(1, "&AllowReassociation=false")?;
    says(&refused, "<Code>Resource.AlreadyAssociated</Code>")?;
    site.associate(1, "&AllowReassociation=true")?;
    site.associate(1, "&AllowReassociation=true")?;
    ensure!(site.ec2.owner()? == Some(owner(1)));
    says(&site.describe()?, &site.ec2.interfaces()[1].id)?;
    ensure!(site.ec2.moves() == 2, "moved {} times", site.ec2.moves());
    Ok(())
}

#[test]
fn a_script_may_name_the_address_itself_and_the_instance() -> Result<()> {
    let site = Site::raise()?;
    let ec2 = &site.ec2;
    let form = |action: &str| format!("Action={action}&PublicIp={ELASTIC_IP}");
    let to = |interface: usize| {
        let id = &ec2.interfaces()[interface].instance_id;
        format!("{}&InstanceId={id}", form("AssociateAddress"))
    };
    says(&site.call(&to(0))?, " 200")?;
    ensure!(ec2.owner()? == Some(owner(0)));
    says(&site.call(&form("DisassociateAddress"))?, " 200")?;
    ensure!(ec2.owner()?.is_none());
    says(&site.call(&form("DisassociateAddress"))?, "NotFound")?;
    says(&site.call(&to(1))?, " 200")?;
    ensure!(ec2.owner()? == Some(owner(1)));
    ensure!(ec2.moves() == 3, "{} moves", ec2.moves());
    Ok(())
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_is_wrong() -> Result<()> {
    let site = Site::raise()?;
    let dry = site.associate(0, "&DryRun=true")?;
    says(&dry, "<Code>DryRunOperation</Code>")?;
    says(&dry, " 412")?;
    ensure!(site.ec2.owner()?.is_none());
    site.ec2.deny("AssociateAddress");
    says(&site.associate(0, "&DryRun=true")?, "UnauthorizedOperation")?;
    Ok(())
}

#[test]
fn what_is_described_can_be_behind_the_truth_and_the_network_behind_the_api() -> Result<()> {
    let site = Site::raise()?;
    site.ec2.faults(|faults| {
        faults.stale = Duration::from_millis(700);
        faults.settling = Duration::from_millis(300);
    });
    let began = Instant::now();
    site.associate(1, "")?;
    ensure!(!site.describe()?.contains("eni-"), "described too early");
    wait::until_true("the network to follow", Duration::from_secs(5), || {
        Ok(site.ec2.owner()? == Some(owner(1)))
    })?;
    ensure!(began.elapsed() >= Duration::from_millis(300));
    wait::until_true("the description to follow", Duration::from_secs(5), || {
        Ok(site.describe()?.contains("eni-"))
    })?;
    ensure!(began.elapsed() >= Duration::from_millis(700));
    Ok(())
}

#[test]
fn throttling_and_failing_end_by_themselves_and_a_hanging_call_ends_with_its_caller() -> Result<()>
{
    let site = Site::raise()?;
    site.ec2
        .faults(|faults| faults.throttled = Faults::lasting(Duration::from_millis(500)));
    let refused = site.describe()?;
    says(&refused, "<Code>RequestLimitExceeded</Code>")?;
    says(&refused, " 503")?;
    wait::until_true("the end of throttling", Duration::from_secs(5), || {
        Ok(site.describe()?.ends_with(" 200"))
    })?;
    site.ec2
        .faults(|faults| faults.hanging = Faults::lasting(Duration::from_secs(60)));
    site.associate(0, "")
        .err()
        .context("a hanging call was answered")?;
    wait::until_true("the call's end", Duration::from_secs(5), || {
        let calls = site.ec2.calls();
        let last = calls.last().context("no call")?;
        Ok(last.outcome.as_deref() == Some("gave up"))
    })?;
    ensure!(
        site.ec2.owner()?.is_none(),
        "a hanging call was carried out"
    );
    Ok(())
}

#[test]
fn a_slow_call_is_carried_out_though_its_caller_gave_up() -> Result<()> {
    let site = Site::raise()?;
    site.ec2
        .faults(|faults| faults.delay = Duration::from_millis(3500));
    site.associate(0, "").err().context("curl waits 3 s")?;
    ensure!(site.ec2.owner()?.is_none(), "carried out too early");
    wait::until_true("the call to be carried out", Duration::from_secs(5), || {
        Ok(site.ec2.owner()? == Some(owner(0)))
    })
}

#[test]
fn calls_under_way_at_one_time_are_seen() -> Result<()> {
    let site = Site::raise()?;
    site.describe()?;
    site.describe()?;
    ensure!(site.ec2.overlap().is_none());
    site.ec2
        .faults(|faults| faults.delay = Duration::from_millis(300));
    std::thread::scope(|scope| -> Result<()> {
        let other = scope.spawn(|| site.describe());
        site.describe()?;
        other.join().expect("no panic")?;
        Ok(())
    })?;
    ensure!(site.ec2.overlap().is_some());
    Ok(())
}

#[test]
fn a_closed_api_refuses_and_an_opened_one_has_forgotten_nothing() -> Result<()> {
    let site = Site::raise()?;
    site.ec2.move_to(Some(1));
    site.ec2.close();
    site.describe().err().context("it still answers")?;
    site.ec2.open()?;
    says(&site.describe()?, &site.ec2.interfaces()[1].id)?;
    Ok(())
}

#[test]
fn a_secondary_address_takes_its_elastic_ip_along() -> Result<()> {
    let site = Site::raise()?;
    let secondary = Ipv4Addr::new(172, 31, 0, 200);
    site.ec2.give_secondary(0, secondary);
    site.associate(0, &format!("&PrivateIpAddress={secondary}"))?;
    let other = &site.ec2.interfaces()[1].id;
    let assign = format!(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId={other}&PrivateIpAddress.1={secondary}"
    );
    says(&site.call(&assign)?, "InvalidParameterValue")?;
    says(
        &site.call(&format!("{assign}&AllowReassignment=true"))?,
        " 200",
    )?;
    let owner = site.ec2.owner()?.context("it has no owner")?;
    ensure!(owner.interface == 1 && owner.private_ip == secondary);
    let elsewhere = site.associate(0, &format!("&PrivateIpAddress={secondary}"))?;
    says(&elsewhere, "InvalidParameterValue")?;
    Ok(())
}

#[test]
fn the_metadata_service_wants_a_token_and_tells_each_instance_about_itself() -> Result<()> {
    let host = Host::raise("aws")?;
    host.script("ip address add 169.254.169.254/32 dev lo\nip address add 127.0.0.2/8 dev lo")?;
    let ec2 = FakeEc2::start(Some(&host), API, BALANCERS)?;
    let mut instances = Instance::of(&ec2);
    instances[0].asks_from.push(Ipv4Addr::LOCALHOST);
    instances[1].asks_from.push(Ipv4Addr::new(127, 0, 0, 2));
    let imds = Imds::start(Some(&host), "169.254.169.254:80".parse()?, instances)?;
    let url = format!("{}/latest/meta-data/instance-id", imds.endpoint());
    let status = |arguments: &str| {
        host.script(&format!(
            "curl -sS -m 5 -o /dev/null -w '%{{http_code}}' {arguments}"
        ))
    };
    ensure!(status(&url)? == "401", "version 1 is answered");
    let token_url = format!("{}/latest/api/token", imds.endpoint());
    ensure!(status(&format!("-X PUT {token_url}"))? == "400", "no life");
    for (index, address) in ["127.0.0.1", "127.0.0.2"].iter().enumerate() {
        let curl = format!("curl -sS --fail -m 5 --interface {address}");
        let id = host.script(&format!(
            "token=$({curl} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {token_url})\n\
             {curl} -H \"X-aws-ec2-metadata-token: $token\" {url}"
        ))?;
        ensure!(
            id == ec2.interfaces()[index].instance_id,
            "{address} is told {id}"
        );
    }
    Ok(())
}

#[test]
fn moto_moves_the_elastic_ip() -> Result<()> {
    let host = Host::raise("aws")?;
    let moto = Moto::start(&host, API, BALANCERS)?;
    ensure!(moto.owner()?.is_none());
    for interface in [0, 1, 0] {
        moto.move_to(Some(interface))?;
        ensure!(moto.owner()? == Some(owner(interface)));
    }
    moto.move_to(None)?;
    ensure!(moto.owner()?.is_none());
    Ok(())
}
