//! Tests which requests the methods of `Ec2` send, and what they return when AWS works.

use std::net::Ipv4Addr;

use lab::ec2::{Ec2 as _, Owner as Truth};
use lb_aws::{Ec2, ErrorKind, Operation, Owner};

use crate::site::{BALANCERS, Site, failed};

#[tokio::test]
async fn an_association_takes_the_address_from_whoever_has_it_in_one_call() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    assert_eq!(ec2.describe().await, Ok(Owner::Nobody));
    site.ec2.move_to(Some(1));
    let interfaces = site.ec2.interfaces();
    let other = Owner::Other {
        interface: Some(interfaces[1].id.clone()),
        instance: Some(interfaces[1].instance_id.clone()),
        private_ip: Some(interfaces[1].private_ip),
    };
    assert_eq!(ec2.describe().await, Ok(other));
    site.ec2.forget_calls();
    assert_eq!(ec2.associate().await, Ok(()));
    let calls: Vec<_> = site
        .ec2
        .calls()
        .into_iter()
        .map(|call| call.action)
        .collect();
    assert_eq!(calls, ["AssociateAddress"]);
    assert_eq!(site.ec2.moves(), 1);
    assert_eq!(ec2.describe().await, Ok(Owner::Us));
}

#[tokio::test]
async fn the_address_on_another_private_address_of_ours_is_not_ours() {
    let site = Site::raise();
    let secondary = Ipv4Addr::new(172, 31, 0, 200);
    site.ec2.give_secondary(0, secondary);
    site.ec2.move_to(Some(0));
    let mut settings = site.settings();
    settings.private_ip = Some(secondary);
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let Ok(Owner::Other {
        interface,
        private_ip,
        ..
    }) = ec2.describe().await
    else {
        panic!("it is on the primary address");
    };
    assert_eq!(interface.as_ref(), Some(&site.ec2.interfaces()[0].id));
    assert_eq!(private_ip, Some(BALANCERS[0].1));
    ec2.associate().await.expect("an association");
    assert_eq!(ec2.describe().await, Ok(Owner::Us));
    let truth = site.ec2.owner().expect("an answer");
    assert_eq!(
        truth,
        Some(Truth {
            interface: 0,
            private_ip: secondary
        })
    );
}

#[tokio::test]
async fn a_private_address_that_moves_is_taken_first_and_may_be_here_already() {
    let site = Site::raise();
    let moving = Ipv4Addr::new(172, 31, 0, 200);
    site.ec2.give_secondary(1, moving);
    site.ec2.move_to(Some(1));
    let mut settings = site.settings();
    settings.private_ip = Some(moving);
    settings.moves_private_ip = true;
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    for _ in 0..2 {
        ec2.associate().await.expect("an association");
        assert_eq!(ec2.describe().await, Ok(Owner::Us));
        assert_eq!(site.ec2.cloud().secondary, [vec![moving], vec![]]);
    }
}

#[tokio::test]
async fn an_api_that_refuses_to_assign_what_is_here_already_is_asked_whether_it_is() {
    let site = Site::raise();
    let moving = Ipv4Addr::new(172, 31, 0, 200);
    site.ec2.faults(|faults| faults.refuses_to_reassign = true);
    site.ec2.give_secondary(0, moving);
    let mut settings = site.settings();
    settings.private_ip = Some(moving);
    settings.moves_private_ip = true;
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    ec2.associate().await.expect("an association");
    assert_eq!(ec2.describe().await, Ok(Owner::Us));

    // The other host's primary address can never be assigned to this host, so the call fails.
    settings.private_ip = Some(BALANCERS[1].1);
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let what = [
        "AssignPrivateIpAddresses",
        "172.31.15.233",
        "InvalidParameterValue",
    ];
    failed(ec2.associate().await, ErrorKind::Invalid, &what);
}

#[tokio::test]
async fn every_call_has_a_connection_of_its_own() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    for _ in 0..3 {
        ec2.describe().await.expect("a description");
    }
    let calls = site.ec2.calls();
    let mut ports: Vec<_> = calls.iter().map(|call| call.from_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), calls.len(), "a connection was used twice");
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_wrong() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    let inspection = ec2.dry_run().await.expect("an inspection");
    assert!(inspection.is_clean(), "{inspection:?}");
    assert_eq!(site.ec2.owner().expect("an answer"), None, "it was dry");
}

#[tokio::test]
async fn what_the_role_may_not_do_is_found_before_it_matters() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    for operation in [
        Operation::AssociateAddress,
        Operation::DescribeAddresses,
        Operation::DescribeNetworkInterfaces,
    ] {
        site.ec2.restore();
        site.ec2.deny(operation.name());
        let inspection = ec2.dry_run().await.expect("an inspection");
        assert_eq!(inspection.denied.len(), 1, "{inspection:?}");
        let denied = &inspection.denied[0];
        assert_eq!(denied.operation, operation);
        let permission = format!("ec2:{}", operation.name());
        assert!(denied.sentence.contains(&permission), "{}", denied.sentence);
    }
}

#[tokio::test]
async fn a_wrong_id_or_private_address_is_found_before_it_matters() {
    let site = Site::raise();
    let mut settings = site.settings();
    settings.private_ip = Some(Ipv4Addr::new(172, 31, 0, 99));
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let inspection = ec2.dry_run().await.expect("an inspection");
    let sentences: Vec<_> = inspection.sentences().collect();
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    assert!(sentences[0].contains("172.31.0.99"), "{sentences:?}");

    let mut settings = site.settings();
    settings.allocation_id = "eipalloc-00000000000000000".to_owned();
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let inspection = ec2.dry_run().await.expect("an inspection");
    assert_eq!(inspection.wrong.len(), 2, "{inspection:?}");
    let found = &inspection.wrong[0];
    assert!(found.contains("InvalidAllocationID.NotFound"), "{found}");
}
