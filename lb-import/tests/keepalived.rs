//! Tests what single directives of keepalived.conf become, and the reason of each that becomes
//! nothing.

use lb_import::{File, Import, Input, import};

fn imported(text: &str) -> Import {
    let file = File {
        name: "keepalived.conf",
        text,
    };
    let input = Input {
        keepalived: Some(file),
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

/// Returns the line of the configuration that sets a key, with the comments directly above it.
fn setting(import: &Import, key: &str) -> String {
    let lines: Vec<_> = import.configuration.lines().collect();
    let is_key = |line: &&str| line.starts_with(&format!("{key} = "));
    let Some(at) = lines.iter().position(is_key) else {
        return String::new();
    };
    let is_comment = |line: &&&str| line.starts_with("# ");
    let above = lines[..at].iter().rev().take_while(is_comment).count();
    lines[at - above..=at].join("\n")
}

/// Returns a keepalived.conf with a script that checks HAProxy. `weight` is in the script,
/// `reference` is in `track_script`.
fn tracked(priority: &str, weight: &str, reference: &str) -> String {
    format!(
        "vrrp_script alive {{\n script \"pidof haproxy\"\n {weight}\n}}\nvrrp_instance A {{\n \
         interface eth0\n {priority}\n track_script {{\n  {reference}\n }}\n}}\n"
    )
}

#[test]
fn the_weight_of_a_check_of_haproxy_is_part_of_the_priority() {
    for (priority, weight, reference, expected) in [
        ("priority 100", "weight 2", "alive", "102"),
        ("", "weight 2", "alive", "102"),
        ("priority 100", "weight 2", "alive weight 5", "105"),
        ("priority 100", "", "alive weight 5", "105"),
        ("priority 100", "weight 2", "alive weight 0", "100"),
        ("priority 250", "weight 20", "alive", "254"),
        ("priority 255", "weight 20", "alive", "254"),
        ("priority 100", "weight -20", "alive", "100"),
        ("priority 100", "weight -20 reverse", "alive", "100"),
        ("priority 100", "weight 20 reverse", "alive", "80"),
        ("priority 100", "weight 20", "alive weight 20 reverse", "80"),
        (
            "priority 100",
            "weight 20 reverse",
            "alive weight 20 noreverse",
            "120",
        ),
        ("priority 100", "weight 999", "alive", "100"),
        ("priority 100", "weight 20", "other", "100"),
    ] {
        let text = tracked(priority, weight, reference);
        let import = imported(&text);
        let line = format!("priority = {expected}");
        let setting = setting(&import, "priority");
        assert!(setting.ends_with(&line), "{text}\n{setting}");
    }
}

#[test]
fn the_comment_above_the_priority_names_what_it_is_the_sum_of() {
    let import = imported(&tracked("priority 100", "weight 2", "alive"));
    assert_eq!(
        setting(&import, "priority"),
        "# keepalived.conf:7: priority 100\n# keepalived.conf:3: weight 2\n\
         # 100 + 2 (the weight of alive): what Keepalived advertises while HAProxy runs\npriority = 102"
    );
    assert!(whys(&import, 3).is_empty() && whys(&import, 7).is_empty());
    let not_needed = "it checks HAProxy, which lb replaces; the agent monitors itself";
    for line in [1, 2, 9] {
        assert_eq!(whys(&import, line), [not_needed], "line {line}");
    }
    let import = imported(&tracked("priority 100", "weight -2", "alive"));
    assert_eq!(
        setting(&import, "priority"),
        "# keepalived.conf:7: priority 100\npriority = 100"
    );
    assert_eq!(whys(&import, 3), [not_needed]);
}

#[test]
fn a_check_of_haproxy_counts_where_a_sync_group_or_a_process_tracks_it() {
    let of_group = "vrrp_script alive {\n script \"killall -0 haproxy\"\n weight 3\n}\n\
                    vrrp_sync_group G {\n group {\n A\n }\n track_script {\n alive\n }\n}\n\
                    vrrp_instance A {\n priority 90\n}\n";
    let of_process = "vrrp_track_process alive {\n process haproxy\n weight 3\n}\n\
                      vrrp_instance A {\n priority 90\n track_process {\n alive\n }\n}\n";
    for text in [of_group, of_process] {
        let setting = setting(&imported(text), "priority");
        assert!(setting.ends_with("priority = 93"), "{text}\n{setting}");
    }
    let elsewhere = of_group.replace("\n A\n", "\n B\n");
    assert!(setting(&imported(&elsewhere), "priority").ends_with("priority = 90"));
}

/// Returns the directives that the import does not know.
fn unknown(text: &str) -> Vec<String> {
    let notes = imported(text).notes.into_iter();
    let unknown = notes.filter(|note| note.loss == lb_import::Loss::Unknown);
    unknown.map(|note| note.directive.text).collect()
}

#[test]
fn an_instance_is_a_member_of_a_group_without_a_block_of_its_own() {
    let text = "vrrp_sync_group G {\n A\n}\nvrrp_instance A {\n priority 5\n}\n";
    assert_eq!(
        whys(&imported(text), 2),
        ["all addresses of a host move together"]
    );
}

#[test]
fn keywords_that_keepalived_documents_are_known() {
    let text = "global_defs {\n lvs_sync_daemon_interface eth1\n reload_file /run/x\n vrrp_rt_priority 4\n}\n\
                virtual_server_group G {\n description group\n 192.0.2.10 80\n}\n\
                vrrp_sync_group S {\n group {\n A\n B\n }\n sync_group_tracking_weight\n}\n\
                virtual_server 192.0.2.9 25 {\n protocol TCP\n real_server 10.0.0.6 25 {\n SMTP_CHECK {\n \
                helo_name x.example\n host {\n connect_ip 10.0.0.6\n }\n }\n }\n \
                real_server 10.0.0.7 25 {\n MISC_CHECK {\n misc_path /bin/x\n misc_timeout 3\n }\n }\n \
                real_server 10.0.0.8 25 {\n HTTP_GET {\n nb_get_retry 3\n url {\n path /\n digest 0a\n }\n }\n }\n}\n";
    assert_eq!(unknown(text), <[String; 0]>::default());
    let errors =
        "global_defs {\n lvs_sync_demon_interface eth1\n}\nvrrp_instance A {\n priorty 5\n}\n";
    assert_eq!(
        unknown(errors),
        ["lvs_sync_demon_interface eth1", "priorty 5"]
    );
}

#[test]
fn place_holders_of_a_template_are_named_and_open_no_block() {
    let text = "vrrp_instance A {\n state {{ STATE }}\n interface eth0\n priority {{PRIORITY}}\n \
                virtual_router_id 7\n{% if peer %}\n unicast_peer {\n 10.0.0.2\n }\n{% endif %}\n}\n";
    let import = imported(text);
    assert!(setting(&import, "virtual_router_id").ends_with("= 7"));
    assert!(setting(&import, "peer").ends_with("\"10.0.0.2\""));
    let why = "it is of a template, whose values are not in the file: import the file that is made from it";
    for line in [2, 4, 6, 10] {
        assert_eq!(whys(&import, line), [why], "line {line}");
    }
}

#[test]
fn a_script_whose_name_says_so_checks_haproxy() {
    let text = tracked("priority 100", "weight 2", "Chk_HAProxy");
    let text = text
        .replace("alive", "Chk_HAProxy")
        .replace("pidof haproxy", "ss -ltn | grep :80");
    let import = imported(&text);
    assert!(setting(&import, "priority").ends_with("= 102"));
    assert!(!import.configuration.contains("ha.track"));
}

#[test]
fn timeouts_longer_than_the_interval_are_shortened_to_it() {
    let check = "virtual_server 192.0.2.9 80 {\n delay_loop 5\n real_server 10.0.0.6 80 {\n TCP_CHECK {\n \
                 connect_timeout 10\n }\n }\n}\n";
    let script = "vrrp_script a {\n script /bin/a\n interval 5\n timeout 10\n}\n\
                  vrrp_instance A {\n track_script {\n a\n }\n}\n";
    for (text, line) in [(check, 5), (script, 4)] {
        let import = imported(text);
        assert!(setting(&import, "timeout").ends_with("timeout = \"5s\""));
        let why = "lb's checks end before the next begins: the timeout is 5s";
        assert_eq!(whys(&import, line), [why]);
    }
}
