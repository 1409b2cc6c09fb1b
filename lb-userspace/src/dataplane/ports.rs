//! The source ports that NAT may use.

use std::{collections::BTreeSet, fs, ops::RangeInclusive};

use lb_common::limits::PORTS_PER_LINE;

/// Number of ports that remain available to the host's own connections, such as those of health
/// checks and of the HTTP front: the upper end of the kernel's ephemeral range.
const LEFT_TO_THE_HOST: u16 = 8192;

/// The file with the kernel's range of ephemeral ports.
const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The files with the kernel's tables of TCP sockets, for IPv4 and IPv6.
const SOCKETS: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// A set of port numbers, as a bit map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PortSet {
    words: Box<[u64; 1024]>,
}

impl PortSet {
    /// Creates the set of all ports of a range.
    pub(super) fn of(range: &RangeInclusive<u16>) -> Self {
        let mut set = Self {
            words: Box::new([0; 1024]),
        };
        for port in range.clone() {
            set.words[usize::from(port / 64)] |= 1 << (port % 64);
        }
        set
    }

    /// Creates the set of the ports of a range that the host does not need: all but its listening
    /// ports and a part of its ephemeral ports.
    pub(super) fn unused_of(range: &RangeInclusive<u16>) -> Self {
        let mut set = Self::of(range);
        let local = fs::read_to_string(LOCAL_RANGE).unwrap_or_default();
        if let Some(local) = range_of(&local) {
            set.remove_all(host_share(&local));
        }
        let listening = SOCKETS.iter().flat_map(|path| {
            let table = fs::read_to_string(path).unwrap_or_default();
            listening_ports(&table)
        });
        set.remove_all(listening.collect::<BTreeSet<u16>>());
        set
    }

    /// Removes these ports from the set.
    pub(super) fn remove_all(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            self.words[usize::from(port / 64)] &= !(1 << (port % 64));
        }
    }

    /// Returns whether a port is in the set.
    pub(super) fn contains(&self, port: u16) -> bool {
        self.words[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    /// Returns the set in the form in which it is written to the map `ports`.
    pub(super) fn words(&self) -> &[u64; 1024] {
        &self.words
    }

    /// Returns the lines (groups of sixteen consecutive ports) that contain ports of the set: all
    /// from the first to the last such line, except the longest gap between them.
    pub(super) fn lines(&self) -> Lines {
        let per_line = PORTS_PER_LINE as u16;
        let mut lines: Vec<u16> = self
            .ranges()
            .iter()
            .flat_map(|range| range.start() / per_line..=range.end() / per_line)
            .collect();
        lines.dedup();
        let (Some(&first), Some(&last)) = (lines.first(), lines.last()) else {
            return Lines::default();
        };
        let gaps = lines
            .windows(2)
            .map(|pair| (pair[1] - pair[0] - 1, pair[0]));
        let (gap, before) = gaps.max().unwrap_or((0, last));
        Lines {
            first,
            usable: last - first + 1 - gap,
            before_gap: before - first + 1,
            gap,
        }
    }

    /// Returns the ports of the set as ranges, in ascending order.
    pub(super) fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for port in (0..=u16::MAX).filter(|port| self.contains(*port)) {
            match ranges.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(port) => {
                    *last = *last.start()..=port;
                }
                _ => ranges.push(port..=port),
            }
        }
        ranges
    }
}

/// The lines (groups of sixteen consecutive ports) in which NAT may claim source ports. They have
/// at most one gap.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Lines {
    /// The index of the first line of sixteen ports that NAT may use.
    pub(super) first: u16,
    /// Number of lines of sixteen ports that NAT may use, which are those outside the gap.
    pub(super) usable: u16,
    /// Number of lines of sixteen ports that NAT may use before the gap.
    pub(super) before_gap: u16,
    /// Number of lines of sixteen ports in the gap, which NAT may not use.
    pub(super) gap: u16,
}

/// Parses a range of ports in the kernel's notation: `32768 60999`.
fn range_of(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(first..=last)
}

/// Returns the part of the ephemeral range that remains available to the host's own connections.
fn host_share(local: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let first = local.end().saturating_sub(LEFT_TO_THE_HOST - 1);
    first.max(*local.start())..=*local.end()
}

/// Returns the ports of the listening sockets in a table of the kernel, with lines such as
/// `0: 00000000:0050 00000000:0000 0A …`.
fn listening_ports(table: &str) -> Vec<u16> {
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        let (_address, port) = local.rsplit_once(':')?;
        let listens = *state == "0A";
        u16::from_str_radix(port, 16).ok().filter(|_| listens)
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_out_leave_ranges() {
        let mut set = PortSet::of(&(1024..=65_535));
        set.remove_all([1024, 8080, 9000, 9001, 65_535]);
        assert_eq!(set.ranges(), [1025..=8079, 8081..=8999, 9002..=65_534]);
        assert!(!set.contains(8080) && set.contains(8081) && !set.contains(80));
    }

    #[test]
    fn lines_leave_the_longest_gap_out() {
        let mut set = PortSet::of(&(1024..=65_535));
        set.remove_all(host_share(&(32_768..=60_999)));
        set.remove_all(2000..2100);
        let expected = Lines {
            first: 64,
            usable: 4032 - 511,
            before_gap: 52_808 / 16 - 64 + 1,
            gap: 511,
        };
        assert_eq!(set.lines(), expected);
        let range = PortSet::of(&(10_240..=32_767));
        assert_eq!((range.lines().first, range.lines().usable), (640, 1408));
        assert_eq!(range.lines().gap, 0);
    }

    #[test]
    fn the_host_keeps_the_upper_end_of_its_range() {
        assert_eq!(range_of("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(host_share(&(32_768..=60_999)), 52_808..=60_999);
        assert_eq!(host_share(&(60_000..=60_999)), 60_000..=60_999);
    }

    #[test]
    fn listening_sockets_are_told_from_connections() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000
   1: 0100007F:A1B2 0100007F:1F90 01 00000000:00000000
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
";
        assert_eq!(listening_ports(table), [8080, 80]);
    }
}
