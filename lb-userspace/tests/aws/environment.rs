//! What the SDK's own environment variables change: in a process of their own, as they are the
//! whole process's.

use std::{env, process::Command};

use lab::ec2::Ec2 as _;
use lb::aws::{Ec2, Settings};

use crate::site::Site;

/// Names the allocation, in the process that has the environment.
const CHILD: &str = "LB_TEST_ALLOCATION";

#[tokio::test]
async fn endpoints_and_credentials_of_the_environment_are_honoured() {
    if let Ok(allocation_id) = env::var(CHILD) {
        return with_the_environment(allocation_id).await;
    }
    let site = Site::raise();
    let name = "environment::endpoints_and_credentials_of_the_environment_are_honoured";
    let output = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, site.ec2.allocation_id())
        .env("AWS_ENDPOINT_URL_EC2", site.ec2.endpoint())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", site.imds.endpoint())
        .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output();
    let output = output.expect("this test, once more");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    let keys = site.ec2.calls().into_iter().map(|call| call.access_key);
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [Some("AKIAENVIRONMENT".to_owned())]
    );
}

async fn with_the_environment(allocation_id: String) {
    let settings = Settings {
        allocation_id,
        region: None,
        network_interface_id: None,
        private_ip: None,
        moves_private_ip: false,
        endpoint: None,
        metadata_endpoint: None,
        source: None,
    };
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    ec2.associate().await.expect("an association");
}
