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
    let import = imported(
        "listen web\n mode http\n bind \"${IP-192.0.2.1}:80\"\n bind \"${IP-192.0.2.1}:81\"\n \
         server a 10.0.0.6:80\n",
    );
    let decisions = import.decisions.iter();
    assert_eq!(decisions.filter(|one| one.contains("$IP")).count(), 1);
    has(&import, "listen = \"192.0.2.1:80\"");
    decides(
        &import,
        "haproxy.cfg: the environment variable $IP has its default \"192.0.2.1\"",
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
        "haproxy.cfg: the environment variable $HOST has its default \"10.0.0.6\"",
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

#[test]
fn a_header_that_announces_http3_is_left_out() {
    for rule in [
        "http-response add-header alt-svc 'h3=\":443\"; ma=900;'",
        "http-after-response set-header Alt-Svc 'h2=\":443\", H3-29=\":443\"'",
        "rspadd Alt-Svc:\\ quic=\":443\"",
    ] {
        let text =
            format!("listen web\n mode http\n bind 192.0.2.1:80\n {rule}\n server a 10.0.0.6:80\n");
        let import = imported(&text);
        let why = "lb serves no HTTP/3, which the field announces: clients would try it in vain";
        assert_eq!(whys(&import, 4), [why], "{rule}");
        assert!(!import.configuration.contains("response_headers"));
    }
    let other = "listen web\n mode http\n bind 192.0.2.1:80\n http-response set-header Alt-Svc clear\n server a 10.0.0.6:80\n";
    has(&imported(other), "\"Alt-Svc\" = \"clear\"");
}

/// Returns the import of a section whose server is checked, with these lines about the check.
fn checked(lines: &str) -> Import {
    imported(&format!(
        "listen web\n mode http\n bind 192.0.2.1:80\n {lines}\n server a 10.0.0.6:80 check\n"
    ))
}

#[test]
fn a_check_that_only_connects_is_carried_over() {
    for lines in [
        "option tcp-check",
        "option tcp-check\n tcp-check connect",
        "option tcp-check\n tcp-check comment x\n tcp-check connect comment y",
        "option httpchk GET /\n option tcp-check",
    ] {
        let import = checked(lines);
        has(&import, "type = \"tcp\"");
        let lost = import
            .notes
            .iter()
            .any(|note| note.loss == lb_import::Loss::NotCarriedOver);
        assert!(!lost, "{lines}: {:?}", import.notes);
    }
    let import = checked("option tcp-check\n option httpchk GET /x");
    has(&import, "path = \"/x\"");
}

#[test]
fn a_check_that_does_more_than_connect_is_lost() {
    for lines in [
        "option tcp-check\n tcp-check connect port 81",
        "option tcp-check\n tcp-check connect\n tcp-check expect string +PONG",
        "option ssl-hello-chk",
        "option redis-check",
    ] {
        let import = checked(lines);
        has(&import, "type = \"tcp\"");
        assert!(
            whys(&import, 4)[0].starts_with("lb checks by a TCP connection"),
            "{lines}"
        );
    }
    let import = imported(
        "listen web\n mode http\n bind 192.0.2.1:80\n option tcp-check\n server a 10.0.0.6:80\n",
    );
    assert_eq!(whys(&import, 4), ["no server of the section has `check`"]);
}

#[test]
fn the_words_of_a_log_line_that_are_left_out_are_in_one_note() {
    let import = imported(
        "global\n log stdout format raw local0\nlisten web\n mode http\n log global\n option httplog\n \
         bind 192.0.2.1:80\n server a 10.0.0.6:80\n",
    );
    let whys = whys(&import, 2);
    assert!(
        whys.len() == 1 && whys[0].ends_with("not \"format raw\""),
        "{whys:?}"
    );
}

#[test]
fn the_reason_for_rules_of_an_unused_section_is_that_nothing_uses_it() {
    let import = imported(
        "frontend web\n mode http\n bind unix@/run/x.sock\n http-request set-header A b\n \
         default_backend app\nbackend app\n mode http\n http-response set-header A b\n rspadd A:\\ b\n \
         http-request deny\n option httpchk\n server a 10.0.0.6:80\nlisten raw\n mode tcp\n \
         bind 192.0.2.1:81\n http-request deny\n server a 10.0.0.6:80\n",
    );
    for line in [4, 8, 9, 10] {
        assert_eq!(
            whys(&import, line),
            ["nothing that is carried over uses the section"],
            "{line}"
        );
    }
    assert_eq!(whys(&import, 11), ["no server of the section has `check`"]);
    assert_eq!(whys(&import, 16), ["HAProxy, too, ignores it in mode tcp"]);
}

#[test]
fn a_table_whose_only_setting_lb_refuses_is_left_out() {
    let import = imported(
        "listen web\n mode http\n bind 192.0.2.1:80\n http-request set-header Host a\n \
         server a 10.0.0.6:80\n",
    );
    assert!(
        whys(&import, 4)[0].starts_with("lb refuses it"),
        "{:?}",
        whys(&import, 4)
    );
    assert!(
        !import.configuration.contains("request_headers"),
        "{}",
        import.configuration
    );
}

#[test]
fn the_servers_that_a_pool_lacks_are_named_before_the_configuration_is_used() {
    let import = imported(
        "listen web\n mode http\n bind 192.0.2.1:80\n server a 10.0.0.6:80\n server b \"$B:80\"\n \
         server c /run/c.sock\n server d app.example:80\n server e 10.0.0.7:80 disabled\n \
         server f 10.0.0.6:80\n server g /run/g.sock weight 0\nbackend none\n mode http\n \
         server h /run/h.sock\n",
    );
    let lacks: Vec<_> = import
        .decisions
        .iter()
        .filter(|one| one.contains("lacks"))
        .collect();
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    let all = "pool \"web\" lacks c (haproxy.cfg:6), d (haproxy.cfg:7), b (haproxy.cfg:5), for";
    assert!(lacks[0].starts_with(all), "{lacks:?}");
}

/// Returns what the import does not know of a file.
fn unknown(text: &str) -> Vec<String> {
    let notes = imported(text).notes.into_iter();
    let unknown = notes.filter(|note| note.loss == lb_import::Loss::Unknown);
    unknown
        .map(|note| format!("{}: {}", note.directive.text, note.why))
        .collect()
}

#[test]
fn keywords_that_haproxy_documents_are_known() {
    let text = "global\n default-path config\n set-var proc.a int(1)\n set-var-fmt proc.b x\n \
                ssl-load-extra-del-ext\n http-err-codes 400-499\n http-fail-codes 500-599\n \
                stats-file /var/lib/haproxy/stats\n ocsp-update.mode on\n wurfl-cache-size 100\n \
                cpu-policy performance\n httpclient.retries 1\nhealthcheck probe\n type tcp-check\n\
                listen web\n mode http\n bind 192.0.2.1:80 idle-ping 10s sigalgs x tls-tickets label a\n \
                option allbackups\n retry-on all-retryable-errors\n \
                server a 10.0.0.6:80 agent-check agent-port 9 no-verifyhost check-proto h2 guid x\n";
    assert_eq!(unknown(text), <[String; 0]>::default());
    assert_eq!(
        whys(&imported(text), 20)[..2],
        [
            "lb has no setting for agent-check",
            "lb has no setting for agent-port 9"
        ]
    );
}

#[test]
fn a_typing_error_is_unknown() {
    let text = "global\n defalt-path config\n ocsp-update.mod on\nlisten web\n mode http\n \
                bind 192.0.2.1:80 idle-pin 10s\n option allbackup\n retry-onn x\n \
                server a 10.0.0.6:80 no-verifyhos guidd x\n";
    let unknown = unknown(text);
    assert!(unknown.len() >= 7, "{unknown:#?}");
}

#[test]
fn place_holders_of_a_template_are_named() {
    let import = imported(
        "listen web\n mode http\n bind 192.0.2.1:80\n{% for host in hosts %}\n \
         server {{ host }} {{ host.ip }}:80\n{% endfor %}\n server a 10.0.0.6:80\n",
    );
    for line in [4, 5, 6] {
        let whys = whys(&import, line);
        assert!(
            whys.len() == 1 && whys[0].starts_with("it is of a template"),
            "{whys:?}"
        );
    }
    decides(&import, "pool \"web\" lacks");
}

#[test]
fn the_timeout_of_a_check_is_shortened_to_the_interval() {
    let import = checked("timeout check 5s");
    has(&import, "timeout = \"2s\"");
    let why = "lb's checks end before the next begins: the timeout is 2s";
    assert_eq!(whys(&import, 4), [why]);
    let import = checked("default-server inter 90s\n timeout check 80s");
    has(&import, "timeout = \"1m20s\"");
}

#[test]
fn one_line_says_what_to_do_with_all_error_pages() {
    let import = imported(
        "listen web\n mode http\n bind 192.0.2.1:80\n errorfile 502 /e/502.http\n \
         errorfile 503 /e/503.http\n server a 10.0.0.6:80\n",
    );
    decides(
        &import,
        "/e/502.http (haproxy.cfg:4), /e/503.http (haproxy.cfg:5)",
    );
    let pages = import.decisions.iter().filter(|one| one.contains("/e/"));
    assert_eq!(pages.count(), 1);
}
