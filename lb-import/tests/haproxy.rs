//! Tests what single directives of haproxy.cfg become, and the reason of each that becomes nothing.

use lb_import::{File, Import, Input, import};

fn imported(text: &str) -> Import {
    let file = File {
        name: "haproxy.cfg",
        text,
    };
    let input = Input {
        haproxy: Some(file),
        ..Input::default()
    };
    import(&input).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Returns the reasons that the notes give for the directive on a line.
fn whys(import: &Import, line: u32) -> Vec<&str> {
    let notes = import.notes.iter();
    let of_line = notes.filter(|note| note.directive.line == line);
    of_line.map(|note| &*note.why).collect()
}

/// Asserts that the configuration has a line with this text.
#[track_caller]
fn has(import: &Import, line: &str) {
    let text = &import.configuration;
    assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
}

/// Asserts that something that the operator must decide or fill in contains this text.
#[track_caller]
fn decides(import: &Import, text: &str) {
    let all = &import.decisions;
    assert!(
        all.iter().any(|one| one.contains(text)),
        "{text} in\n{all:#?}"
    );
}

#[test]
fn the_default_of_an_environment_variable_is_used_and_named() {
    let import =
        imported("listen web\n mode http\n bind \"${IP-192.0.2.1}:80\"\n server a 10.0.0.6:80\n");
    has(&import, "listen = \"192.0.2.1:80\"");
    decides(
        &import,
        "haproxy.cfg:3: the environment variable $IP has its default \"192.0.2.1\"",
    );
}

#[test]
fn an_environment_variable_that_the_file_sets_has_its_value() {
    let import = imported(
        "global\n setenv PORT 8080\n presetenv HOST 10.0.0.6\nlisten web\n mode http\n \
         bind 192.0.2.1:$PORT\n server a \"$HOST:80\"\n",
    );
    has(&import, "listen = \"192.0.2.1:8080\"");
    has(&import, "address = \"10.0.0.6:80\"");
    assert_eq!(
        whys(&import, 2),
        ["its value is written where the file uses the variable"]
    );
    decides(
        &import,
        "haproxy.cfg:7: the environment variable $HOST has its default \"10.0.0.6\"",
    );
    assert!(
        !import
            .decisions
            .iter()
            .any(|decision| decision.contains("PORT"))
    );
}

#[test]
fn an_unknown_environment_variable_in_an_address_is_named() {
    let import = imported(
        "listen web\n mode http\n bind 0.0.0.0:$PORT\n bind 192.0.2.1:80\n \
         server a 10.0.0.6:80\n server b $HOST:80\n",
    );
    for (line, name) in [(3, "$PORT"), (6, "$HOST")] {
        let whys = whys(&import, line);
        let named = format!("the environment variable {name}, whose value is not in the file");
        assert!(whys.len() == 1 && whys[0].contains(&named), "{whys:?}");
    }
}

#[test]
fn localhost_is_an_address_and_no_name_to_discover() {
    let text = "listen web\n mode MODE\n bind 192.0.2.1:80\n server a localhost:8000\n server b 10.0.0.7:80\n";
    let import = imported(&text.replace("MODE", "http"));
    has(&import, "address = \"127.0.0.1:8000\"");
    assert_eq!(whys(&import, 4), <[&str; 0]>::default());
    let import = imported(&text.replace("MODE", "tcp"));
    let steered = "the kernel forwards to IPv4 addresses of other hosts only";
    assert_eq!(whys(&import, 4), [steered]);
}
