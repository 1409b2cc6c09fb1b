//! Tests of what `lb doctor` says about certificates and about the operator token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{CERTIFICATE_FILE, Settings},
    topology::SITE,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    date_time_ymd,
};

use crate::{
    case::{self, Case, Mend, tidy},
    site::Site,
};

#[test]
fn certificate_files() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let mut site = Site::with(lab, settings)?;
    let authority = site.lab.authority.certificate_pem();
    site.host().write("/run/ca.pem", authority)?;
    let environment = ("SSL_CERT_FILE".to_owned(), "/run/ca.pem".to_owned());
    site.doctor.environment.push(environment);
    case::all(
        &mut site,
        &[
            Case {
                name: "others can read the key",
                check: "certificate",
                subject: CERTIFICATE_FILE,
                also: &[],
                breaks: |site| site.script(&format!("chmod 644 {CERTIFICATE_FILE}")),
                mend: Mend::Run("chmod 600"),
                tidy,
            },
            Case {
                name: "the key is of another certificate",
                check: "certificate",
                subject: CERTIFICATE_FILE,
                also: &[],
                breaks: |site| {
                    let authority = &site.lab.authority;
                    let (one, other) = (authority.certify(SITE)?, authority.certify(SITE)?);
                    site.host().write(CERTIFICATE_FILE, one.chain + &other.key)
                },
                mend: Mend::By(
                    "write the certificate, its chain and then its key",
                    |site, _| renew(site),
                ),
                tidy,
            },
            Case {
                name: "the certificate has expired",
                check: "certificate_expiry",
                subject: CERTIFICATE_FILE,
                also: &["certificate_chain"],
                breaks: |site| site.host().write(CERTIFICATE_FILE, expired()?),
                mend: Mend::By("renew it", |site, _| renew(site)),
                tidy,
            },
            Case {
                name: "the intermediate certificate is missing",
                check: "certificate_chain",
                subject: CERTIFICATE_FILE,
                also: &[],
                breaks: |site| {
                    let (root, middle, leaf) = chain()?;
                    site.host().write("/run/ca.pem", root)?;
                    site.host().write("/run/intermediate.pem", middle)?;
                    site.host().write(CERTIFICATE_FILE, leaf)
                },
                mend: Mend::By("append the certificate of the issuer", |site, line| {
                    ensure!(line.found.contains("Intermediate of the lab"), "{line:?}");
                    site.script(&format!("cat /run/intermediate.pem >>{CERTIFICATE_FILE}"))
                }),
                tidy,
            },
        ],
    )
}

/// Paths of the files of `[admin]` in these set-ups.
const ADMIN_CERTIFICATE: &str = "/run/lb/tls/admin.pem";
const TOKEN: &str = "/run/lb/token";
const OPERATORS: &str = "/run/lb/tls/operators-ca.pem";

#[test]
fn files_of_the_status_page() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings {
        admin_more: "certificate = \"/run/lb/tls/admin.pem\"\ntoken_file = \"/run/lb/token\"\n\
                     client_authorities = [\"/run/lb/tls/operators-ca.pem\"]",
        ..Settings::of(&lab)
    };
    let mut site = Site::with(lab, settings)?;
    certify_admin(&site)?;
    let authority = site.lab.authority.certificate_pem();
    site.host().write(OPERATORS, authority)?;
    site.script(&format!("(umask 077 && openssl rand -hex 32 >{TOKEN})"))?;
    case::all(
        &mut site,
        &[
            Case {
                name: "the certificate of the status page is missing",
                check: "certificate",
                subject: ADMIN_CERTIFICATE,
                also: &[],
                breaks: |site| site.script(&format!("rm {ADMIN_CERTIFICATE}")),
                mend: Mend::By("correct `admin.certificate`", |site, _| certify_admin(site)),
                tidy,
            },
            Case {
                name: "others can read the key of the status page",
                check: "certificate",
                subject: ADMIN_CERTIFICATE,
                also: &[],
                breaks: |site| site.script(&format!("chmod 644 {ADMIN_CERTIFICATE}")),
                mend: Mend::Run("chmod 600"),
                tidy,
            },
            Case {
                name: "others can read the operator token",
                check: "private_file",
                subject: TOKEN,
                also: &[],
                breaks: |site| site.script(&format!("chmod 640 {TOKEN}")),
                mend: Mend::Run("chmod 600"),
                tidy,
            },
            Case {
                name: "the operator token is too short",
                check: "private_file",
                subject: TOKEN,
                also: &[],
                breaks: |site| site.script(&format!("echo secret >{TOKEN}")),
                mend: Mend::Run("openssl rand -hex 32"),
                tidy,
            },
            Case {
                name: "the authority of the operators is missing",
                check: "client_authorities",
                subject: OPERATORS,
                also: &[],
                breaks: |site| site.script(&format!("rm {OPERATORS}")),
                mend: Mend::By("copy the certificate of the authority to", |site, _| {
                    let authority = site.lab.authority.certificate_pem();
                    site.host().write(OPERATORS, authority)
                }),
                tidy,
            },
        ],
    )
}

fn certify_admin(site: &Site) -> Result<()> {
    let certificate = site.lab.authority.certify("lb-a.lab.example")?;
    site.host().write(ADMIN_CERTIFICATE, certificate.pem())
}

fn renew(site: &Site) -> Result<()> {
    let certificate = site.lab.authority.certify(SITE)?;
    site.host().write(CERTIFICATE_FILE, certificate.pem())
}

fn params(ago: u64, lasting: u64) -> Result<CertificateParams> {
    const DAY: u64 = 24 * 60 * 60;
    let mut params = CertificateParams::new(vec![SITE.to_owned()])?;
    let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH)?;
    params.not_before = now - Duration::from_secs(ago * DAY);
    params.not_after = params.not_before + Duration::from_secs(lasting * DAY);
    Ok(params)
}

/// Returns a certificate that expired ten days ago, and its key, as PEM.
fn expired() -> Result<String> {
    let key = KeyPair::generate()?;
    let certificate = params(100, 90)?.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

/// Returns, as PEM, the certificates of a root and of an intermediate authority, and a certificate
/// with its key that the intermediate authority issued. That certificate names the URL of its
/// issuer's certificate, as those of public authorities do.
fn chain() -> Result<(String, String, String)> {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = CertifiedIssuer::self_signed(authority("Root of the lab"), KeyPair::generate()?)?;
    let middle = authority("Intermediate of the lab");
    let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate()?, &root)?;
    let mut leaf = params(1, 90)?;
    // The extension that gives the URL of the issuer's certificate, in DER: SEQUENCE { SEQUENCE {
    // OID id-ad-caIssuers, [6] "http:/" } }
    let access = b"\x30\x14\x30\x12\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x06http:/";
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    leaf.custom_extensions
        .push(CustomExtension::from_oid_content(&oid, access.to_vec()));
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &middle)?.pem() + &key.serialize_pem();
    Ok((root.pem(), middle.pem(), leaf))
}
