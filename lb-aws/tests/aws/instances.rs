//! Tests of listing the instances that are backends, by tags and by Auto Scaling group.

use std::net::Ipv4Addr;

use lab::ec2::{Ec2 as _, InstanceState, REGION};
use lb_aws::{ApiError, ErrorKind, Instances, InstancesSettings};
use lb_config::InstanceFilter;

use crate::site::{Site, failed};

impl Site {
    /// Returns the settings that the host under test needs to list instances.
    fn instances_settings(&self) -> InstancesSettings {
        InstancesSettings {
            region: None,
            endpoint: Some(self.ec2.endpoint().to_owned()),
            auto_scaling_endpoint: Some(self.ec2.endpoint().to_owned()),
            metadata_endpoint: Some(self.imds.endpoint()),
        }
    }

    async fn instances(&self) -> Instances {
        let settings = self.instances_settings();
        Instances::connect(&settings).await.expect("a client")
    }

    /// Returns the recorded actions of the calls so far.
    fn actions(&self) -> Vec<String> {
        self.ec2
            .calls()
            .into_iter()
            .map(|call| call.action)
            .collect()
    }
}

fn tags(tags: &[(&str, &str)]) -> InstanceFilter {
    let tags = tags.iter();
    InstanceFilter::Tags(
        tags.map(|(tag, value)| (tag.to_string(), value.to_string()))
            .collect(),
    )
}

fn group(name: &str) -> InstanceFilter {
    InstanceFilter::AutoScalingGroup(name.to_owned())
}

/// Returns the IDs and last octets of the listed instances, sorted.
fn listed(result: Result<Vec<lb_aws::Instance>, ApiError>) -> Vec<(String, u8)> {
    let instances = result.expect("instances").into_iter();
    let mut listed: Vec<_> = instances
        .map(|instance| (instance.id, instance.private_ip.octets()[3]))
        .collect();
    listed.sort();
    listed
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

#[tokio::test]
async fn instances_are_listed_that_run_and_have_all_tags() {
    let site = Site::raise();
    let ids = site.ec2.fleet(|fleet| {
        let live = [("Role", "web"), ("Stage", "live")];
        let ids = [1, 2, 3, 4].map(|last| fleet.launch(address(last), &live));
        fleet.launch(address(5), &[("Role", "web"), ("Stage", "test")]);
        fleet.launch(address(6), &[("Role", "web")]);
        fleet.instance(&ids[1]).state = InstanceState::Stopped;
        fleet.instance(&ids[2]).state = InstanceState::Pending;
        ids
    });
    let instances = site.instances().await;
    let live = tags(&[("Role", "web"), ("Stage", "live")]);
    let expected = [(ids[0].clone(), 1), (ids[3].clone(), 4)];
    assert_eq!(listed(instances.list(&live).await), expected);
    let found = instances.list(&tags(&[("Role", "database")])).await;
    assert_eq!(listed(found), []);
    assert_eq!(site.actions(), ["DescribeInstances"; 2]);
}

#[tokio::test]
async fn more_instances_than_one_answer_has_are_listed_page_by_page() {
    let site = Site::raise();
    site.ec2.fleet(|fleet| {
        fleet.create_group("web");
        for last in 0..=249 {
            let id = fleet.launch(address(last), &[("Role", "web")]);
            fleet.attach("web", &id, "InService");
        }
    });
    site.ec2.faults(|faults| faults.page_size = Some(70));
    let instances = site.instances().await;
    // The list by tags has 4 pages of at most 70 instances. The list by group has 3 pages for the
    // first 200 instances, and 1 for the other 50.
    let (describe, group_first) = ("DescribeInstances", "DescribeAutoScalingGroups");
    for (filter, calls) in [
        (tags(&[("Role", "web")]), [describe; 4].to_vec()),
        (
            group("web"),
            [vec![group_first], vec![describe; 4]].concat(),
        ),
    ] {
        site.ec2.forget_calls();
        let mut found: Vec<_> = listed(instances.list(&filter).await);
        found.sort_by_key(|(_, last)| *last);
        let octets: Vec<_> = found.iter().map(|(_, last)| *last).collect();
        assert_eq!(octets, (0..=249).collect::<Vec<_>>(), "{filter}");
        assert_eq!(site.actions(), calls, "{filter}");
    }
}

#[tokio::test]
async fn instances_of_a_group_are_listed_that_are_in_service_and_healthy() {
    let site = Site::raise();
    let ids = site.ec2.fleet(|fleet| {
        for group in ["other", "web", "empty"] {
            fleet.create_group(group);
        }
        let ids = [1, 2, 3, 4, 5].map(|last| fleet.launch(address(last), &[]));
        fleet.attach("web", &ids[0], "InService");
        fleet.attach("web", &ids[1], "Terminating:Wait");
        fleet.attach("web", &ids[2], "InService");
        fleet.member(&ids[2]).healthy = false;
        fleet.attach("web", &ids[3], "InService");
        fleet.attach("other", &ids[4], "InService");
        // The group still has an instance that EC2 no longer describes.
        fleet.instances.retain(|instance| instance.id != ids[3]);
        ids
    });
    let instances = site.instances().await;
    let found = instances.list(&group("web")).await;
    assert_eq!(listed(found), [(ids[0].clone(), 1)]);
    site.ec2.forget_calls();
    assert_eq!(listed(instances.list(&group("empty")).await), []);
    assert_eq!(site.actions(), ["DescribeAutoScalingGroups"]);
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_an_error_with_its_name() {
    let site = Site::raise();
    let found = site.instances().await.list(&group("web")).await;
    let words = [
        "DescribeAutoScalingGroups",
        "group web",
        REGION,
        "auto_scaling_group",
        "[pool.discover]",
    ];
    failed(found, ErrorKind::Invalid, &words);
}

#[tokio::test]
async fn a_denied_call_that_lists_instances_says_which_permission_it_wants() {
    let site = Site::raise();
    site.ec2.fleet(|fleet| {
        fleet.create_group("web");
        let id = fleet.launch(address(1), &[]);
        fleet.attach("web", &id, "InService");
    });
    let instances = site.instances().await;
    for (filter, action, permission) in [
        (
            tags(&[("Role", "web")]),
            "DescribeInstances",
            "ec2:DescribeInstances",
        ),
        (group("web"), "DescribeInstances", "ec2:DescribeInstances"),
        (
            group("web"),
            "DescribeAutoScalingGroups",
            "autoscaling:DescribeAutoScalingGroups",
        ),
    ] {
        site.ec2.restore();
        site.ec2.deny(action);
        let allow = format!("allow {permission} in");
        let words = [action, &allow, "docs/aws.md"];
        failed(instances.list(&filter).await, ErrorKind::Denied, &words);
    }
}

#[tokio::test]
async fn failures_of_listing_instances_are_told_apart() {
    let site = Site::raise();
    let instances = site.instances().await;
    site.lastingly(|faults| &mut faults.throttled);
    let words = [
        "EC2 answered RequestLimitExceeded",
        "interval in [pool.discover]",
    ];
    failed(
        instances.list(&tags(&[("Role", "web")])).await,
        ErrorKind::Throttled,
        &words,
    );
    let words = [
        "Auto Scaling answered Throttling",
        "interval in [pool.discover]",
    ];
    failed(
        instances.list(&group("web")).await,
        ErrorKind::Throttled,
        &words,
    );
    site.ec2.restore();
    site.lastingly(|faults| &mut faults.failing);
    failed(
        instances.list(&group("web")).await,
        ErrorKind::Other,
        &["InternalError"],
    );
    site.ec2.restore();
    site.ec2.close();
    let words = ["DescribeInstances", "Role=web", "refused"];
    failed(
        instances.list(&tags(&[("Role", "web")])).await,
        ErrorKind::Unreachable,
        &words,
    );
    let words = ["DescribeAutoScalingGroups", "refused"];
    failed(
        instances.list(&group("web")).await,
        ErrorKind::Unreachable,
        &words,
    );
    site.ec2.open().expect("the port");
    assert_eq!(listed(instances.list(&tags(&[("Role", "web")])).await), []);
}

#[tokio::test]
async fn without_a_metadata_service_the_error_asks_for_the_region() {
    let site = Site::raise();
    let settings = InstancesSettings {
        metadata_endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..site.instances_settings()
    };
    let words = ["placement/region", "set region in [pool.discover]"];
    failed(
        Instances::connect(&settings).await,
        ErrorKind::Unreachable,
        &words,
    );
}
