//! Tests of `lb doctor` on a host without a running agent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{CONFIG_FILE, Settings},
    host::cable::{End, accept_xdp_frames},
    topology::Wiring,
    wait,
};

use crate::{
    case::{self, Case, Mend, tidy},
    report::Line,
    site::Site,
};

const SOON: Duration = Duration::from_secs(10);

fn site() -> Result<Site> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    Site::with(lab, settings)
}

#[test]
fn kernel_and_interfaces() -> Result<()> {
    case::all(
        &mut site()?,
        &[
            Case {
                name: "the configuration has an unknown key",
                check: "configuration",
                subject: CONFIG_FILE,
                also: &[],
                breaks: |site| {
                    let text = site.settings.toml().replace("balance =", "balanse =");
                    site.host().write(CONFIG_FILE, text)
                },
                mend: Mend::By("correct the file", |site, line| {
                    ensure!(line.found.contains("balanse"), "{line:?}");
                    site.configure()
                }),
                tidy,
            },
            Case {
                name: "no BPF file system is mounted",
                check: "bpf_file_system",
                subject: "/sys/fs/bpf/lb",
                also: &[],
                breaks: |site| site.script("umount /sys/fs/bpf"),
                mend: Mend::Run("mount -t bpf"),
                tidy,
            },
            Case {
                name: "the interface does not exist",
                check: "interface",
                subject: "eth",
                also: &["route"],
                breaks: |site| {
                    site.settings = site.settings.clone().on(&["eth7"]);
                    site.configure()
                },
                mend: Mend::By("`node.interface` to one of: eth0", |site, _| {
                    site.settings = site.settings.clone().on(&["eth0"]);
                    site.configure()
                }),
                tidy,
            },
            Case {
                name: "the interface is down",
                check: "interface",
                subject: "eth0",
                also: &["route", "backend"],
                breaks: |site| site.script("ip link set eth0 down"),
                mend: Mend::Run("ip link set dev eth0 up"),
                tidy: |site| {
                    site.script(
                        "ip route replace default via 172.31.0.1\n\
                         ip route replace 10.0.0.0/24 via 172.31.0.2",
                    )
                },
            },
            Case {
                name: "the cable is cut",
                check: "interface",
                subject: "eth0",
                also: &["route", "backend"],
                breaks: |site| site.host().cut(),
                mend: Mend::By("or the other end", |site, _| {
                    site.host().restore()?;
                    let host = site.host().clone();
                    wait::until_true("the carrier", SOON, || {
                        Ok(host.read("/sys/class/net/eth0/carrier")?.trim() == "1")
                    })
                }),
                tidy,
            },
            Case {
                name: "another program has the XDP hook",
                check: "xdp_program",
                subject: "eth0",
                also: &[],
                breaks: |site| accept_xdp_frames(End::new(site.host(), "eth0")),
                mend: Mend::Run("ip link set dev eth0 xdp off"),
                tidy: |site| site.script("rm /sys/fs/bpf/eth0"),
            },
            Case {
                name: "native XDP is required of a driver that has none",
                check: "xdp_mode",
                subject: "mv0",
                also: &[],
                breaks: |site| {
                    site.script(
                        "ip link add mv0 link eth0 type macvlan mode bridge\nip link set mv0 up",
                    )?;
                    site.settings = site.settings.clone().on(&["eth0", "mv0"]);
                    site.settings.more = "[dataplane]\nxdp_mode = \"native\"".to_owned();
                    site.configure()
                },
                mend: Mend::By("`xdp_mode = \"generic\"` in [dataplane]", |site, _| {
                    site.settings.more = "[dataplane]\nxdp_mode = \"generic\"".to_owned();
                    site.configure()
                }),
                tidy: |site| {
                    site.settings.more.clear();
                    site.settings = site.settings.clone().on(&["eth0"]);
                    site.script("ip link del mv0")?;
                    site.configure()
                },
            },
            Case {
                name: "native XDP is required, and the MTU is that of AWS",
                check: "mtu",
                subject: "big0",
                also: &[],
                breaks: |site| {
                    site.script(
                        "ip link add big0 type veth peer name big1\n\
                         ip link set big0 mtu 9001 up\nip link set big1 mtu 9001 up",
                    )?;
                    site.settings = site.settings.clone().on(&["eth0", "big0"]);
                    site.settings.more = "[dataplane]\nxdp_mode = \"native\"".to_owned();
                    site.configure()
                },
                mend: Mend::Run("ip link set dev big0 mtu 3498"),
                tidy: |site| {
                    site.settings.more.clear();
                    site.settings = site.settings.clone().on(&["eth0"]);
                    site.script("ip link del big0")?;
                    site.configure()
                },
            },
            Case {
                name: "web servers leave checksums to hardware that does not exist",
                check: "checksums",
                subject: "eth0",
                also: &[],
                breaks: |site| {
                    // The checksum offload is switched on at the hosts that forward the packets
                    // too, because their kernel would complete the checksum of a packet that leaves
                    // by a virtual interface without the offload.
                    let lab = &site.lab;
                    let webs = lab.webs.iter().map(lab::web::Web::host);
                    let others = [&lab.router, lab.internet_gateway.host(), lab.lb_a()];
                    for host in webs.chain(others) {
                        host.script(
                            "for one in /sys/class/net/*; do\n\
                             ethtool -K ${one##*/} tx on >/dev/null 2>&1 || true\n\
                             done",
                        )?;
                    }
                    Ok(())
                },
                mend: Mend::By("`ethtool -K eth0 tx off tso off gso off`", |site, line| {
                    let command = line.fix.split('`').nth(1).context("no command")?;
                    // On a busy machine a web server may answer too late to be named in the report
                    // of `lb doctor`, so one of them is enough.
                    let named = |web: &lab::web::Web| {
                        let address = web.address().ip().to_string();
                        line.found.contains(&address)
                    };
                    ensure!(site.lab.webs.iter().any(named), "{line:?}");
                    for web in &site.lab.webs {
                        web.host().script(command)?;
                    }
                    Ok(())
                }),
                tidy,
            },
        ],
    )
}

#[test]
fn limits_and_ports() -> Result<()> {
    case::all(
        &mut site()?,
        &[
            Case {
                name: "a capability is missing",
                check: "capabilities",
                subject: "this command",
                also: &[],
                breaks: |site| {
                    site.doctor.wrapper = ["setpriv", "--bounding-set=-net_admin", "--"]
                        .map(str::to_owned)
                        .to_vec();
                    Ok(())
                },
                mend: Mend::By("or with sudo", |site, line| {
                    ensure!(line.found.contains("CAP_NET_ADMIN"), "{line:?}");
                    site.doctor.wrapper.clear();
                    Ok(())
                }),
                tidy,
            },
            Case {
                name: "another process has the port of a service",
                check: "port",
                subject: "service https",
                also: &[],
                breaks: |site| listen(site, "172.31.0.68", 443),
                mend: Mend::Run("kill "),
                tidy,
            },
            Case {
                name: "another process has the admin port, on all addresses",
                check: "port",
                subject: "[admin]",
                also: &[],
                breaks: |site| listen(site, "0.0.0.0", 9145),
                mend: Mend::Run("kill "),
                tidy,
            },
            Case {
                name: "no interface has the address of the services",
                check: "service_address",
                subject: "172.31.0.77",
                also: &[],
                breaks: |site| {
                    site.settings.listen = [172, 31, 0, 77].into();
                    site.configure()
                },
                mend: Mend::Run("ip address add"),
                tidy: |site| {
                    site.settings.listen = [172, 31, 0, 68].into();
                    site.configure()
                },
            },
            Case {
                name: "the disk is full",
                check: "disk_space",
                subject: "/run/acme",
                also: &[],
                breaks: |site| {
                    site.settings.more = "[acme]\nstorage = \"/run/acme\"".to_owned();
                    site.configure()?;
                    site.script(
                        "mkdir -p /run/acme\nmount -t tmpfs -o size=1m tmpfs /run/acme\n\
                         head -c 2000000 /dev/zero >/run/acme/dump 2>/dev/null || true",
                    )
                },
                mend: Mend::By("remove what is not needed", |site, _| {
                    site.script("rm /run/acme/dump")
                }),
                tidy: |site| site.script("umount /run/acme"),
            },
            Case {
                name: "a file is in the place of a folder",
                check: "folder",
                subject: "/run/acme",
                also: &[],
                breaks: |site| site.script("rmdir /run/acme\necho >/run/acme"),
                mend: Mend::By("move /run/acme away", |site, line| {
                    site.script("mv /run/acme /run/acme.old")?;
                    let make = line.fix.split('`').nth(1).context("no command")?;
                    site.script(make)
                }),
                tidy: |site| {
                    site.settings.more.clear();
                    site.configure()
                },
            },
        ],
    )
}

/// Starts a process that occupies a port by listening on an address of the examined host.
fn listen(site: &mut Site, address: &str, port: u16) -> Result<()> {
    let script = format!(
        "import socket, time\ns = socket.create_server((\"{address}\", {port}))\ntime.sleep(600)"
    );
    let process = site.host().spawn("squatter", "python3", &["-c", &script])?;
    site.processes.push(process);
    let host = site.host().clone();
    let wanted = format!(":{port:04X} ");
    wait::until_true("the listener", SOON, || {
        Ok(host.run("cat", &["/proc/net/tcp"])?.contains(&wanted))
    })
}

#[test]
fn routes_and_backends() -> Result<()> {
    case::all(
        &mut site()?,
        &[
            Case {
                name: "a route makes a backend unreachable",
                check: "route",
                subject: "web1",
                also: &["backend"],
                breaks: |site| site.script("ip route add unreachable 10.0.0.6/32"),
                mend: Mend::By("`ip route get 10.0.0.6`", |site, _| {
                    site.script("ip route del unreachable 10.0.0.6/32")
                }),
                tidy,
            },
            Case {
                name: "a web server is not running",
                check: "backend",
                subject: "web2",
                also: &[],
                breaks: |site| site.lab.webs[1].kill(),
                mend: Mend::By("start the server on 10.0.0.7", |site, line| {
                    ensure!(line.found.contains("refused"), "{line:?}");
                    site.lab.webs[1].start()
                }),
                tidy,
            },
            Case {
                name: "a firewall drops the checks of a web server",
                check: "backend",
                subject: "web3",
                also: &[],
                breaks: |site| {
                    let web3 = site.lab.webs[2].host();
                    web3.script(
                        "nft add table inet guard\n\
                         nft 'add chain inet guard input { type filter hook input priority 0; }'\n\
                         nft add rule inet guard input tcp dport 80 drop",
                    )?;
                    Ok(())
                },
                mend: Mend::By(
                    "firewalls and security groups let TCP port 80",
                    |site, _| {
                        site.lab.webs[2]
                            .host()
                            .script("nft delete table inet guard")?;
                        Ok(())
                    },
                ),
                tidy,
            },
            Case {
                name: "the check expects another status",
                check: "backend",
                subject: "web4",
                also: &[],
                breaks: |site| {
                    site.settings.expect = "204-204";
                    site.configure()
                },
                mend: Mend::By("`expect`", |site, line| {
                    ensure!(line.found.contains("status 200"), "{line:?}");
                    site.settings.expect = "200-399";
                    site.configure()
                }),
                tidy,
            },
        ],
    )
}

#[test]
fn a_route_by_an_interface_without_the_program() -> Result<()> {
    let lab = Lab::raise_with(Wiring::TwoInterfaces)?;
    let settings = Settings::of(&lab).on(&["eth0", "eth1"]);
    case::all(
        &mut Site::with(lab, settings)?,
        &[Case {
            name: "the backends are behind an interface without the program",
            check: "route",
            subject: "web1",
            also: &[],
            breaks: |site| {
                site.settings = site.settings.clone().on(&["eth0"]);
                site.configure()
            },
            mend: Mend::By("add eth1 to [node] interfaces", |site, _| {
                site.settings = site.settings.clone().on(&["eth0", "eth1"]);
                site.configure()
            }),
            tidy,
        }],
    )
}

/// The file in which a pool discovers its backends.
const LIST: &str = "/run/lb/backends";

fn list(site: &Site, lines: &str) -> Result<()> {
    site.host().write(LIST, lines)
}

#[test]
fn sources_of_backends() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings {
        backends: Vec::new(),
        more: format!("[pool.discover]\nfile = \"{LIST}\"\n"),
        ..Settings::of(&lab)
    };
    let mut site = Site::with(lab, settings)?;
    list(&site, "10.0.0.6:80\n")?;
    let again: fn(&mut Site, &Line) -> Result<()> = |site, _| list(site, "10.0.0.6:80\n");
    case::all(
        &mut site,
        &[
            Case {
                name: "the file of backends does not exist",
                check: "discovery",
                subject: "pool web",
                also: &[],
                breaks: |site| site.script(&format!("rm {LIST}")),
                mend: Mend::By("correct the file", again),
                tidy,
            },
            Case {
                name: "the file of backends has a line that is not a backend",
                check: "discovery",
                subject: "pool web",
                also: &[],
                breaks: |site| list(site, "10.0.0.6:80\n10.0.0.7\n"),
                mend: Mend::By("correct the file", |site, line| {
                    ensure!(line.found.contains("line 2"), "{line:?}");
                    list(site, "10.0.0.6:80\n10.0.0.7:80\n")
                }),
                tidy,
            },
            Case {
                name: "the file of backends is empty",
                check: "discovery",
                subject: "pool web",
                also: &[],
                breaks: |site| list(site, "# none yet\n"),
                mend: Mend::By("write a line for each backend", again),
                tidy,
            },
        ],
    )
}
