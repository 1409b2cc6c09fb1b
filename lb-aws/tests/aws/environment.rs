//! Tests of environment variables. Each of them runs in a separate process, because variables apply
//! to the whole process.

use std::{env, io, net::SocketAddr, process::Command, sync::Arc};

use lab::{certificate::Authority, ec2::Ec2 as _};
use lb_aws::{Ec2, ErrorKind, Settings};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::site::{Site, any_port, failed};

/// The environment variable with the allocation ID of the Elastic IP. If it is set, the test runs
/// as a child process: a test starts itself once more, with this variable and those under test.
const CHILD: &str = "LB_TEST_ALLOCATION";

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_and_credentials_of_the_environment_are_honoured() {
    if let Ok(allocation_id) = env::var(CHILD) {
        let ec2 = client(allocation_id).await;
        return ec2.associate().await.expect("an association");
    }
    let site = Site::raise();
    let name = "environment::endpoints_and_credentials_of_the_environment_are_honoured";
    let endpoint = site.ec2.endpoint();
    again(&site, name, &[("AWS_ENDPOINT_URL_EC2", endpoint)]);
    let keys = site.ec2.calls().into_iter().map(|call| call.access_key);
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [Some("AKIAENVIRONMENT".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_by_https_is_called_when_its_certificate_is_of_an_authority_the_host_trusts() {
    if let Ok(allocation_id) = env::var(CHILD) {
        let ec2 = client(allocation_id).await;
        return ec2.associate().await.expect("an association");
    }
    let site = Site::raise();
    let authority = Authority::new().expect("an authority");
    let trusted = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(trusted.path(), authority.certificate_pem()).expect("written");
    let port = tls_before(&site, &authority).await;
    let name = "environment::an_api_by_https_is_called_when_its_certificate_is_of_an_authority_the_host_trusts";
    let endpoint = format!("https://localhost:{port}");
    let trust = trusted.path().to_str().expect("a path");
    let environment = [
        ("AWS_ENDPOINT_URL_EC2", endpoint.as_str()),
        ("SSL_CERT_FILE", trust),
    ];
    again(&site, name, &environment);
    assert_eq!(site.ec2.moves(), 1);

    let mut settings = site.settings();
    settings.endpoint = Some(endpoint);
    let ec2 = Ec2::connect(&settings).await.expect("a client");
    let words = ["certificate"];
    failed(ec2.associate().await, ErrorKind::Unreachable, &words);
    assert_eq!(site.ec2.calls().len(), 1, "an untrusted server got a call");
}

/// Runs the test of this name once more, in another process with these environment variables.
fn again(site: &Site, name: &str, environment: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, site.ec2.allocation_id())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", site.imds.endpoint())
        .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .envs(environment.iter().copied())
        .output()
        .expect("this test, once more");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

async fn client(allocation_id: String) -> Ec2 {
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
    Ec2::connect(&settings).await.expect("a client")
}

/// Starts a server that terminates TLS in front of the fake EC2 API. Returns its port.
async fn tls_before(site: &Site, authority: &Authority) -> u16 {
    let api = site.ec2.endpoint().trim_start_matches("http://");
    let api: SocketAddr = api.parse().expect("an address");
    let certificate = authority.certify("localhost").expect("a certificate");
    let chain = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(any_port()).await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outer = acceptor.accept(stream).await?;
                let mut inner = TcpStream::connect(api).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await?;
                io::Result::Ok(())
            });
        }
    });
    port
}
