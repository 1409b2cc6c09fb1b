//! Converts example files of HAProxy and Keepalived, and compares the output and the notes with
//! expected ones.
//!
//! Each folder of `tests/golden` has an input, the expected `lb.toml` and the expected notes.
//! `UPDATE=1 cargo test -p lb-import` writes the expected files again: review the difference.

use std::{collections::BTreeMap, fs, path::Path};

use lb_config::{Config, Moves};
use lb_import::{File, Import, Input, Loss, import};

/// Converts the input of a folder, and asserts what holds for every import.
fn converted(folder: &Path, keepalived_peer: bool) -> Import {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let texts = ["haproxy.cfg", "keepalived.conf", "failover.sh"].map(|name| (name, read(name)));
    let [haproxy, keepalived, script] = texts
        .each_ref()
        .map(|(name, text)| text.as_deref().map(|text| File { name, text }));
    let listed =
        ["a.example.com.pem", "b.example.com.pem"].map(|file| format!("/etc/haproxy/certs/{file}"));
    let folders = BTreeMap::from([("/etc/haproxy/certs/".to_owned(), listed.to_vec())]);
    let input = Input {
        haproxy,
        keepalived,
        script,
        folders,
        keepalived_peer,
    };
    let import = import(&input).unwrap_or_else(|errors| panic!("{}: {errors}", folder.display()));
    match Config::parse(Path::new("lb.toml"), &import.configuration) {
        Ok(parsed) => {
            let idle =
                |warning: &lb_config::Diagnostic| warning.message.contains("takes no request");
            assert!(!parsed.warnings.iter().any(idle), "{:?}", parsed.warnings);
        }
        Err(errors) => panic!("{errors}\n{}", import.configuration),
    }
    for (name, text) in &texts {
        each_line_is_named(name, text.as_deref().unwrap_or_default(), &import);
    }
    let counts = import.counts;
    let sum = counts.carried_over + counts.not_carried_over + counts.not_needed + counts.unknown;
    assert_eq!(sum, counts.directives, "{}", folder.display());
    import
}

/// Asserts that each line with a directive is named in a comment above a setting, or in the notes.
fn each_line_is_named(name: &str, text: &str, import: &Import) {
    let mut joins = false;
    for (number, line) in (1..).zip(text.lines()) {
        let says = line.trim().trim_matches(['{', '}', ' ']);
        let silent = says.is_empty() || says.starts_with(['#', '!']) && !says.starts_with("#!");
        // Of lines that a `\` at their end joins, comments and notes name only the first.
        let first = !std::mem::replace(&mut joins, line.ends_with('\\'));
        if silent || !first {
            continue;
        }
        let above = import
            .configuration
            .contains(&format!("# {name}:{number}: "));
        let of_line =
            |note: &lb_import::Note| note.directive.file == name && note.directive.line == number;
        assert!(
            above || import.notes.iter().any(of_line),
            "{name}:{number}: {line}"
        );
    }
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn compare(file: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, text).expect("written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; the import wrote:\n{text}",
        file.display()
    );
}

#[test]
fn each_input_becomes_what_is_expected() {
    let folders = fs::read_dir(golden("")).expect("the folders");
    let mut folders: Vec<_> = folders
        .map(|entry| entry.expect("a folder").path())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let import = converted(&folder, false);
        compare(&folder.join("lb.toml"), &import.configuration);
        compare(&folder.join("notes.txt"), &import.report());
    }
}

#[test]
fn the_first_users_files_are_carried_over() {
    let import = converted(&golden("seed"), false);
    let parsed = Config::parse(Path::new("lb.toml"), &import.configuration).expect("accepted");
    assert_eq!(parsed.warnings, []);
    let config = parsed.config;
    assert_eq!(config.services.len(), 1);
    let service = &config.services[0];
    assert_eq!(service.listen.to_string(), "172.31.0.68:443");
    assert_eq!(
        service.pool.as_ref().map(|pool| pool.backends.len()),
        Some(4)
    );
    assert_eq!(
        service.obtained().map(|obtained| &*obtained.domains),
        Some(&["alexmis4iti78.me".to_owned()][..])
    );
    let ha = config.ha.expect("[ha]");
    assert_eq!(ha.peer.to_string(), "172.31.15.233");
    assert!(matches!(ha.moves, Moves::ElasticIp(_)) && ha.track.is_empty());
    let losses: Vec<_> = import
        .notes
        .iter()
        .filter(|note| note.loss != Loss::NotNeeded)
        .collect();
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn beside_keepalived_there_is_no_link_and_no_acme() {
    let import = converted(&golden("seed"), true);
    let parsed = Config::parse(Path::new("lb.toml"), &import.configuration).expect("accepted");
    assert!(parsed.config.acme.is_none());
    assert!(parsed.config.ha.expect("[ha]").link.is_none());
    assert!(
        import
            .notes
            .iter()
            .any(|note| note.directive.text.contains("letsencrypt-backend"))
    );
}
