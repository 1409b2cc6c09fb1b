use super::*;
use crate::{
    aws::{Denied, Operation},
    doctor::State,
};

fn error(kind: ErrorKind) -> ApiError {
    ApiError {
        kind,
        retry_after: None,
        sentence: "could not read instance-id".to_owned(),
    }
}

fn options(requires_token: bool) -> MetadataOptions {
    MetadataOptions {
        instance: "i-1".to_owned(),
        requires_token,
        hop_limit: Some(2),
    }
}

#[test]
fn a_metadata_service_that_is_not_needed_may_be_silent() {
    let silent = error(ErrorKind::Unreachable);
    assert_eq!(metadata(Err(&silent), None, false).state, State::Skipped);
    let needed = metadata(Err(&silent), None, true);
    assert_eq!(needed.state, State::Fail);
    assert!(needed.fix.expect("a fix").contains("hop-limit"));
}

#[test]
fn a_metadata_service_without_tokens_is_a_warning() {
    assert_eq!(metadata(Ok("i-1"), None, true).state, State::Ok);
    let good = metadata(Ok("i-1"), Some(&options(true)), true);
    assert_eq!(good.state, State::Ok);
    assert!(good.found.contains("hop limit 2"));
    let open = metadata(Ok("i-1"), Some(&options(false)), true);
    assert_eq!(open.state, State::Warn);
    assert!(
        open.fix
            .expect("a fix")
            .contains("--instance-id i-1 --http-tokens required")
    );
}

#[test]
fn each_finding_of_the_dry_run_is_a_line() {
    let clean = permissions("eipalloc-1", Ok(Inspection::default()));
    assert_eq!(clean.len(), 1);
    assert_eq!(clean[0].state, State::Ok);
    let inspection = Inspection {
        denied: vec![Denied {
            operation: Operation::AssociateAddress,
            sentence: "AssociateAddress failed".to_owned(),
        }],
        wrong: vec!["172.31.0.70 is not an address of eni-1".to_owned()],
    };
    let found = permissions("eipalloc-1", Ok(inspection));
    assert!(
        found.iter().all(|finding| finding.state == State::Fail),
        "{found:?}"
    );
    assert!(
        found[0]
            .fix
            .as_deref()
            .expect("a fix")
            .contains("`ec2:AssociateAddress`")
    );
    assert_eq!(found.len(), 2);
    let unknown = permissions("eipalloc-1", Err(error(ErrorKind::TimedOut)));
    assert_eq!(unknown[0].state, State::Fail);
}

#[test]
fn an_elastic_ip_of_the_peer_is_fine_and_one_of_nobody_is_not() {
    let address = Some(Ipv4Addr::new(203, 0, 113, 74));
    let other = Owner::Other {
        interface: Some("eni-2".to_owned()),
        instance: None,
        private_ip: None,
    };
    assert_eq!(elastic_ip("e", Ok(Owner::Us), address).state, State::Ok);
    assert_eq!(elastic_ip("e", Ok(other), address).state, State::Ok);
    assert_eq!(
        elastic_ip("e", Ok(Owner::Nobody), address).state,
        State::Warn
    );
    assert_eq!(
        elastic_ip("e", Err(error(ErrorKind::Invalid)), None).state,
        State::Fail
    );
}
