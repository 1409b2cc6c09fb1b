//! Tracks one network interface of this host and the XDP program on it.

use std::{path::PathBuf, time::Duration};

use aya::programs::ProgramInfo;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{super::Error, Look, Report, Reports, What};
use crate::netlink::{GROUP_LINK, News, Rtnetlink, XdpProgram};

/// Interval at which the interface is read. The kernel notifies of a lost carrier, too, but at most
/// once a second for all interfaces together (net/core/link_watch.c): if two interfaces fail, the
/// second notification comes late.
const INTERVAL: Duration = Duration::from_millis(100);
/// The XDP program is checked once for this number of reads of the interface.
const PROGRAM_EVERY: u32 = 10;

/// Checks one network interface of this host and the XDP program on it.
pub(super) struct InterfaceMonitor {
    name: String,
    /// Path of the pin of the XDP program that should be on the interface.
    program: PathBuf,
    kernel: Rtnetlink,
    news: News,
    /// Number of reads of the interface until the XDP program is checked next.
    until_program: u32,
    /// The last report about the interface: another one is sent only when the state differs from
    /// it.
    last_report: Option<Result<(), String>>,
}

impl InterfaceMonitor {
    pub(super) fn open(name: &str, program: PathBuf) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            let sentence =
                format!("cannot subscribe to the kernel's notifications of {name}: {error}");
            Error::new(sentence)
        };
        Ok(Self {
            name: name.to_owned(),
            program,
            kernel: Rtnetlink::open().map_err(failed)?,
            news: News::subscribe(&[GROUP_LINK]).map_err(failed)?,
            until_program: 0,
            last_report: None,
        })
    }

    /// Reports on the interface and its XDP program until the receiver of the reports is dropped.
    pub(super) async fn watch(mut self, reports: Reports) {
        let mut ticks = interval_at(Instant::now(), INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let wanted = tokio::select! {
                biased;
                news = self.news.next() => self.hear(news, &reports),
                _ = ticks.tick() => self.look(&reports),
            };
            if !wanted {
                return;
            }
        }
    }

    /// Reports what the kernel's notifications say about this interface. Returns whether the
    /// receiver of the reports still exists.
    fn hear(&mut self, news: Option<Vec<RouteNetlinkMessage>>, reports: &Reports) -> bool {
        let Some(news) = news else {
            return self.look(reports);
        };
        for one in news {
            let heard = match one {
                RouteNetlinkMessage::NewLink(link) if self.is_ours(&link) => carries(&link),
                RouteNetlinkMessage::DelLink(link) if self.is_ours(&link) => {
                    Err("the interface was removed".to_owned())
                }
                _ => continue,
            };
            if !self.report_link(heard, reports) {
                return false;
            }
        }
        true
    }

    fn is_ours(&self, link: &LinkMessage) -> bool {
        let named = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::IfName(name) => *name == self.name,
            _ => false,
        };
        link.attributes.iter().any(named)
    }

    fn look(&mut self, reports: &Reports) -> bool {
        match self.ask() {
            Ok(link) => {
                self.report_link(carries(&link), reports) && self.look_at_program(&link, reports)
            }
            Err(error) => self.report_link(Err(error), reports),
        }
    }

    fn ask(&mut self) -> Result<LinkMessage, String> {
        let index = nix::net::if_::if_nametoindex(self.name.as_str());
        let index = index.map_err(|_errno| "there is no such interface".to_owned())?;
        let mut wanted = LinkMessage::default();
        wanted.header.index = index;
        wanted.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        match self.kernel.one(RouteNetlinkMessage::GetLink(wanted)) {
            Ok(RouteNetlinkMessage::NewLink(link)) => Ok(link),
            Ok(_) => Err("the kernel's answer does not describe an interface".to_owned()),
            Err(error) => Err(format!("cannot read its state from the kernel: {error}")),
        }
    }

    fn report_link(&mut self, heard: Result<(), String>, reports: &Reports) -> bool {
        if self.last_report.as_ref() == Some(&heard) {
            return true;
        }
        self.last_report = Some(heard.clone());
        let what = What::Interface(self.name.clone());
        send(
            reports,
            what,
            heard.map(|()| "up, with a carrier".to_owned()),
        )
    }

    fn look_at_program(&mut self, link: &LinkMessage, reports: &Reports) -> bool {
        if let Some(rest) = self.until_program.checked_sub(1) {
            self.until_program = rest;
            return true;
        }
        self.until_program = PROGRAM_EVERY - 1;
        let what = What::Xdp(self.name.clone());
        send(reports, what, self.judge_program(link))
    }

    fn judge_program(&self, link: &LinkMessage) -> Result<String, String> {
        let Some(program) = XdpProgram::of(link) else {
            let found = "not attached: restart lb to attach it (`systemctl restart lb`)";
            return Err(found.to_owned());
        };
        match ProgramInfo::from_pin(&self.program) {
            Ok(pinned) if pinned.id() != program.id => {
                Err("a program other than lb's is attached: `bpftool net` shows it".to_owned())
            }
            // If the pin of the agent's program cannot be read, any program on the interface is
            // accepted.
            Ok(_) | Err(_) => Ok(format!("attached, {}", program.mode.as_str())),
        }
    }
}

fn send(reports: &Reports, what: What, found: Result<String, String>) -> bool {
    let (well, look) = match found {
        Ok(_) => (true, Look::Succeeded),
        Err(_) => (false, Look::Failed),
    };
    let (Ok(message) | Err(message)) = found;
    let report = Report {
        what,
        well,
        look,
        message,
    };
    reports.send(report).is_ok()
}

/// Returns an error if the interface cannot carry packets: it is not up, or has no carrier.
fn carries(link: &LinkMessage) -> Result<(), String> {
    let flags = link.header.flags;
    let sentence = if !flags.contains(LinkFlags::Up) {
        "it is down: `ip link set` brings it up"
    } else if !flags.contains(LinkFlags::LowerUp) {
        "it has no carrier: check the cable and the device at its other end"
    } else if !flags.contains(LinkFlags::Running) {
        "it has a carrier, but is not ready to carry packets"
    } else {
        return Ok(());
    };
    Err(sentence.to_owned())
}
