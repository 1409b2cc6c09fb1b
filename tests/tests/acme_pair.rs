//! A pair obtains one certificate, through the active host, from pebble: a real ACME server, which
//! here rejects 90 % of the nonces.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Process,
    agent::{Agent, HaSettings, Pair, Settings},
    topology::{BALANCERS, VIRTUAL_IP},
    wait,
};

/// Address of pebble, on the host that stands for the Internet.
const DIRECTORY: &str = "172.31.0.1";
const PORT: u16 = 14_000;
/// Path of the certificate file on both hosts of the pair.
const FILE: &str = "/run/lb/acme/172.31.0.1_14000_dir/certificates/site.pem";
const ACCOUNT: &str = "/run/lb/acme/172.31.0.1_14000_dir/account.json";

const LIMIT: Duration = Duration::from_secs(60);

/// Serialises the tests, as two concurrent pairs would delay each other. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_certificate_is_ordered_once_and_served_by_both_hosts() -> Result<()> {
    let _alone = alone();
    for challenge in ["http-01", "tls-alpn-01"] {
        let site = Site::raise(challenge, &["www.example.org", "example.org"], 0)?;
        let first = site.shared_certificate(None)?;
        ensure!(site.orders() == 1, "{} orders", site.orders());
        ensure!(site.served()? == fingerprint(&site, &first)?);

        // The standby serves the same certificate, and does not order one when it becomes active.
        site.move_role(1)?;
        ensure!(site.served()? == fingerprint(&site, &first)?);
        let refused = site.renew(0).expect_err("it stands by");
        let refused = format!("{refused:#}");
        ensure!(
            refused.contains("certificate renew site` on lb-b"),
            "{refused}"
        );

        // The new active host renews the certificate itself, with the account that the first host
        // created.
        let said = site.renew(1).with_context(|| site.logs())?;
        ensure!(said.contains("has a new certificate"), "{said}");
        let second = site.shared_certificate(Some(&first))?;
        ensure!(site.orders() == 2, "{} orders", site.orders());
        let accounts = [0, 1].map(|host| site.pair.host(host).read(ACCOUNT));
        let [one, other] = accounts;
        ensure!(one? == other?, "two accounts");
        ensure!(site.accounts() == 1, "{} accounts", site.accounts());
        site.move_role(0)?;
        ensure!(site.served()? == fingerprint(&site, &second)?);
    }
    Ok(())
}

#[test]
fn the_role_moves_in_the_middle_of_an_order() -> Result<()> {
    let _alone = alone();
    // Each validation takes up to 11 s, and there are several of them, so some are in progress when
    // the role moves.
    let names: Vec<_> = (0..8).map(|one| format!("www{one}.example.org")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for challenge in ["tls-alpn-01", "http-01"] {
        let site = Site::raise(challenge, &names, 12)?;
        wait::until_true("validations under way", LIMIT, || {
            Ok(site.directory.log().contains("Sleeping for"))
        })?;
        // After this hand-over pebble and the clients reach the host that was the standby.
        site.move_role(1)?;
        ensure!(
            site.pair.host(0).read(FILE).is_err() && site.pair.host(1).read(FILE).is_err(),
            "the order had ended before the role moved"
        );
        let certificate = site.shared_certificate(None)?;
        // The wait shows that the new active host waited for the order that its peer had begun, and
        // places no second order.
        thread::sleep(Duration::from_secs(2));
        ensure!(
            site.orders() == 1,
            "{} orders\n{}",
            site.orders(),
            site.logs()
        );
        for active in [1, 0, 1] {
            site.move_role(active)?;
            ensure!(site.served()? == fingerprint(&site, &certificate)?);
        }
        ensure!(site.orders() == 1, "{} orders", site.orders());
    }
    Ok(())
}

#[test]
fn the_host_that_is_left_orders_where_the_one_that_had_begun_is_lost() -> Result<()> {
    let _alone = alone();
    let names = ["www.example.org", "example.org", "api.example.org"];
    let mut site = Site::raise("tls-alpn-01", &names, 12)?;
    wait::until_true("validations under way", LIMIT, || {
        Ok(site.directory.log().contains("Sleeping for"))
    })?;
    site.pair.take(0)?.sigkill()?;
    wait::until_true("a certificate on the host that is left", 2 * LIMIT, || {
        Ok(site.pair.host(1).read(FILE).is_ok())
    })
    .with_context(|| site.logs())?;
    ensure!(site.orders() == 2, "{} orders", site.orders());
    // The lost host returns, and receives the certificate from its peer.
    let certificate = site.pair.host(1).read(FILE)?;
    site.pair.start_again(0)?;
    site.pair.wait_until_agreed(0)?;
    ensure!(site.shared_certificate(None)? == certificate);
    ensure!(site.served()? == fingerprint(&site, &certificate)?);
    ensure!(site.orders() == 2, "{} orders", site.orders());
    Ok(())
}

/// A pair that obtains the certificate of a service named `site`, and the ACME server that issues
/// it.
struct Site {
    pair: Pair,
    directory: Process,
    _names: Process,
    lab: Lab,
}

impl Site {
    /// Starts the pair and pebble. A validation takes at most `sleep` seconds.
    fn raise(challenge: &str, names: &[&str], sleep: u32) -> Result<Self> {
        let lab = Lab::raise()?;
        let internet = lab.internet_gateway.host();
        let names_at = "127.0.0.1:8053";
        let address = VIRTUAL_IP.to_string();
        let mut arguments = vec!["-http01", "", "-https01", "", "-tlsalpn01", ""];
        arguments.extend(["-dns01", names_at, "-management", "127.0.0.1:8055"]);
        arguments.extend(["-defaultIPv6", "", "-defaultIPv4", &address]);
        let resolver = internet.spawn("names", "pebble-challtestsrv", &arguments)?;
        let directory = start_pebble(&lab, internet, names_at, sleep)?;
        for balancer in &lab.balancers {
            balancer.write("/run/lb/acme-ca.pem", lab.authority.certificate_pem())?;
        }
        let settings = Settings::virtual_pair(&lab).map(|settings| Settings {
            // On the virtual address the kernel would steer port 80, but HTTP-01 needs the agent to
            // serve it.
            listen: BALANCERS[settings.balancer].1,
            more: services(challenge, names),
            // The intervals are long, so a busy machine does not look like a lost host.
            ha: settings.ha.map(|ha| HaSettings {
                advert_interval: Duration::from_secs(1),
                ..ha
            }),
            ..settings
        });
        Ok(Self {
            pair: Pair::start(&lab, &settings)?,
            directory,
            _names: resolver,
            lab,
        })
    }

    /// Waits until both hosts have the same certificate, which differs from `old`, and returns it.
    fn shared_certificate(&self, old: Option<&str>) -> Result<String> {
        let limit = 2 * LIMIT;
        let shared = wait::until("one certificate on both hosts", limit, || {
            let read = |host| self.pair.host(host).read(FILE).ok();
            Ok(read(0).filter(|one| read(1).as_ref() == Some(one) && Some(one.as_str()) != old))
        });
        shared.with_context(|| self.logs())
    }

    /// Makes the host with the index `to` active by a hand-over.
    fn move_role(&self, to: usize) -> Result<()> {
        if !self.pair.actives()[to] {
            self.pair.agent(1 - to)?.operate(&["failover"])?;
        }
        self.pair.wait_until_agreed(to)
    }

    fn renew(&self, host: usize) -> Result<String> {
        self.pair
            .agent(host)?
            .operate(&["certificate", "renew", "site"])
    }

    /// Returns the fingerprint of the certificate that the active host serves.
    fn served(&self) -> Result<String> {
        let script = format!(
            "openssl s_client -connect {VIRTUAL_IP}:8443 -servername www.example.org </dev/null \
             2>/dev/null | openssl x509 -noout -fingerprint -sha256"
        );
        self.lab.internet_gateway.host().script(&script)
    }

    /// Returns the number of orders that pebble has received.
    fn orders(&self) -> usize {
        self.directory.log().matches("Added order").count()
    }

    /// Returns the number of accounts that pebble has created.
    fn accounts(&self) -> usize {
        self.directory.log().matches("accounts in memory").count()
    }

    fn logs(&self) -> String {
        let log = |host: usize| self.pair.agent(host).map(Agent::log);
        let pebble = self.directory.log();
        let from = pebble.len().saturating_sub(4000);
        format!(
            "lb-a: {}\nlb-b: {}\npebble: {}",
            log(0).unwrap_or_default(),
            log(1).unwrap_or_default(),
            pebble.get(from..).unwrap_or_default()
        )
    }
}

fn fingerprint(site: &Site, certificate: &str) -> Result<String> {
    let internet = site.lab.internet_gateway.host();
    internet.write("/run/certificate.pem", certificate)?;
    internet.run(
        "openssl",
        &[
            "x509",
            "-noout",
            "-fingerprint",
            "-sha256",
            "-in",
            "/run/certificate.pem",
        ],
    )
}

fn start_pebble(lab: &Lab, internet: &Host, names: &str, sleep: u32) -> Result<Process> {
    let own = lab.authority.certify(DIRECTORY)?;
    internet.write("/run/pebble.pem", &own.chain)?;
    internet.write("/run/pebble.key", &own.key)?;
    internet.write(
        "/run/pebble.json",
        format!(
            r#"{{"pebble": {{
                "listenAddress": "{DIRECTORY}:{PORT}",
                "managementListenAddress": "127.0.0.1:15000",
                "certificate": "/run/pebble.pem", "privateKey": "/run/pebble.key",
                "httpPort": 8080, "tlsPort": 8443,
                "ocspResponderURL": "", "externalAccountBindingRequired": false
            }}}}"#
        ),
    )?;
    let no_sleep = if sleep == 0 { "1" } else { "0" };
    let settings = [
        "PEBBLE_WFE_NONCEREJECT=90".to_owned(),
        "PEBBLE_AUTHZREUSE=0".to_owned(),
        format!("PEBBLE_VA_NOSLEEP={no_sleep}"),
        format!("PEBBLE_VA_SLEEPTIME={sleep}"),
    ];
    let mut arguments: Vec<_> = settings.iter().map(String::as_str).collect();
    arguments.extend(["pebble", "-config", "/run/pebble.json", "-dnsserver", names]);
    let process = internet.spawn("pebble", "env", &arguments)?;
    internet.wait_for_port((DIRECTORY.parse::<std::net::IpAddr>()?, PORT).into(), LIMIT)?;
    Ok(process)
}

fn services(challenge: &str, names: &[&str]) -> String {
    format!(
        r#"
[acme]
directory = "https://{DIRECTORY}:{PORT}/dir"
challenges = ["{challenge}"]
storage = "/run/lb/acme"
ca_file = "/run/lb/acme-ca.pem"

[[service]]
name = "plain"
listen = "{VIRTUAL_IP}:8080"
mode = "http"
pool = "web"

[[service]]
name = "site"
listen = "{VIRTUAL_IP}:8443"
mode = "https"
pool = "web"
domains = {names:?}
"#
    )
}
