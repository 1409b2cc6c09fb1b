//! Tests of `lb doctor` on a host with a running agent.

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings},
};

use crate::{
    case::{self, Case, Mend, tidy},
    site::Site,
};

#[test]
fn beside_an_agent() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let mut site = Site::with(lab, settings)?;
    site.agent = Some(Agent::start_as_unit(site.host())?.quiet());
    case::all(
        &mut site,
        &[
            Case {
                name: "forwarding was switched off",
                check: "forwarding",
                subject: "eth0",
                also: &[],
                breaks: |site| site.script("sysctl -qw net.ipv4.conf.eth0.forwarding=0"),
                mend: Mend::Run("sysctl -w net.ipv4.conf.eth0.forwarding=1"),
                tidy,
            },
            Case {
                name: "the list of reserved ports was overwritten",
                check: "reserved_ports",
                subject: "",
                also: &[],
                breaks: |site| site.script("sysctl -qw net.ipv4.ip_local_reserved_ports=8080"),
                mend: Mend::Run("sysctl -w net.ipv4.ip_local_reserved_ports="),
                tidy,
            },
            Case {
                name: "the folder of the socket belongs to another user",
                check: "folder",
                subject: "/run/lb",
                also: &[],
                breaks: |site| site.script("chown 0:0 /run/lb && chmod 755 /run/lb"),
                mend: Mend::Run("chown nobody:nogroup /run/lb"),
                tidy,
            },
            Case {
                name: "the configuration has a service that the agent does not know yet",
                check: "port",
                subject: "service app",
                also: &[],
                breaks: |site| {
                    site.settings = site.settings.clone().with_app("");
                    site.configure()?;
                    site.script(&format!("chown 65534:65534 {CONFIG_FILE}"))
                },
                mend: Mend::Run("lb reload"),
                tidy,
            },
        ],
    )
}

#[test]
fn an_agent_with_few_files() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let mut site = Site::with(lab, settings)?;
    site.agent = Some(Agent::start(&site.lab, &site.settings)?.quiet());
    case::all(
        &mut site,
        &[Case {
            name: "the agent may open too few files",
            check: "open_files",
            subject: "agent",
            also: &[],
            breaks: |site| site.script("prlimit --pid $(pidof lb) --nofile=1024:"),
            mend: Mend::By("`LimitNOFILE=1048576`", |site, _| {
                site.script("prlimit --pid $(pidof lb) --nofile=16384:")
            }),
            tidy,
        }],
    )
}

#[test]
fn pins_that_the_next_agent_would_refuse() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let mut site = Site::with(lab, settings)?;
    Agent::start(&site.lab, &site.settings)?.quiet().sigkill()?;
    case::all(
        &mut site,
        &[Case {
            name: "max_connections was changed after an agent ended",
            check: "pinned_maps",
            subject: "/sys/fs/bpf/lb",
            also: &[],
            breaks: |site| {
                site.settings.more = "[dataplane]\nmax_connections = 1000000".to_owned();
                site.configure()
            },
            mend: Mend::Run("lb unload --pin-path"),
            tidy,
        }],
    )?;
    let report = site.doctor.examine(site.host())?;
    ensure!(report.line("xdp_program", "eth0")?.found.contains("none"));
    Ok(())
}
