//! The packages: built twice, installed, upgraded under traffic, downgraded, removed and purged.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab, Process,
    agent::{CERTIFICATE_FILE, Metrics, Settings, binary},
    debian::{Debian, said},
    load::{Load, Plan, Reuse},
    topology::SITE,
    wait,
};
use nix::sys::signal::Signal;

/// Requests per second that an upgrade must not disturb.
const RATE: f64 = 200.0;

/// Time limit for an agent to serve, or to take over from another process in an upgrade.
const SOON: Duration = Duration::from_secs(30);

/// Time limit for the old process of an upgrade to end: each of its connections ends after one more
/// request.
const ENDING: Duration = Duration::from_secs(30);

/// Path of the certificate file in the Debian system in which the package is installed.
const CERTIFICATE: &str = "/etc/lb/tls/site.pem";

#[test]
fn two_builds_from_one_binary_are_identical() -> Result<()> {
    let again = package("0.1.0", "again")?;
    let (one, other) = (digests(&built("0.1.0")?)?, digests(&again)?);
    ensure!(one.len() == 5, "{one:?}");
    ensure!(one == other, "{one:#?}\n{other:#?}");
    Ok(())
}

#[test]
fn an_installation_without_a_configuration_starts_nothing_and_says_what_is_next() -> Result<()> {
    let lab = Lab::raise()?;
    let debian = Debian::raise(lab.lb_a())?;
    let before = debian.files()?;
    let said = debian.install(&deb("0.1.0")?)?;
    ensure!(
        said.contains("lb check && systemctl enable --now lb") && said.contains("lb doctor"),
        "{said}"
    );
    let check = debian.attempt("lb check")?;
    ensure!(
        check.status.code() == Some(2),
        "{}",
        lab::debian::said(&check)
    );
    ensure!(processes(&lab)?.is_empty(), "something was started");
    debian.script(
        "systemd-analyze verify --man=no /usr/lib/systemd/system/lb.service\n\
         getent passwd lb\n\
         test \"$(stat -c '%U %a' /etc/lb/tls)\" = 'lb 700'\n\
         test ! -e /etc/systemd/system/multi-user.target.wants/lb.service\n\
         dpkg --verify lb\n\
         zcat /usr/share/man/man1/lb-status.1.gz | grep -q 'lb\\\\-status'\n\
         bash -n /usr/share/bash-completion/completions/lb",
    )?;
    debian.script("dpkg --purge lb")?;
    let left: Vec<_> = debian.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "purged, it left {left:#?}");
    ensure!(
        !debian.attempt("getent passwd lb")?.status.success(),
        "the user is left"
    );
    Ok(())
}

#[test]
fn a_unit_whose_configuration_is_valid_is_enabled_and_one_that_was_disabled_is_not() -> Result<()> {
    let lab = Lab::raise()?;
    let debian = Debian::raise(lab.lb_a())?;
    let is_enabled =
        || Ok::<_, anyhow::Error>(debian.attempt("systemctl is-enabled lb")?.status.success());
    debian.script("mkdir /etc/lb")?;
    debian.write("/etc/lb/lb.toml", &plain(&lab), 0o644)?;
    debian.script("cp /etc/lb/lb.toml /run/lb.toml")?;
    debian.install(&deb("0.1.0")?)?;
    ensure!(is_enabled()?, "a valid configuration was there");
    // The package is removed and installed again: the configuration and the enabled unit remain.
    debian.script("dpkg --remove lb; cmp /run/lb.toml /etc/lb/lb.toml")?;
    debian.install(&deb("0.1.0")?)?;
    ensure!(is_enabled()?, "it was before its removal");
    debian.script("systemctl disable lb")?;
    debian.install(&deb("0.1.1")?)?;
    ensure!(!is_enabled()?, "an administrator had disabled it");
    debian.script("cmp /run/lb.toml /etc/lb/lb.toml")?;
    Ok(())
}

#[test]
fn an_upgrade_and_a_downgrade_lose_no_request_and_a_removal_keeps_what_is_the_users() -> Result<()>
{
    let lab = Lab::raise()?;
    let debian = Debian::raise(lab.lb_a())?;
    let before = debian.files()?;
    debian.install(&deb("0.1.0")?)?;
    configure(&lab, &debian)?;
    let agent = debian.start_unit()?;
    wait_until_served(&lab)?;

    let (loads, began) = (loads(&lab)?, Instant::now());
    wait::until_true("requests", SOON, || {
        Ok(loads.iter().all(|load| load.done() > 100))
    })?;
    for version in ["0.1.1", "0.1.0"] {
        let earlier = processes(&lab)?;
        let said = debian.install(&deb(version)?)?;
        ensure!(said.contains("has taken over"), "{said}");
        let shown = debian.script("dpkg-query -W -f='${Version}' lb")?;
        ensure!(shown == version, "{shown} is installed, not {version}");
        wait::until_true("one process, of the installed binary", ENDING, || {
            let now = processes(&lab)?;
            Ok(now.len() == 1 && now != earlier && runs_installed(&lab, &debian, &now[0])?)
        })?;
        wait_until_served(&lab)?;
    }
    let took = began.elapsed();
    let mut answered = 0;
    for load in loads {
        let report = load.stop()?;
        report.all_answered()?;
        answered += report.answers.len();
    }
    let rate = answered as f64 / took.as_secs_f64();
    println!("{answered} requests in {took:?}, {rate:.0} per second, 0 failed");
    ensure!(rate >= RATE, "only {rate:.0} requests per second");

    let refused = debian.attempt("dpkg --remove lb")?;
    ensure!(
        !refused.status.success() && said(&refused).contains("the agent runs"),
        "{}",
        said(&refused)
    );
    wait_until_served(&lab)?;
    end(&lab, &agent)?;
    remove_and_purge(&debian)?;
    let left: Vec<_> = debian.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "purged, it left {left:#?}");
    Ok(())
}

#[test]
fn a_version_that_cannot_start_leaves_the_earlier_one_serving_and_is_installed() -> Result<()> {
    let lab = Lab::raise()?;
    let debian = Debian::raise(lab.lb_a())?;
    debian.install(&deb("0.1.0")?)?;
    configure(&lab, &debian)?;
    let agent = debian.start_unit()?;
    wait_until_served(&lab)?;
    let earlier = processes(&lab)?;
    debian.script("sed -i s/round_robin/round_robbing/ /etc/lb/lb.toml")?;
    let said = debian.install(&deb("0.1.1")?)?;
    for part in [
        "agent of the earlier version",
        "round_robbing",
        "lb upgrade",
    ] {
        ensure!(said.contains(part), "{part} is not in {said}");
    }
    ensure!(processes(&lab)? == earlier, "another process was started");
    wait_until_served(&lab)?;
    debian.script("sed -i s/round_robbing/round_robin/ /etc/lb/lb.toml; lb upgrade")?;
    end(&lab, &agent)
}

fn remove_and_purge(debian: &Debian) -> Result<()> {
    debian.script(&format!(
        "touch /var/lib/lb/account.json /var/log/lb/access.log\n\
         test -e /sys/fs/bpf/lb/maps\n\
         dpkg --remove lb\n\
         test ! -e /usr/bin/lb\n\
         test ! -e /sys/fs/bpf/lb/maps\n\
         test -e {CERTIFICATE}\n\
         test -e /etc/lb/lb.toml\n\
         test -e /var/lib/lb/account.json\n\
         test -e /var/log/lb/access.log\n\
         dpkg --purge lb"
    ))?;
    Ok(())
}

#[test]
fn the_rpm_has_the_same_files_and_scriptlets_that_a_shell_accepts() -> Result<()> {
    let folder = built("0.1.0")?;
    let rpm = only(&folder, ".rpm")?;
    let query = |options: &[&str]| text(Command::new("rpm").arg("-qp").args(options).arg(&rpm));
    let requires = query(&["--requires"])?;
    for needed in [
        "libc.so.6(GLIBC_",
        "/bin/sh",
        "systemd",
        "/usr/sbin/useradd",
    ] {
        ensure!(
            requires.contains(needed),
            "{needed} is not among {requires}"
        );
    }
    let listed = query(&["--list"])?;
    for file in [
        "/usr/bin/lb",
        "/etc/lb/lb.toml",
        "/usr/lib/systemd/system/lb.service",
        "/usr/lib/sysusers.d/lb.conf",
        "/usr/share/man/man1/lb-run.1.gz",
        "/usr/share/zsh/site-functions/_lb",
        "/usr/share/licenses/lb/LICENSE-MIT",
        "/usr/share/doc/lb/sbom.cdx.json",
    ] {
        ensure!(
            listed.lines().any(|line| line == file),
            "no {file} in {listed}"
        );
    }
    let kept = query(&["--configfiles"])?;
    ensure!(kept.contains("/etc/lb/lb.toml"), "{kept}");
    for (script, calls) in [
        ("POSTIN", "upgrade_agent"),
        ("PREUN", "unload"),
        ("POSTUN", "systemctl daemon-reload"),
    ] {
        let scriptlet = query(&["--queryformat", &format!("%{{{script}}}")])?;
        let mut lines = scriptlet.lines();
        ensure!(
            lines.any(|line| line.trim() == calls),
            "{script}: {scriptlet}"
        );
        let file = folder.join(format!("../{script}.sh"));
        fs::write(&file, &scriptlet)?;
        text(Command::new("sh").arg("-n").arg(&file))?;
    }
    let unpacked = folder.join("../rpm");
    drop(fs::remove_dir_all(&unpacked));
    fs::create_dir_all(&unpacked)?;
    let unpack = format!("rpm2cpio {} | cpio --quiet -idm", rpm.display());
    text(
        Command::new("sh")
            .args(["-ec", &unpack])
            .current_dir(&unpacked),
    )?;
    let lb = unpacked.join("usr/bin/lb");
    let version = text(Command::new(lb).arg("--version"))?;
    ensure!(version.starts_with("lb "), "{version}");
    Ok(())
}

/// Writes the configuration and certificate for the test network as an administrator would.
fn configure(lab: &Lab, debian: &Debian) -> Result<()> {
    let toml = Settings::of(lab)
        .toml()
        .replace(CERTIFICATE_FILE, CERTIFICATE);
    debian.write("/etc/lb/lb.toml", &toml, 0o644)?;
    debian.write(CERTIFICATE, &lab.authority.certify(SITE)?.pem(), 0o600)?;
    debian.script(&format!("chown lb:lb {CERTIFICATE}\nlb check"))?;
    Ok(())
}

/// Returns a configuration that is valid without a certificate: its HTTPS services use HTTP.
fn plain(lab: &Lab) -> String {
    let toml = Settings::of(lab).toml();
    let lines = toml
        .lines()
        .filter(|line| !line.starts_with("certificates"));
    let text: Vec<_> = lines.collect();
    text.join("\n")
        .replace("mode = \"https\"", "mode = \"http\"")
}

/// Starts three loads: new connections that the kernel forwards, and new and persistent HTTPS
/// connections that the agent serves, each with somewhat less than 100 requests per second.
fn loads(lab: &Lab) -> Result<Vec<Load>> {
    let https = Plan::https(lab)?;
    let kept = Plan {
        reuse: Reuse::Always,
        ..https.clone()
    };
    let start = |plan| {
        let plan = Plan {
            connections: 4,
            pause: Duration::from_millis(35),
            ..plan
        };
        plan.start(&lab.client)
    };
    Ok([Plan::http(), https, kept].map(start).into())
}

/// Returns the process ids of the agents on `lb-a`.
fn processes(lab: &Lab) -> Result<Vec<String>> {
    let found = lab.lb_a().script("pgrep -x lb || true")?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// Whether a process runs the file that is installed now, and not a file that an upgrade has
/// replaced.
fn runs_installed(lab: &Lab, debian: &Debian, process: &str) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let running = fs::metadata(lab.lb_a().path(&format!("/proc/{process}/exe")))?;
    Ok(running.ino() == fs::metadata(debian.path("/usr/bin/lb"))?.ino())
}

fn wait_until_served(lab: &Lab) -> Result<()> {
    wait::until_true("an agent with all backends up", SOON, || {
        let scrape = "curl --silent --max-time 5 http://127.0.0.1:9145/metrics || true";
        let metrics = Metrics::parse(&lab.lb_a().script(scrape)?)?;
        let up = metrics.samples("lb_backend_up", &[]);
        Ok(!up.is_empty() && up.iter().all(|sample| sample.value == 1.0))
    })
    .with_context(|| lab.lb_a().read("/run/log/lb.log").unwrap_or_default())
}

/// Ends the agent process that runs now, as systemd would end the unit's main process.
fn end(lab: &Lab, first: &Process) -> Result<()> {
    drop(first.signal(Signal::SIGTERM));
    lab.lb_a().script("pkill -TERM -x lb || true")?;
    wait::until_true("no agent", ENDING, || Ok(processes(lab)?.is_empty()))
}

/// The packages of the two versions, which the tests share.
static BUILT: LazyLock<Result<[PathBuf; 2], String>> = LazyLock::new(|| {
    let build = |version| package(version, version).map_err(|error| format!("{error:#}"));
    Ok([build("0.1.0")?, build("0.1.1")?])
});

fn built(version: &str) -> Result<PathBuf> {
    let folders = BUILT.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let folder = folders.iter().find(|folder| folder.ends_with(version));
    folder.cloned().context("no such version")
}

fn deb(version: &str) -> Result<PathBuf> {
    only(&built(version)?, ".deb")
}

/// Builds the packages of the test's binary with this version, and returns their folder.
fn package(version: &str, folder: &str) -> Result<PathBuf> {
    let ours = env::current_exe()?;
    let profile = (ours.ancestors().nth(2)).context("this test is in target/PROFILE/deps")?;
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("packages")
        .join(folder);
    text(
        Command::new(profile.join("xtask"))
            .args(["package", "--quick", "--release", version, "--binary"])
            .arg(binary()?)
            .arg("--out")
            .arg(&out),
    )?;
    Ok(out)
}

fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    let mut paths = entries.iter().map(fs::DirEntry::path);
    paths
        .find(|path| path.to_string_lossy().ends_with(ending))
        .with_context(|| format!("no {ending} in {}", folder.display()))
}

/// Returns the SHA-256 of each file of a folder, by name.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let sums = text(
        Command::new("sh")
            .args(["-ec", "sha256sum *"])
            .current_dir(folder),
    )?;
    let pair = |line: &str| {
        let (sum, name) = line.split_once("  ").context("a line of sha256sum")?;
        Ok((name.to_owned(), sum.to_owned()))
    };
    sums.lines().map(pair).collect()
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}
