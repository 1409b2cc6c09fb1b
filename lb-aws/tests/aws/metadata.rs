//! Tests of the identity and the credentials that the metadata service returns, and of its
//! failures.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use lab::ec2::{Ec2 as _, REGION};
use lb_aws::{Ec2, ErrorKind, Identity};

use crate::site::{BALANCERS, Site, any_port, failed};

#[tokio::test]
async fn who_we_are_is_asked_with_a_token_and_so_are_the_credentials() {
    let site = Site::raise();
    let ec2 = site.connect().await;
    let ours = &site.ec2.interfaces()[0];
    let identity = Identity {
        region: REGION.to_owned(),
        interface: ours.id.clone(),
        private_ip: BALANCERS[0].1,
        instance: Some(ours.instance_id.clone()),
    };
    assert_eq!(*ec2.identity(), identity);
    let requests = site.imds.requests();
    assert!(
        requests.iter().all(|request| !request.ends_with(" 401")),
        "asked without a token: {requests:?}"
    );
    ec2.describe().await.expect("a description");
    let keys = site.ec2.calls().into_iter().map(|call| call.access_key);
    assert_eq!(keys.collect::<Vec<_>>(), [Some("ASIALAB1".to_owned())]);
}

#[tokio::test]
async fn what_the_configuration_says_is_not_asked() {
    let site = Site::raise();
    let mut settings = site.settings();
    settings.region = Some("eu-west-1".to_owned());
    settings.network_interface_id = Some(site.other_interface().to_owned());
    settings.private_ip = Some(Ipv4Addr::new(10, 0, 0, 1));
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let identity = Identity {
        region: "eu-west-1".to_owned(),
        interface: site.other_interface().to_owned(),
        private_ip: Ipv4Addr::new(10, 0, 0, 1),
        instance: None,
    };
    assert_eq!(*ec2.identity(), identity);
    let requests = site.imds.requests();
    let asked = |what: &str| requests.iter().any(|request| request.contains(what));
    assert!(!asked("network") && !asked("placement"), "{requests:?}");
}

#[tokio::test]
async fn an_interface_of_another_instance_is_refused_with_those_there_are() {
    let site = Site::raise();
    let mut settings = site.settings();
    settings.network_interface_id = Some(site.other_interface().to_owned());
    let ours = &site.ec2.interfaces()[0].id;
    let words = [site.other_interface(), ours];
    failed(Ec2::connect(&settings).await, ErrorKind::Invalid, &words);
}

#[tokio::test]
async fn no_metadata_service_is_an_error_that_says_what_to_set() {
    let site = Site::raise();
    let mut settings = site.settings();
    let free = std::net::TcpListener::bind(any_port()).expect("a port");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    settings.metadata_endpoint = Some(format!("http://{nobody}"));
    let began = Instant::now();
    let words = ["network_interface_id", "metadata service"];
    failed(
        Ec2::connect(&settings).await,
        ErrorKind::Unreachable,
        &words,
    );
    assert!(began.elapsed() < Duration::from_secs(4), "{began:?}");
}

#[tokio::test]
async fn a_silent_metadata_service_is_not_waited_for_long() {
    let site = Site::raise();
    site.imds.be_silent(true);
    let began = Instant::now();
    let words = ["instance-id"];
    failed(
        Ec2::connect(&site.settings()).await,
        ErrorKind::Unreachable,
        &words,
    );
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn an_instance_without_a_role_is_told_to_get_one() {
    let site = Site::raise();
    site.imds.take_role(true);
    let words = ["credentials", "instance profile"];
    failed(
        Ec2::connect(&site.settings()).await,
        ErrorKind::Denied,
        &words,
    );
}

#[tokio::test]
async fn credentials_that_run_out_are_renewed() {
    let site = Site::raise();
    // The credentials expire so soon that each call must renew them.
    site.imds.credentials_last(Duration::from_secs(5));
    let ec2 = site.connect().await;
    ec2.describe().await.expect("a description");
    let before = site.imds.requests().len();
    ec2.describe().await.expect("a description");
    let requests = site.imds.requests().split_off(before);
    assert!(
        requests
            .iter()
            .any(|request| request.contains("security-credentials/lb 200")),
        "nothing was renewed: {requests:?}"
    );
}

#[tokio::test]
async fn the_last_credentials_serve_while_the_metadata_service_is_silent_or_refuses() {
    let site = Site::raise();
    site.imds.credentials_last(Duration::from_secs(5));
    let ec2 = site.connect().await;
    ec2.describe().await.expect("a description");
    site.imds.be_silent(true);
    ec2.associate().await.expect("an association");
    site.imds.be_silent(false);
    site.imds.expire_tokens();
    ec2.associate().await.expect("an association");
    let refused = site.imds.requests();
    assert!(refused.iter().any(|request| request.ends_with(" 401")));
}
