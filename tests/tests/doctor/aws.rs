//! Tests of `lb doctor` on a host on AWS: its checks of the metadata service, the IAM role, the EC2
//! API and DNS names.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{CONFIG_FILE, Moves, Pair, Settings},
    ec2::{Ec2 as _, Imds, Instance, Moto},
    topology::{BALANCERS, ELASTIC_IP, METADATA, SITE},
    wait,
};

use crate::{
    case::{self, Case, Mend, tidy},
    report::Line,
    site::Site,
};

const SOON: Duration = Duration::from_secs(10);

/// Prepares a test network in which `lb doctor` examines the first host of a pair with these
/// settings. No agent runs yet.
fn site(lab: Lab, settings: &[Settings; 2]) -> Result<Site> {
    let mut site = Site::with(lab, settings[0].clone())?;
    site.pair = Some(Pair::install(&site.lab, settings)?.quiet());
    Ok(site)
}

#[test]
fn calls_of_the_api() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let settings = Settings::elastic_pair(&lab, &*ec2);
    let mut site = site(lab, &settings)?;
    site.ec2 = Some(ec2);
    case::all(
        &mut site,
        &[
            Case {
                name: "the role does not permit to move the address",
                check: "aws_permissions",
                subject: "eipalloc-",
                also: &[],
                breaks: |site| {
                    site.ec2
                        .as_ref()
                        .context("an API")?
                        .deny("AssociateAddress");
                    Ok(())
                },
                mend: Mend::By("allow `ec2:AssociateAddress` in the policy", |site, _| {
                    let ec2 = site.ec2.as_ref().context("an API")?;
                    ec2.faults(|faults| faults.denied.clear());
                    Ok(())
                }),
                tidy,
            },
            Case {
                name: "the private address is not of the interface",
                check: "aws_permissions",
                subject: "eipalloc-",
                also: &[],
                breaks: |site| {
                    edit(
                        site,
                        "private_ip = \"172.31.0.68\"",
                        "private_ip = \"172.31.0.99\"",
                    )
                },
                mend: Mend::By("`private_ip`", |site, line| {
                    ensure!(line.found.contains("172.31.0.99"), "{line:?}");
                    site.configure()
                }),
                tidy,
            },
            Case {
                name: "there is no such Elastic IP",
                check: "elastic_ip",
                subject: "eipalloc-",
                also: &["aws_permissions"],
                breaks: |site| {
                    let id = site
                        .ec2
                        .as_ref()
                        .context("an API")?
                        .allocation_id()
                        .to_owned();
                    edit(site, &id, "eipalloc-00000000000000000")
                },
                mend: Mend::By("correct `allocation_id`", |site, _| site.configure()),
                tidy,
            },
        ],
    )
}

#[test]
fn the_metadata_service() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let imds = Imds::start(
        Some(lab.internet_gateway.host()),
        METADATA,
        Instance::of(&*ec2),
    )?;
    let mut settings = Settings::elastic_pair(&lab, &*ec2);
    for one in &mut settings {
        if let Some(ha) = &mut one.ha
            && let Moves::ElasticIp {
                network_interface_id,
                ..
            } = &mut ha.moves
        {
            *network_interface_id = None;
        }
    }
    let mut site = site(lab, &settings)?;
    site.host().write(lab::agent::ENVIRONMENT_FILE, "")?;
    site.ec2 = Some(ec2);
    site.imds = Some(imds);
    case::all(
        &mut site,
        &[
            Case {
                name: "the metadata service does not answer",
                check: "metadata_service",
                subject: "IMDSv2",
                also: &["aws_credentials"],
                breaks: |site| {
                    site.imds.as_ref().context("a service")?.be_silent(true);
                    Ok(())
                },
                mend: Mend::By("--http-endpoint enabled", |site, _| {
                    site.imds.as_ref().context("a service")?.be_silent(false);
                    Ok(())
                }),
                tidy,
            },
            Case {
                name: "the instance has no role",
                check: "aws_credentials",
                subject: "eipalloc-",
                also: &[],
                breaks: |site| {
                    site.imds.as_ref().context("a service")?.take_role(true);
                    Ok(())
                },
                mend: Mend::By("give the instance a role", |site, _| {
                    site.imds.as_ref().context("a service")?.take_role(false);
                    Ok(())
                }),
                tidy,
            },
        ],
    )
}

/// Address of the DNS resolver, on the host of the Internet gateway.
const RESOLVER: &str = "172.31.0.1:53";

#[test]
fn names() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let settings = Settings::elastic_pair(&lab, &*ec2);
    let mut site = site(lab, &settings)?;
    site.ec2 = Some(ec2);
    let mut arguments = vec!["-http01", "", "-https01", "", "-tlsalpn01", ""];
    arguments.extend(["-dns01", RESOLVER, "-management", "127.0.0.1:8055"]);
    arguments.extend(["-defaultIPv6", "", "-defaultIPv4", ""]);
    let internet = site.lab.internet_gateway.host();
    let resolver = internet.spawn("names", "pebble-challtestsrv", &arguments)?;
    let manager: SocketAddr = "127.0.0.1:8055".parse()?;
    internet.wait_for_port(manager, SOON)?;
    site.processes.push(resolver);
    site.host()
        .write("/run/resolv.conf", "nameserver 172.31.0.1\n")?;
    site.script("umount /etc/hosts\nmount --bind /run/resolv.conf /etc/resolv.conf")?;
    point_to(&site, &ELASTIC_IP.to_string())?;
    case::all(
        &mut site,
        &[
            Case {
                name: "the name points to another address",
                check: "dns_name",
                subject: SITE,
                also: &[],
                breaks: |site| point_to(site, "192.0.2.7"),
                mend: Mend::By(
                    "set the A record of www.lab.example to 203.0.113.74",
                    |site, line| {
                        ensure!(line.found.contains("192.0.2.7"), "{line:?}");
                        point_to(site, &ELASTIC_IP.to_string())
                    },
                ),
                tidy,
            },
            Case {
                name: "the name has no address",
                check: "dns_name",
                subject: SITE,
                also: &[],
                breaks: |site| manage(site, "clear-a", &format!(r#"{{"host": "{SITE}."}}"#)),
                mend: Mend::By(
                    "add an A record for www.lab.example with 203.0.113.74",
                    |site, _| point_to(site, &ELASTIC_IP.to_string()),
                ),
                tidy,
            },
        ],
    )
}

fn point_to(site: &Site, address: &str) -> Result<()> {
    manage(site, "clear-a", &format!(r#"{{"host": "{SITE}."}}"#))?;
    let record = format!(r#"{{"host": "{SITE}.", "addresses": ["{address}"]}}"#);
    manage(site, "add-a", &record)
}

fn manage(site: &Site, command: &str, body: &str) -> Result<()> {
    let url = format!("http://127.0.0.1:8055/{command}");
    let internet = site.lab.internet_gateway.host();
    internet
        .run("curl", &["-sSf", "-m", "5", "-d", body, &url])
        .map(drop)
}

#[test]
fn security_groups_of_moto() -> Result<()> {
    let lab = Lab::raise()?;
    let moto = lab.moto()?;
    let settings = Settings::elastic_pair(&lab, &*moto);
    let interface = &moto.interfaces()[0].id;
    let vpc = moto.call("Action=DescribeNetworkInterfaces")?;
    let vpc = element(&vpc, "vpcId")?;
    let group = moto.call(&format!(
        "Action=CreateSecurityGroup&GroupName=lb&GroupDescription=lb&VpcId={vpc}"
    ))?;
    let group = element(&group, "groupId")?.to_owned();
    for (protocol, port, network) in [
        ("tcp", 80, "0.0.0.0/0"),
        ("tcp", 443, "0.0.0.0/0"),
        ("tcp", 9146, "172.31.0.0/20"),
    ] {
        permit(&moto, &group, protocol, Some(port), network)?;
    }
    moto.call(&format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}&SecurityGroupId.1={group}"
    ))?;
    let site = site(lab, &settings)?;
    let report = site.doctor.examine(site.host())?;
    let line = report.line("security_groups", "adverts")?;
    ensure!(line.state == "fail", "{line:#?}");
    for name in ["service http", "service https", "link"] {
        ensure!(
            report.line("security_groups", name)?.state == "ok",
            "{report:#?}"
        );
    }
    follow(&moto, line)?;
    let report = site.doctor.examine(site.host())?;
    let line = report.line("security_groups", "adverts")?;
    ensure!(line.state == "ok", "{line:#?}");
    ensure!(
        report.line("aws_permissions", "")?.state == "ok",
        "{report:#?}"
    );
    Ok(())
}

/// Makes the call to the EC2 API that the `aws` command in the fix of an output line would make.
fn follow(moto: &Moto, line: &Line) -> Result<()> {
    let words: Vec<&str> = line.fix.trim_matches('`').split(' ').collect();
    let option = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1).copied()
    };
    ensure!(
        words.starts_with(&["aws", "ec2", "authorize-security-group-ingress"]),
        "{line:?}"
    );
    let group = option("--group-id").context("a group")?;
    let protocol = option("--protocol").context("a protocol")?;
    let network = option("--cidr").context("a network")?;
    let port = option("--port").map(str::parse).transpose()?;
    ensure!(network == format!("{}/32", BALANCERS[1].1), "{line:?}");
    permit(moto, group, protocol, port, network)
}

fn permit(
    moto: &Moto,
    group: &str,
    protocol: &str,
    port: Option<u16>,
    network: &str,
) -> Result<()> {
    // In a rule of a security group, a protocol without ports has -1 as its first and last port.
    let port = port.map_or(-1, i32::from);
    let ports = format!("&IpPermissions.1.FromPort={port}&IpPermissions.1.ToPort={port}");
    moto.call(&format!(
        "Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol={protocol}{ports}\
         &IpPermissions.1.IpRanges.1.CidrIp={network}"
    ))
    .map(drop)
}

fn element<'x>(xml: &'x str, name: &str) -> Result<&'x str> {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .context("the element")?;
    Ok(rest.split_once('<').context("its end")?.0)
}

fn edit(site: &Site, from: &str, to: &str) -> Result<()> {
    let text = site.settings.toml();
    ensure!(text.contains(from), "no {from:?} in {text}");
    site.host().write(CONFIG_FILE, text.replace(from, to))
}

#[test]
fn an_api_that_hangs_does_not_keep_the_report_back() -> Result<()> {
    let lab = Lab::raise()?;
    let ec2 = lab.fake_ec2()?;
    let settings = Settings::elastic_pair(&lab, &*ec2);
    let site = site(lab, &settings)?;
    ec2.faults(|faults| faults.hanging = lab::ec2::Faults::lasting(Duration::from_secs(60)));
    // The web servers do not answer either, so the checks of `lb doctor` on the web servers time
    // out too.
    for web in &site.lab.webs {
        web.host().script("ip link set eth0 down")?;
    }
    let report = wait::until("the report", SOON, || {
        site.doctor.examine(site.host()).map(Some)
    })?;
    ensure!(
        report.line("aws_permissions", "")?.state == "fail",
        "{report:#?}"
    );
    ensure!(
        report.line("backend", "web1")?.state == "fail",
        "{report:#?}"
    );
    Ok(())
}
