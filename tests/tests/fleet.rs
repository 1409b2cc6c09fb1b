//! Tests of instances and Auto Scaling groups in moto and in the fake EC2 API, which other tests
//! rely on. The AWS CLI, which is not ours, reads the answers of both.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use lab::{
    Host,
    ec2::{Ec2, FakeEc2, Faults, InstanceState, Moto, MotoFleet, REGION, aws_cli},
    topology::WEBS,
};

const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

const BALANCERS: &[(&str, Ipv4Addr)] = &[("lb-a", Ipv4Addr::new(172, 31, 0, 68))];

/// Duration of a fault that must not end before the test does.
const LONG: Duration = Duration::from_secs(600);

/// Filters for running instances with the tag `Role=web`.
const RUNNING_WEBS: [&str; 3] = [
    "--filters",
    "Name=tag:Role,Values=web",
    "Name=instance-state-name,Values=running",
];

/// A host with an EC2 and Auto Scaling API, which the tests call with the AWS CLI.
struct Site<A> {
    host: Host,
    api: A,
}

impl Site<FakeEc2> {
    fn fake() -> Result<Self> {
        let host = Host::raise("aws")?;
        let api = FakeEc2::start(Some(&host), API, BALANCERS)?;
        Ok(Self { host, api })
    }

    fn lastingly(&self, fault: impl FnOnce(&mut Faults), only: &str) {
        self.api.restore();
        self.api.faults(|faults| {
            fault(faults);
            faults.only.insert(only.to_owned());
        });
    }
}

impl Site<Arc<Moto>> {
    fn moto() -> Result<(Self, MotoFleet)> {
        let host = Host::raise("aws")?;
        let api = Arc::new(Moto::start(&host, API, BALANCERS)?);
        let fleet = MotoFleet::new(&api)?;
        Ok((Self { host, api }, fleet))
    }
}

impl<A> Site<A> {
    /// Runs the AWS CLI without retries, and returns the words of its answer, or its error.
    fn aws(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let output = (self.host.command("env"))
            .args(["AWS_ACCESS_KEY_ID=KEY", "AWS_SECRET_ACCESS_KEY=secret"])
            .args(["AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true"])
            .arg(aws_cli())
            .args(["--region", REGION, "--output", "text"])
            .args(["--endpoint-url", &format!("http://{API}")])
            .args(["--cli-read-timeout", "2", "--cli-connect-timeout", "2"])
            .args(arguments)
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let answer = String::from_utf8(output.stdout)?;
        let mut words: Vec<_> = answer.split_whitespace().map(str::to_owned).collect();
        words.sort_unstable();
        Ok(words)
    }

    /// Returns the private addresses of the instances that `DescribeInstances` returns, sorted.
    fn addresses(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let query = ["--query", "Reservations[].Instances[].PrivateIpAddress"];
        self.aws(&[&["ec2", "describe-instances"], &query[..], arguments].concat())
    }

    /// Returns ID and state of each instance of the group `web`, joined by a colon, sorted.
    fn members(&self) -> Result<Vec<String>> {
        self.aws(&[
            "autoscaling",
            "describe-auto-scaling-groups",
            "--auto-scaling-group-names",
            "web",
            "--query",
            "AutoScalingGroups[].Instances[].join(':',[InstanceId,LifecycleState,HealthStatus])",
        ])
    }

    /// Asserts that a call fails with these words in its error.
    fn fails(&self, arguments: &[&str], words: &str) -> Result<()> {
        let Err(error) = self.aws(arguments) else {
            bail!("{arguments:?} succeeded");
        };
        ensure!(error.to_string().contains(words), "no {words} in: {error}");
        Ok(())
    }
}

fn web(index: usize) -> Ipv4Addr {
    WEBS[index].1
}

fn texts(addresses: &[Ipv4Addr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

const INSTANCES: [&str; 2] = ["ec2", "describe-instances"];

const GROUPS: [&str; 2] = ["autoscaling", "describe-auto-scaling-groups"];

#[test]
fn instances_of_moto_have_the_wanted_address_tags_and_state() -> Result<()> {
    let (site, mut fleet) = Site::moto()?;
    let first = fleet.launch(web(0), &[("Role", "web"), ("Name", "a & b=c")])?;
    let second = fleet.launch(web(1), &[])?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));
    let name = ["--filters", "Name=tag:Name,Values=a & b=c"];
    ensure!(site.addresses(&name)? == texts(&[web(0)]));
    fleet.tag(&second, "Role", "web")?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0), web(1)]));
    fleet.untag(&second, "Role")?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));

    fleet.stop(&first)?;
    ensure!(site.addresses(&RUNNING_WEBS)?.is_empty());
    ensure!(fleet.state(&first)? == "stopped" && fleet.address(&first)? == web(0));
    fleet.start(&first)?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));
    fleet.terminate(&first)?;
    ensure!(fleet.state(&first)? == "terminated");
    ensure!(site.addresses(&RUNNING_WEBS)?.is_empty());
    fleet.launch(web(0), &[("Role", "web")])?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));
    Ok(())
}

#[test]
fn a_group_of_moto_launches_instances_with_the_addresses_of_web_servers() -> Result<()> {
    let (site, mut fleet) = Site::moto()?;
    let webs: Vec<_> = WEBS.iter().map(|(_, address)| *address).collect();
    fleet.create_group("web", &webs[..3], 2)?;
    let in_group = ["--filters", "Name=tag:aws:autoscaling:groupName,Values=web"];
    ensure!(site.addresses(&in_group)? == texts(&webs[..2]));
    ensure!(fleet.addresses_in_service("web")? == webs[..2]);

    let members = fleet.members("web")?;
    fleet.terminate_member(&members[0].instance_id, true)?;
    let replaced = fleet.addresses_in_service("web")?;
    ensure!(replaced == webs[1..3], "{replaced:?}");
    ensure!(
        fleet.scale("web", 3).is_err(),
        "there is no further address"
    );

    let attached = fleet.launch(web(3), &[])?;
    fleet.attach("web", &attached)?;
    ensure!(fleet.addresses_in_service("web")? == webs[1..]);
    fleet.enter_standby("web", &attached)?;
    ensure!(fleet.addresses_in_service("web")? == webs[1..3]);
    let standby = format!("{attached}:Standby:Healthy");
    ensure!(site.members()?.contains(&standby), "{:?}", site.members());
    fleet.exit_standby("web", &attached)?;
    fleet.set_health(&attached, false)?;
    let unhealthy = format!("{attached}:InService:Unhealthy");
    ensure!(site.members()?.contains(&unhealthy), "{:?}", site.members());
    fleet.detach("web", &attached)?;
    ensure!(fleet.addresses_in_service("web")? == webs[1..3]);
    ensure!(fleet.state(&attached)? == "running");

    fleet.scale("web", 1)?;
    ensure!(site.members()?.len() == 1);
    fleet.delete_group("web")?;
    ensure!(site.members()?.is_empty());
    Ok(())
}

#[test]
fn a_frozen_moto_is_silent_and_a_killed_one_refuses() -> Result<()> {
    let (site, mut fleet) = Site::moto()?;
    fleet.launch(web(0), &[("Role", "web")])?;
    site.api.freeze()?;
    site.fails(&INSTANCES, "Read timeout")?;
    site.api.thaw()?;
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));
    site.api.kill()?;
    site.fails(&INSTANCES, "Could not connect")?;
    Ok(())
}

#[test]
fn the_fake_describes_instances_as_moto_does() -> Result<()> {
    let site = Site::fake()?;
    let fleet = &site.api;
    let first = fleet.fleet(|fleet| fleet.launch(web(0), &[("Role", "web"), ("Name", "a & b=c")]));
    let second = fleet.fleet(|fleet| fleet.launch(web(1), &[("Other", "<web>")]));
    ensure!(site.addresses(&RUNNING_WEBS)? == texts(&[web(0)]));
    let name = ["--filters", "Name=tag:Name,Values=a & b=c"];
    ensure!(site.addresses(&name)? == texts(&[web(0)]));
    let other = ["--filters", "Name=tag-key,Values=Other"];
    ensure!(site.addresses(&other)? == texts(&[web(1)]));
    ensure!(site.addresses(&["--instance-ids", &second])? == texts(&[web(1)]));
    let tag = "Reservations[].Instances[].Tags[].Value";
    let tag = [&INSTANCES[..], &other, &["--query", tag]].concat();
    ensure!(site.aws(&tag)? == ["<web>"]);

    let state = |state| fleet.fleet(|fleet| fleet.instance(&first).state = state);
    state(InstanceState::Stopped);
    ensure!(site.addresses(&RUNNING_WEBS)?.is_empty());
    ensure!(site.addresses(&["--instance-ids", &first])? == texts(&[web(0)]));
    state(InstanceState::Terminated);
    ensure!(site.addresses(&["--instance-ids", &first])?.is_empty());
    let described = "Reservations[].Instances[].State.Name";
    let described = [
        &INSTANCES[..],
        &["--instance-ids", &first, "--query", described],
    ]
    .concat();
    ensure!(site.aws(&described)? == ["terminated"]);
    fleet.fleet(|fleet| fleet.forget(&first));
    let forgotten = [&INSTANCES[..], &["--instance-ids", &first, &second]].concat();
    site.fails(&forgotten, "InvalidInstanceID.NotFound")?;
    let unknown = [&INSTANCES[..], &["--filters", "Name=colour,Values=red"]].concat();
    site.fails(&unknown, "The filter 'colour' is invalid")?;
    Ok(())
}

#[test]
fn the_fake_describes_groups_with_every_state_of_their_instances() -> Result<()> {
    let site = Site::fake()?;
    let fake = &site.api;
    ensure!(site.members()?.is_empty(), "no group");
    let [one, two] = fake.fleet(|fleet| {
        fleet.create_group("web");
        fleet.create_group("other");
        let ids = [0, 1].map(|index| fleet.launch(web(index), &[]));
        fleet.attach("web", &ids[0], "InService");
        fleet.attach("web", &ids[1], "Pending:Wait");
        ids
    });
    let expected = [
        format!("{one}:InService:Healthy"),
        format!("{two}:Pending:Wait:Healthy"),
    ];
    ensure!(site.members()? == expected);
    let in_group = ["--filters", "Name=tag:aws:autoscaling:groupName,Values=web"];
    ensure!(site.addresses(&in_group)? == texts(&[web(0), web(1)]));
    fake.fleet(|fleet| {
        fleet.member(&one).lifecycle = "Terminating:Wait".to_owned();
        fleet.member(&one).healthy = false;
        fleet.detach(&two);
    });
    ensure!(site.members()? == [format!("{one}:Terminating:Wait:Unhealthy")]);
    ensure!(site.addresses(&in_group)? == texts(&[web(0)]));
    Ok(())
}

#[test]
fn long_lists_of_the_fake_come_in_pages() -> Result<()> {
    let site = Site::fake()?;
    let addresses: Vec<_> = (1..=5).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    site.api.fleet(|fleet| {
        for (name, address) in ["a", "b", "c", "d", "e"].into_iter().zip(&addresses) {
            fleet.launch(*address, &[]);
            fleet.create_group(name);
        }
    });
    site.api.faults(|faults| faults.page_size = Some(2));
    site.api.forget_calls();
    ensure!(site.addresses(&[])? == texts(&addresses));
    ensure!(site.api.calls().len() == 3, "{:?}", site.api.calls());
    ensure!(site.addresses(&["--no-paginate"])? == texts(&addresses[..2]));
    let names = ["--query", "AutoScalingGroups[].AutoScalingGroupName"];
    site.api.forget_calls();
    let groups = site.aws(&[&GROUPS[..], &names].concat())?;
    ensure!(groups == ["a", "b", "c", "d", "e"], "{groups:?}");
    ensure!(site.api.calls().len() == 3, "{:?}", site.api.calls());
    Ok(())
}

#[test]
fn a_fault_of_the_fake_can_concern_one_action() -> Result<()> {
    let site = Site::fake()?;
    site.api.fleet(|fleet| {
        let id = fleet.launch(web(0), &[]);
        fleet.create_group("web");
        fleet.attach("web", &id, "InService");
    });
    let lasting = Faults::lasting(LONG);
    for (action, of_it, other, throttled, denied) in [
        (
            "DescribeInstances",
            INSTANCES,
            GROUPS,
            "RequestLimitExceeded",
            "UnauthorizedOperation",
        ),
        (
            "DescribeAutoScalingGroups",
            GROUPS,
            INSTANCES,
            "Throttling",
            "AccessDenied",
        ),
    ] {
        let met = |words: &str| -> Result<()> {
            site.fails(&of_it, words)?;
            site.aws(&other).map(drop)
        };
        site.lastingly(|faults| faults.hanging = lasting, action);
        met("Read timeout")?;
        site.lastingly(|faults| faults.failing = lasting, action);
        met("InternalError")?;
        site.lastingly(|faults| faults.throttled = lasting, action);
        met(throttled)?;
        site.lastingly(|faults| faults.babbling = lasting, action);
        met("Unable to parse response")?;
        site.api.restore();
        site.api.deny(action);
        met(denied)?;
    }
    site.api.restore();
    ensure!(!site.addresses(&[])?.is_empty() && !site.members()?.is_empty());
    site.api.faults(|faults| faults.empty = true);
    ensure!(site.addresses(&[])?.is_empty() && site.members()?.is_empty());
    site.api.restore();
    site.api.faults(|faults| faults.stale = LONG);
    ensure!(site.addresses(&[])?.is_empty() && site.members()?.is_empty());
    Ok(())
}

#[test]
fn instances_beside_the_balancers_leave_the_elastic_ip_alone() -> Result<()> {
    let site = Site::fake()?;
    site.api.move_to(Some(0));
    let owner = site.api.owner()?;
    site.api.fleet(|fleet| fleet.launch(web(0), &[]));
    ensure!(site.api.owner()? == owner && owner.is_some());
    ensure!(site.api.calls().is_empty());
    Ok(())
}
