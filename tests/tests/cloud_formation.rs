//! The template for CloudFormation: created in moto, used by a pair of agents, and deleted.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, ENVIRONMENT_FILE, Role},
    ec2::{Ec2, Moto, Stack},
    load::Plan,
    topology::EC2_API,
    wait,
};

/// The private addresses that the Elastic IP is translated to, as in the template.
const ADDRESSES: [Ipv4Addr; 2] = [
    Ipv4Addr::new(172, 31, 0, 70),
    Ipv4Addr::new(172, 31, 15, 240),
];

/// Time limit for a role or the Elastic IP to move.
const SOON: Duration = Duration::from_secs(20);

/// Parameters of the CloudFormation template that have no default.
const PARAMETERS: [(&str, &str); 2] = [
    (
        "PackageUrl",
        "https://downloads.example.org/lb_0.1.0_amd64.deb",
    ),
    (
        "PackageSha256",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ),
];

#[test]
fn a_pair_that_is_configured_by_the_stack_moves_its_elastic_ip() -> Result<()> {
    let lab = Lab::raise()?;
    let stack = Arc::new(create(&lab, &[])?);
    has_what_a_pair_needs(&stack)?;
    for (balancer, host) in lab.balancers.iter().enumerate() {
        let script = stack.user_data(balancer);
        host.script(&address_command(script)?)?;
        host.write(
            CONFIG_FILE,
            in_lab(&configuration(script)?, stack.endpoint()),
        )?;
        host.write(
            ENVIRONMENT_FILE,
            "AWS_ACCESS_KEY_ID=lab\nAWS_SECRET_ACCESS_KEY=lab\n",
        )?;
    }
    let follower = lab.internet_gateway.follow_ec2(&stack);
    let first = Agent::start_again(&lab.balancers[0])?;
    first.wait_for_role(Role::Master, SOON)?;
    let second = Agent::start_again(&lab.balancers[1])?;
    second.wait_for_role(Role::Backup, SOON)?;
    follower.wait_for(ADDRESSES[0], SOON)?;
    answered(&lab)?;

    lab.balancers[0].destroy()?;
    drop(first.quiet());
    follower.wait_for(ADDRESSES[1], SOON)?;
    let owner = stack.owner()?.context("nobody has the address")?;
    ensure!(owner.interface == 1, "{owner:?}");
    answered(&lab)
}

#[test]
fn a_stack_is_deleted_without_leaving_networks_or_instances() -> Result<()> {
    let lab = Lab::raise()?;
    let stack = create(&lab, &[])?;
    let vpcs =
        || Ok::<_, anyhow::Error>(stack.ec2("Action=DescribeVpcs")?.matches("<vpcId>").count());
    let running =
        "Action=DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running";
    let instances =
        || Ok::<_, anyhow::Error>(stack.ec2(running)?.matches("<instanceState>").count());
    // moto has a default VPC.
    ensure!(
        vpcs()? == 3 && instances()? == 7,
        "{} and {}",
        vpcs()?,
        instances()?
    );
    let status = stack.delete()?;
    ensure!(status == "DELETE_COMPLETE", "{status}");
    ensure!(
        vpcs()? == 1 && instances()? == 0,
        "{} and {}",
        vpcs()?,
        instances()?
    );
    Ok(())
}

#[test]
fn with_a_name_and_a_secret_the_hosts_serve_https_and_have_a_link() -> Result<()> {
    let lab = Lab::raise()?;
    let secret = "arn:aws:secretsmanager:me-central-1:123456789012:secret:lb-AbCdEf";
    let more = [
        ("DomainName", "www.example.org"),
        ("AcmeEmail", "admin@example.org"),
        ("PeerSecretArn", secret),
    ];
    let stack = create(&lab, &more)?;
    for (balancer, host) in lab.balancers.iter().enumerate() {
        let script = stack.user_data(balancer);
        ensure!(
            script.contains(&format!("--secret-id '{secret}'")),
            "{script}"
        );
        let toml = in_lab(&configuration(script)?, stack.endpoint());
        ensure!(toml.contains(r#"domains = ["www.example.org"]"#), "{toml}");
        checked(&lab, balancer, &toml)?;
        host.write("/run/lb/user-data", script)?;
        host.script("sh -n /run/lb/user-data")?;
    }
    Ok(())
}

/// Runs `lb check` on a configuration that the stack gives a balancer, with a new secret of the
/// link between the agents in place of the one that a host on AWS fetches.
fn checked(lab: &Lab, balancer: usize, toml: &str) -> Result<()> {
    let host = &lab.balancers[balancer];
    let lb = lab::agent::binary()?;
    let lb = lb.to_str().context("the path of `lb` is not UTF-8")?;
    let secret = "/run/lb/made.secret";
    host.script(&format!(
        "mkdir -p /run/lb && {lb} peer init --force --out {secret}"
    ))?;
    host.write(CONFIG_FILE, toml.replace("/etc/lb/peer.secret", secret))?;
    let said = host.run(lb, &["check", "--config", CONFIG_FILE])?;
    ensure!(said.contains("is valid"), "{said}");
    Ok(())
}

fn create(lab: &Lab, more: &[(&str, &str)]) -> Result<Stack> {
    let host = lab.internet_gateway.host();
    let moto = Moto::start(host, EC2_API, &[])?;
    Stack::create(host, moto, ADDRESSES, &[&PARAMETERS, more].concat())
}

/// Checks by calls of AWS's APIs, not by the template's text, that the security groups and the IAM
/// role allow what a pair needs.
fn has_what_a_pair_needs(stack: &Stack) -> Result<()> {
    let groups = stack.ec2("Action=DescribeSecurityGroups")?;
    for rule in [
        "<ipProtocol>112</ipProtocol>",
        "<fromPort>9146</fromPort>",
        "<fromPort>1024</fromPort>",
    ] {
        ensure!(groups.contains(rule), "no rule has {rule}: {groups}");
    }
    let policy = stack.policy()?;
    for needed in [
        stack.allocation_id(),
        &stack.interfaces()[0].id,
        &stack.interfaces()[1].id,
        "ec2:AssociateAddress",
        "ec2:DescribeAddresses",
        "ec2:DescribeNetworkInterfaces",
    ] {
        ensure!(policy.contains(needed), "{needed} is not in {policy}");
    }
    let actions = policy.matches("ec2:").count() - policy.matches("arn:aws:ec2:").count();
    ensure!(actions == 3, "more than is needed is allowed: {policy}");
    Ok(())
}

/// Returns the file `/etc/lb/lb.toml` that the script of a host's first boot writes.
fn configuration(script: &str) -> Result<String> {
    let (_, rest) = script
        .split_once("cat >/etc/lb/lb.toml <<END\n")
        .context("the script writes no configuration")?;
    let (toml, _) = rest.split_once("\nEND\n").context("the file has no end")?;
    Ok(toml.replace("$interface", "eth0"))
}

/// Adapts a configuration of the agent to the test network: its EC2 API, and the address at which
/// tests read metrics.
fn in_lab(toml: &str, endpoint: &str) -> String {
    let lines = toml.lines().map(|line| match line {
        "[ha.elastic_ip]" => format!("{line}\nendpoint = \"{endpoint}\"\n"),
        line if line.ends_with(":9145\"") => format!("listen = \"{}\"\n", lab::agent::ADMIN),
        line => format!("{line}\n"),
    });
    lines.collect()
}

/// Returns the command by which the script of a host's first boot gives the host its secondary
/// private address.
fn address_command(script: &str) -> Result<String> {
    let mut lines = script.lines();
    let command = lines.find_map(|line| line.strip_prefix("ExecStart=$(command -v ip)"));
    let arguments = command.context("the script adds no address")?;
    Ok(format!("ip{}", arguments.replace("$interface", "eth0")))
}

fn answered(lab: &Lab) -> Result<()> {
    wait::until_true("an answer", SOON, || {
        let plan = Plan {
            requests: Some(1),
            patience: Duration::from_secs(1),
            ..Plan::http()
        };
        Ok(plan.run(&lab.client)?.failures.is_empty())
    })?;
    let plan = Plan {
        requests: Some(200),
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()
}
