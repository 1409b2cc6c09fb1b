//! Checks of `lb doctor` about AWS: the metadata service, credentials, permissions, the Elastic IP,
//! and security groups.

mod rules;

use std::{net::Ipv4Addr, time::Duration};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    aws::{self, ApiError, Ec2, ErrorKind, Identity, Inspection, MetadataOptions, Owner, Settings},
    config::{Config, ElasticIp, Moves},
};

pub(super) static METADATA: Check = Check {
    name: "metadata_service",
    group: Group::Aws,
    looks_at: "Whether the instance metadata service answers with a token (IMDSv2), and, if the role may \
               `ec2:DescribeInstances`, whether tokens are required, and the hop limit.",
    why: "The agent gets its credentials there, and what `[ha.elastic_ip]` leaves out. In a container the answer takes one more hop, so a hop limit of 1 drops it.",
    fix: "`aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled --http-tokens \
          required --http-put-response-hop-limit 2`.",
};

pub(super) static CREDENTIALS: Check = Check {
    name: "aws_credentials",
    group: Group::Aws,
    looks_at: "Whether there are credentials for the EC2 API, and the interface and address that the Elastic \
               IP is to be associated with.",
    why: "Without them the Elastic IP cannot be moved.",
    fix: "Give the instance a role (an instance profile, docs/aws.md).",
};

pub(super) static PERMISSIONS: Check = Check {
    name: "aws_permissions",
    group: Group::Aws,
    looks_at: "By `DryRun`, which changes nothing: whether the role permits the calls of a failover, and \
               whether they would succeed.",
    why: "Otherwise a missing permission is noticed only at the failover that needs it.",
    fix: "Attach the policy of docs/aws.md to the role.",
};

pub(super) static ELASTIC_IP: Check = Check {
    name: "elastic_ip",
    group: Group::Aws,
    looks_at: "Whether the Elastic IP exists, and which host has it.",
    why: "It is the address that clients connect to.",
    fix: "Correct `allocation_id` or `region`; `lb failover` moves it.",
};

pub(super) static SECURITY_GROUPS: Check = Check {
    name: "security_groups",
    group: Group::Aws,
    looks_at: "If the role may `ec2:DescribeSecurityGroups`: whether the inbound rules of this host's \
               interface let clients reach each service, and the peer send adverts and reach the link.",
    why: "Packets that no rule allows are dropped without a trace on the host.",
    fix: "`aws ec2 authorize-security-group-ingress` as the finding says.",
};

pub(super) static CHECKS: [&Check; 5] = [
    &METADATA,
    &CREDENTIALS,
    &PERMISSIONS,
    &ELASTIC_IP,
    &SECURITY_GROUPS,
];

/// What the checks about AWS found, and the address of the Elastic IP, which the checks of DNS
/// names use.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) findings: Vec<Finding>,
    /// The public IPv4 address of the Elastic IP; `None` if it is not known.
    pub(super) public_ip: Option<Ipv4Addr>,
}

impl Answers {
    /// Returns the finding for requests to AWS that did not end within `limit`.
    pub(super) fn overdue(limit: Duration) -> Self {
        let finding = PERMISSIONS.fail(
            "",
            format!("AWS did not answer within {limit:?}"),
            "check that this host reaches the API of the region and the metadata service (docs/aws.md, \"Access \
             to the API\")",
        );
        Self {
            findings: vec![finding],
            public_ip: None,
        }
    }
}

/// Makes the checks about AWS; none if the configuration has no Elastic IP. Each call to the EC2
/// API has a time limit of its own (1.5 s), and calls that do not depend on each other are made at
/// the same time.
pub(super) async fn check(config: &Config) -> Answers {
    let elastic = config.ha.as_ref().and_then(|ha| match &ha.moves {
        Moves::ElasticIp(elastic) => Some((ha, elastic)),
        Moves::VirtualIp(_) | Moves::Commands => None,
    });
    let Some((ha, elastic)) = elastic else {
        return Answers::default();
    };
    let settings = Settings::new(elastic, ha.source);
    let (instance, connected) = tokio::join!(aws::instance_id(&settings), Ec2::connect(&settings));
    let needs_metadata = needs_metadata(elastic) || connected.is_err();
    let subject = elastic.allocation_id.as_str();
    let ec2 = match connected {
        Ok(ec2) => ec2,
        Err(error) => {
            let findings = vec![
                metadata(instance.as_deref(), None, needs_metadata),
                CREDENTIALS.fail(subject, &error, fix_of_credentials(&error)),
            ];
            return Answers {
                findings,
                public_ip: None,
            };
        }
    };
    let (dry_run, owner, public_ip, rules, options) = tokio::join!(
        ec2.dry_run(),
        ec2.describe(),
        ec2.public_ip(),
        ec2.inbound_rules(),
        ec2.metadata_options(),
    );
    let public_ip = public_ip.ok().flatten();
    let mut findings = vec![
        metadata(
            instance.as_deref(),
            options.ok().flatten().as_ref(),
            needs_metadata,
        ),
        credentials(subject, ec2.identity()),
    ];
    findings.extend(permissions(subject, dry_run));
    findings.push(elastic_ip(subject, owner, public_ip));
    findings.extend(rules::judge(config, rules));
    Answers {
        findings,
        public_ip,
    }
}

/// Returns whether `[ha.elastic_ip]` leaves out a setting that the metadata service then has to
/// give.
fn needs_metadata(elastic: &ElasticIp) -> bool {
    elastic.region.is_none()
        || elastic.network_interface_id.is_none()
        || elastic.private_ip.is_none()
}

fn metadata(
    instance: Result<&str, &ApiError>,
    options: Option<&MetadataOptions>,
    is_needed: bool,
) -> Finding {
    const SUBJECT: &str = "IMDSv2";
    const MODIFY: &str = "aws ec2 modify-instance-metadata-options --instance-id";
    let instance = match instance {
        Ok(instance) => instance,
        Err(error) if is_needed => {
            return METADATA.fail(
                SUBJECT,
                &error.sentence,
                format!(
                    "switch it on: `{MODIFY} ID --http-endpoint enabled --http-tokens required \
                     --http-put-response-hop-limit 1`; in a container, a hop limit of 2"
                ),
            );
        }
        Err(_) => return METADATA.skipped(SUBJECT, "does not answer, and is not needed"),
    };
    let Some(options) = options else {
        return METADATA.ok(SUBJECT, format!("answers {instance} with a token"));
    };
    let hops = options
        .hop_limit
        .map_or("unknown".to_owned(), |hops| hops.to_string());
    if options.requires_token {
        return METADATA.ok(
            SUBJECT,
            format!("answers {instance}; tokens are required, hop limit {hops}"),
        );
    }
    METADATA.warn(
        SUBJECT,
        format!(
            "answers {instance}, hop limit {hops}, but also without a token (IMDSv1): a service that can be tricked into a request (SSRF) exposes the credentials"
        ),
        format!("`{MODIFY} {} --http-tokens required`", options.instance),
    )
}

fn fix_of_credentials(error: &ApiError) -> &'static str {
    match error.kind {
        ErrorKind::Denied => {
            "give the instance a role with the policy of docs/aws.md: `aws ec2 \
             associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME`"
        }
        _ => {
            "set `region`, `network_interface_id` and `private_ip` in [ha.elastic_ip], or make the metadata \
             service answer"
        }
    }
}

fn credentials(subject: &str, identity: &Identity) -> Finding {
    let Identity {
        region,
        interface,
        private_ip,
        ..
    } = identity;
    CREDENTIALS.ok(
        subject,
        format!("found; {interface}, {private_ip}, {region}"),
    )
}

fn permissions(subject: &str, dry_run: Result<Inspection, ApiError>) -> Vec<Finding> {
    let inspection = match dry_run {
        Ok(inspection) if inspection.is_clean() => {
            return vec![PERMISSIONS.ok(subject, "a failover would be permitted (DryRun)")];
        }
        Ok(inspection) => inspection,
        Err(error) => {
            return vec![PERMISSIONS.fail(
                subject,
                &error,
                "check that this host reaches the API of the region (docs/aws.md, \"Access to the API\")",
            )];
        }
    };
    let denied = inspection.denied.iter().map(|denied| {
        let action = denied.operation.name();
        PERMISSIONS.fail(
            subject,
            &denied.sentence,
            format!("allow `ec2:{action}` in the policy of the instance's role (docs/aws.md has the policy)"),
        )
    });
    let wrong = inspection.wrong.iter().map(|sentence| {
        PERMISSIONS.fail(
            subject,
            sentence,
            "correct [ha.elastic_ip]: `allocation_id`, `network_interface_id`, `private_ip`",
        )
    });
    denied.chain(wrong).collect()
}

fn elastic_ip(subject: &str, owner: Result<Owner, ApiError>, address: Option<Ipv4Addr>) -> Finding {
    let address = address.map_or(String::new(), |address| format!("{address}, "));
    match owner {
        Ok(Owner::Us) => ELASTIC_IP.ok(subject, format!("{address}on this host")),
        Ok(Owner::Other {
            interface,
            instance,
            ..
        }) => {
            let owner = interface.or(instance).unwrap_or_default();
            ELASTIC_IP.ok(subject, format!("{address}on {owner}, not on this host"))
        }
        Ok(Owner::Nobody) => ELASTIC_IP.warn(
            subject,
            format!("{address}not associated with any host: clients reach none"),
            "start lb on one of the hosts: the active one associates it",
        ),
        Err(error) => ELASTIC_IP.fail(
            subject,
            &error,
            "correct `allocation_id` and `region` in [ha.elastic_ip]",
        ),
    }
}

#[cfg(test)]
mod tests;
