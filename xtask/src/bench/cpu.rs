//! Reads the CPU time of a process and its descendants.

use std::{collections::HashMap, fs, time::Duration};

/// Number of ticks per second in `/proc/PID/stat` (`USER_HZ`), which is 100 on every architecture.
const TICKS_A_SECOND: u32 = 100;

/// Returns the user and system time of the process with the ID `root` and of its living
/// descendants, including that of descendants that have exited and were waited for.
pub(crate) fn of_tree(root: u32) -> Duration {
    let processes = processes();
    let ticks: u32 = processes
        .keys()
        .filter(|pid| descends(**pid, root, &processes))
        .map(|pid| processes[pid].ticks)
        .sum();
    Duration::from_secs(1) * ticks / TICKS_A_SECOND
}

struct Process {
    parent: u32,
    ticks: u32,
}

fn processes() -> HashMap<u32, Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A process that ends while it is being read is left out.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse(&stat)?))
        })
        .collect()
}

/// Parses the content of `/proc/PID/stat`. The process's name, in parentheses, may contain spaces;
/// proc(5) numbers the fields after the name from 3.
fn parse(stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
    Some(Process {
        parent: field(4)?,
        ticks: field(14)? + field(15)? + field(16)? + field(17)?,
    })
}

fn descends(pid: u32, root: u32, processes: &HashMap<u32, Process>) -> bool {
    let mut at = pid;
    while at != root {
        match processes.get(&at) {
            Some(process) if process.parent != 0 => at = process.parent,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 0 20 0 1 0 5 6 7";
        let process = parse(stat).expect("a stat line");
        assert_eq!((process.parent, process.ticks), (7, 123));
    }

    #[test]
    fn grandchildren_count_and_strangers_do_not() {
        let process = |parent| Process { parent, ticks: 1 };
        let processes = HashMap::from([
            (1, process(0)),
            (2, process(1)),
            (3, process(2)),
            (9, process(1)),
        ]);
        assert!(descends(3, 2, &processes));
        assert!(!descends(9, 2, &processes));
    }
}
