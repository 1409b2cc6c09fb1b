use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value};
use tracing_subscriber::{filter::LevelFilter, prelude::*};

use super::{core::Core, sentence::fields_of, *};

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
}

fn line(backend: &str, reason: &str) -> Line {
    let fields = [
        ("pool", "web"),
        ("backend", backend),
        ("from", "up"),
        ("to", "down"),
        ("reason", reason),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    Line {
        message: "backend state changed".to_owned(),
        fields: Map::from_iter(fields),
    }
}

fn down(core: &mut Core, backend: &str, second: u64) -> Event {
    let line = line(backend, "connection refused");
    core.record(Kind::BackendDown, Severity::Warn, line, at(second))
        .clone()
}

fn record(journal: &Journal, backend: &str) {
    let line = line(backend, "connection refused");
    journal.record(Kind::BackendDown, Severity::Warn, line, SystemTime::now());
}

fn all(journal: &Journal) -> Vec<Event> {
    journal.select(&Filter::default()).events
}

fn subjects(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.subject).collect()
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_event_says_what_it_is_about_and_why_in_a_sentence() {
    let event = down(&mut Core::default(), "web1", 0);
    assert_eq!(event.subject, "web/web1");
    assert_eq!(
        event.cause,
        "The backend went from up to down: connection refused"
    );
    assert_eq!(
        (event.message.as_str(), event.count),
        ("backend state changed", 1)
    );
    assert_eq!((event.time, event.last), (at(0), at(0)));
}

#[test]
fn a_backend_that_flaps_fills_no_journal_and_loses_no_count() {
    let mut core = Core::default();
    down(&mut core, "web2", 0);
    for second in 0..10_000 {
        down(&mut core, "web1", second);
    }
    let events: Vec<_> = core.all().cloned().collect();
    assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), 10_001);
    // Six events are recorded at first, then one every ten minutes; the rest count as repetitions.
    assert!((10..=25).contains(&events.len()), "{}", events.len());
    assert_eq!(events[0].subject, "web/web2", "the others are still there");
    let latest = &events[events.len() - 1];
    assert_eq!(latest.last, at(9_999));
    assert!(latest.count > 100 && latest.time < latest.last && latest.id < latest.revision);
}

#[test]
fn an_old_event_makes_room_for_a_new_one() {
    let mut core = Core::default();
    for number in 0..CAPACITY + 3 {
        down(&mut core, &format!("web{number}"), 0);
    }
    let events = core.select(&Filter::default(), at(1));
    assert_eq!(events.len(), CAPACITY);
    assert_eq!(events[0].subject, "web/web3");
}

#[test]
fn a_filter_selects_by_time_kind_number_and_revision() {
    let mut core = Core::default();
    for (backend, second) in [("a", 0), ("b", 10), ("c", 20)] {
        down(&mut core, backend, second);
    }
    core.record(Kind::LinkUp, Severity::Info, Line::default(), at(30));
    let select = |filter: &Filter| {
        let events = core.select(filter, at(30));
        events
            .iter()
            .map(|event| event.subject.clone())
            .collect::<Vec<_>>()
    };
    let kinds = vec![Kind::BackendDown];
    let within_ms = Some(20_000);
    assert_eq!(
        select(&Filter {
            within_ms,
            ..Filter::default()
        }),
        ["web/b", "web/c", "link"]
    );
    assert_eq!(
        select(&Filter {
            kinds: kinds.clone(),
            most: Some(1),
            ..Filter::default()
        }),
        ["web/c"]
    );
    let after = Some(core.all().nth(1).expect("the second").revision);
    assert_eq!(
        select(&Filter {
            after,
            kinds,
            ..Filter::default()
        }),
        ["web/c"]
    );
}

#[test]
fn events_survive_the_process_and_repetitions_are_not_doubled() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lib/events.jsonl");
    let first = Journal::default();
    record(&first, "before-the-file-is-known");
    first.open(&path);
    for _ in 0..20 {
        record(&first, "web1");
    }
    first.close();
    let written = all(&first);
    assert_eq!(written.len(), 7);
    let second = Journal::default();
    second.open(&path);
    // Times are not compared, because the file has them only to the millisecond.
    let brief = |events: &[Event]| -> Vec<_> {
        events
            .iter()
            .map(|it| (it.id, it.revision, it.count, it.cause.clone()))
            .collect()
    };
    assert_eq!(brief(&all(&second)), brief(&written));
    record(&second, "web2");
    let revisions: Vec<_> = all(&second).iter().map(|event| event.revision).collect();
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
    second.close();
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn an_event_is_in_the_file_without_an_orderly_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let journal = Journal::default();
    journal.open(&path);
    record(&journal, "web1");
    wait("the event is written", || {
        subjects(&file::read(&path).expect("read")) == ["web/web1"]
    });
}

#[test]
fn a_torn_line_and_foreign_lines_cost_no_other_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let journal = Journal::default();
    journal.open(&path);
    record(&journal, "web1");
    record(&journal, "web2");
    journal.close();
    let text = fs::read_to_string(&path).expect("read");
    let (first, second) = text.split_once('\n').expect("two lines");
    let torn = &second[..second.len() / 2];
    fs::write(
        &path,
        format!("\0\u{fffd}\n{{\"kind\":\"new\"}}\n{first}\n{torn}"),
    )
    .expect("written");
    let next = Journal::default();
    next.open(&path);
    record(&next, "web3");
    next.close();
    let read = file::read(&path).expect("read");
    assert_eq!(subjects(&read), ["web/web1", "web/web3"]);
    assert_eq!(
        fs::read_to_string(&path).expect("read").lines().count(),
        2,
        "the rest is gone"
    );
}

#[test]
fn the_file_does_not_grow_without_a_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let journal = Journal::default();
    journal.open(&path);
    for number in 0..5 * CAPACITY {
        record(&journal, &format!("web{number}"));
        if number % CAPACITY == 0 {
            let last = format!("web/web{number}");
            wait("it is written", || {
                let read = file::read(&path).expect("read");
                read.last().is_some_and(|event| event.subject == last)
            });
        }
    }
    journal.close();
    let lines = fs::read_to_string(&path).expect("read").lines().count();
    assert!((CAPACITY..=2 * CAPACITY).contains(&lines), "{lines}");
    let next = Journal::default();
    next.open(&path);
    assert_eq!(subjects(&all(&next)), subjects(&all(&journal)));
}

#[test]
fn a_file_that_cannot_be_written_is_a_remark_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    // The paths stand for a full disk, a read-only file system, a pipe without a reader, and a
    // folder.
    for path in [
        Path::new("/dev/full"),
        Path::new("/proc/events.jsonl"),
        &pipe,
        folder.path(),
    ] {
        let journal = Journal::default();
        journal.open(path);
        for _ in 0..3 * CAPACITY {
            record(&journal, "web1");
        }
        wait("the problem is known", || {
            journal.select(&Filter::default()).not_saved.is_some()
        });
        assert_eq!(
            all(&journal).iter().map(|event| event.count).sum::<u64>(),
            3000
        );
        let begin = Instant::now();
        journal.close();
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_marked_line_is_an_event_at_any_level_of_the_log() {
    let journal = Journal::default();
    let quiet = tracing_subscriber::fmt::layer()
        .with_writer(std::io::sink)
        .with_filter(LevelFilter::ERROR);
    let subscriber = tracing_subscriber::registry()
        .with(quiet)
        .with(Layer::of(&journal));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(
            state = "master",
            reason = "exit code 1",
            event = "notify_failed",
            "failed"
        );
        tracing::error!(reason = "not an event", "an ordinary line");
    });
    let events = all(&journal);
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        (event.kind, event.severity),
        (Kind::NotifyFailed, Severity::Info)
    );
    assert_eq!(event.cause, "The notify command failed: exit code 1");
    assert!(!event.fields.contains_key("event"), "{:?}", event.fields);
}

/// Returns the source text of all macros of `tracing` that log an event, from `tracing::` to the
/// end of the statement.
fn marked_lines() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut folders = vec![root.join("lb-userspace/src"), root.join("lb-aws/src")];
    let mut lines = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !path.ends_with("events/tests.rs")
            {
                let text = fs::read_to_string(&path).expect("read");
                for part in text.split("tracing::").skip(1) {
                    let call = part.split(");").next().unwrap_or_default();
                    if let Some((_, word)) = call.split_once("event = \"") {
                        let word = word.split('"').next().unwrap_or_default();
                        lines.push((path.clone(), word.to_owned(), call.to_owned()));
                    }
                }
            }
        }
    }
    lines
}

#[test]
fn each_marked_line_has_the_fields_that_its_sentence_needs_and_each_kind_has_a_line() {
    let lines = marked_lines();
    for (path, word, call) in &lines {
        let kind = Kind::of(word);
        let kind = kind.unwrap_or_else(|| panic!("{}: {word} is no kind", path.display()));
        let (needed, _) = fields_of(kind.sentence());
        let (subject, _) = fields_of(kind.subject());
        for field in needed.into_iter().chain(subject) {
            let words: Vec<_> = call
                .split(|it: char| !it.is_alphanumeric() && it != '_')
                .collect();
            assert!(
                words.contains(&field),
                "{}: no {field} in {call}",
                path.display()
            );
        }
    }
    for kind in Kind::ALL {
        assert!(
            lines.iter().any(|(_, word, _)| word == kind.word()),
            "no line is {}",
            kind.word()
        );
    }
}

#[test]
fn the_documentation_has_every_kind_with_its_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let text = fs::read_to_string(path).expect("docs/events.md");
    let (_, kinds) = text
        .split_once("## Kinds")
        .expect("the section of the kinds");
    let mut rows = kinds.lines().filter(|line| line.starts_with("| `"));
    for kind in Kind::ALL {
        let row = format!("| `{}` | {} |", kind.word(), kind.meaning());
        assert_eq!(rows.next(), Some(&*row));
    }
    assert_eq!(rows.next(), None, "of a kind that does not exist");
}
