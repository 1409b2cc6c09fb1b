//! Mistakes in the keys of a pool that apply to single requests.

use std::time::Duration;

use lb_config::{HashBy, Percent};

use super::parse;

const KEY: &str = "key_file = \"/etc/lb/sticky.key\"";

/// Returns a file with two pools that a service of mode `http` uses; `first` and `second` are
/// additional lines of these pools.
fn routed(first: &str, second: &str) -> String {
    format!(
        r#"
[node]
name = "lb"
interface = "lo"
[[pool]]
name = "web"
backends = ["10.0.0.1:80", "10.0.0.2:80"]
{first}
[[pool]]
name = "api"
backends = ["10.0.0.3:80"]
{second}
[[service]]
name = "site"
listen = "192.0.2.1:80"
mode = "http"
pool = "web"
[[service.route]]
path_prefix = "/api"
pool = "api"
"#
    )
}

/// Returns the rendered errors of the file that [`routed`] makes; empty if it is valid.
fn errors_of(first: &str, second: &str) -> String {
    let Err(errors) = parse(&routed(first, second)) else {
        return String::new();
    };
    let all: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(ToString::to_string)
        .collect();
    all.join("\n\n")
}

fn assert_reported(errors: &str, words: &[&str]) {
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in\n{errors}");
    }
}

#[test]
fn a_sticky_cookie_is_read_with_its_defaults() {
    let text = routed(&format!("sticky = {{ cookie = \"lb\", {KEY} }}"), "");
    let config = parse(&text).expect("it is valid").config;
    let sticky = config.pools[0].per_request.sticky.clone().expect("sticky");
    assert_eq!((sticky.cookie.as_str(), sticky.path.as_str()), ("lb", "/"));
    assert_eq!((sticky.secure, sticky.http_only), (None, true));
    assert_eq!((sticky.same_site.word(), sticky.max_age), ("Lax", None));
    assert_eq!(config.pools[1].per_request.sticky, None);
}

#[test]
fn a_cookie_needs_a_key_and_a_name_that_browsers_take() {
    let errors = errors_of(
        "sticky = { cookie = \"l b\", path = \"x;y\", max_age = \"0s\" }",
        "",
    );
    assert_reported(
        &errors,
        &[
            "cookie \"l b\" is not the name of a cookie",
            "[pool.sticky] has no key_file",
            "path \"x;y\" is not a path for a cookie",
            "max_age \"0s\" is too short",
        ],
    );
    let insecure =
        format!("sticky = {{ cookie = \"lb\", {KEY}, same_site = \"none\", secure = false }}");
    assert_reported(
        &errors_of(&insecure, ""),
        &["secure is false, but same_site is \"none\""],
    );
}

#[test]
fn pools_of_one_service_have_different_cookies() {
    let sticky = |name: &str| format!("sticky = {{ cookie = \"{name}\", {KEY} }}");
    assert_eq!(errors_of(&sticky("a"), &sticky("b")), "");
    assert_reported(
        &errors_of(&sticky("lb"), &sticky("lb")),
        &[
            "service \"site\" uses pools \"web\" and \"api\"",
            "give them different names",
        ],
    );
}

#[test]
fn the_kernel_keeps_no_sessions() {
    let errors = steered(&format!("sticky = {{ cookie = \"lb\", {KEY} }}"));
    assert_reported(
        &errors,
        &["service \"site\" has mode \"tcp\", and its pool \"web\" has [pool.sticky]"],
    );
}

#[test]
fn a_hash_is_of_something_and_is_not_for_the_kernel() {
    for (text, wanted) in [
        ("uri", HashBy::Uri),
        ("path", HashBy::Path),
        ("header:X-User", HashBy::Header("x-user".to_owned())),
        ("cookie:Id", HashBy::Cookie("Id".to_owned())),
    ] {
        let lines = format!("balance = \"hash\"\nhash_by = \"{text}\"");
        let config = parse(&routed(&lines, "")).expect("it is valid").config;
        assert_eq!(config.pools[0].per_request.hash_by, Some(wanted));
        let steered = steered(&lines);
        assert_reported(
            &steered,
            &["its pool \"web\" balances by hash", "reads no requests"],
        );
    }
    for (lines, errors) in [
        (
            "balance = \"hash\"",
            "has balance = \"hash\", but no hash_by",
        ),
        (
            "hash_by = \"uri\"",
            "has hash_by, but does not balance by hash",
        ),
        (
            "balance = \"hash\"\nhash_by = \"url\"",
            "hash_by \"url\" is not a part of requests that lb can hash",
        ),
        (
            "balance = \"hash\"\nhash_by = \"header:\"",
            "does not name a header",
        ),
        (
            "balance = \"hash\"\nhash_by = \"cookie:a b\"",
            "does not name a cookie",
        ),
    ] {
        assert_reported(&errors_of(lines, ""), &[errors]);
    }
}

/// Returns the rendered errors of the file of [`routed`] with `lines` in its first pool, mode `tcp`
/// and no route.
fn steered(lines: &str) -> String {
    let text = routed(lines, "").replace("mode = \"http\"", "mode = \"tcp\"");
    let text = &text[..text.find("[[service.route]]").expect("a route")];
    parse(text).expect_err("it is refused").to_string()
}

#[test]
fn a_backup_stands_in_for_others_and_not_in_the_kernel() {
    let lines = "[[pool.backend]]\naddress = \"10.0.0.1:80\"\n\
        [[pool.backend]]\naddress = \"10.0.0.2:80\"\nbackup = true";
    let without_list =
        |text: &str| text.replace("backends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n", "");
    let text = without_list(&routed(lines, ""));
    let config = parse(&text).expect("it is valid").config;
    let backups = config.pools[0]
        .backends
        .iter()
        .map(|backend| backend.backup);
    assert_eq!(backups.collect::<Vec<_>>(), [false, true]);
    let steered = text.replace("mode = \"http\"", "mode = \"tcp\"");
    let steered = &steered[..steered.find("[[service.route]]").expect("a route")];
    let errors = parse(steered).expect_err("it is refused").to_string();
    assert_reported(&errors, &["its pool \"web\" has backup = true"]);
    let alone = text.replace("10.0.0.1:80\"\n", "10.0.0.1:80\"\nbackup = true\n");
    let errors = parse(&alone).expect_err("it is refused").to_string();
    assert_reported(&errors, &["pool \"web\" has only backup backends"]);
}

#[test]
fn a_queue_is_for_pools_with_a_limit_and_not_for_the_kernel() {
    let limit = |lines: &str| {
        let config = parse(&routed(lines, "")).expect("it is valid").config;
        let limit = config.pools[0].per_request.limit;
        limit.map(|limit| (limit.per_backend, limit.queue_size, limit.queue_timeout))
    };
    let seconds = Duration::from_secs;
    assert_eq!(limit(""), None);
    assert_eq!(limit("max_connections = 7"), Some((7, 1_024, seconds(10))));
    // An empty `[pool.queue]` has the same defaults as no `[pool.queue]`.
    assert_eq!(
        limit("max_connections = 7\nqueue = {}"),
        Some((7, 1_024, seconds(10)))
    );
    let queue = "max_connections = 7\nqueue = { size = 0, timeout = \"3s\" }";
    assert_eq!(limit(queue), Some((7, 0, seconds(3))));
    assert_reported(
        &errors_of("queue = { size = 5 }", ""),
        &["has [pool.queue], but no max_connections"],
    );
    assert_reported(
        &errors_of("max_connections = 0\nqueue = { timeout = \"0s\" }", ""),
        &[
            "max_connections 0 is out of range",
            "timeout \"0s\" is too short",
        ],
    );
    assert_reported(
        &steered("max_connections = 7"),
        &["its pool \"web\" has max_connections"],
    );
    // Every table of a pool that is not listed as being for every mode is refused too for a service
    // of mode `tcp`.
    assert_reported(
        &steered("max_connections = 7\nqueue = {}"),
        &["its pool \"web\" has max_connections, [pool.queue]"],
    );
}

#[test]
fn rules_for_outliers_are_read_with_their_defaults_and_mistakes_are_said() {
    let outlier = |lines: &str| {
        let config = parse(&routed(lines, "")).expect("it is valid").config;
        config.pools[0].per_request.outlier.clone()
    };
    assert_eq!(outlier(""), None);
    let rules = outlier("outlier = {}").expect("rules");
    assert_eq!(rules.consecutive_failures, 5);
    assert_eq!(rules.ejection_time, Duration::from_secs(30));
    assert_eq!(rules.max_ejection_time, Duration::from_secs(300));
    assert_eq!(rules.max_ejected, Percent::new(50));
    for (status, fails) in [(499, false), (500, true), (501, false), (504, true)] {
        assert_eq!(rules.is_failure(status), fails, "{status}");
    }
    let rules = outlier(
        "outlier = { consecutive_failures = 1, statuses = [429, \"500-599\"], \
         ejection_time = \"10m\", max_ejected = \"100%\" }",
    );
    let rules = rules.expect("rules");
    assert!(rules.is_failure(429) && rules.is_failure(501) && !rules.is_failure(200));
    assert_eq!(rules.max_ejection_time, Duration::from_secs(600));
    let none = outlier("outlier = { statuses = [] }").expect("rules");
    assert!(!none.is_failure(500));
    assert_reported(
        &errors_of(
            "outlier = { consecutive_failures = 0, statuses = [99], ejection_time = \"0s\", \
             max_ejected = \"0%\" }",
            "outlier = { max_ejected = \"half\", failures = 3 }",
        ),
        &[
            "consecutive_failures 0 is out of range",
            "status \"99\"",
            "ejection_time \"0s\" is too short",
            "max_ejected \"0%\" is out of range",
            "max_ejected \"half\" does not end in a percent sign",
            "failures",
        ],
    );
    assert_reported(
        &errors_of(
            "outlier = { ejection_time = \"2m\", max_ejection_time = \"1m\" }",
            "",
        ),
        &["max_ejection_time 1m is shorter than ejection_time, 2m"],
    );
    assert_reported(
        &steered("outlier = {}"),
        &["its pool \"web\" has [pool.outlier]"],
    );
}

#[test]
fn a_slow_start_is_read_and_is_nothing_for_the_kernel() {
    let slow_start = |lines: &str| {
        let config = parse(&routed(lines, "")).expect("it is valid").config;
        config.pools[0].per_request.slow_start
    };
    assert_eq!(slow_start(""), None);
    let minute = Some(Duration::from_secs(60));
    assert_eq!(slow_start("slow_start = \"1m\""), minute);
    assert_reported(
        &errors_of("slow_start = \"0s\"", "slow_start = 30"),
        &[
            "slow_start \"0s\" is too short",
            "slow_start 30 has no unit",
        ],
    );
    assert_reported(
        &steered("slow_start = \"30s\""),
        &["its pool \"web\" has slow_start"],
    );
}

#[test]
fn a_retry_budget_is_there_by_default_and_an_own_one_is_nothing_for_the_kernel() {
    let budget = |lines: &str| {
        let config = parse(&routed(lines, "")).expect("it is valid").config;
        let budget = config.pools[0].per_request.retry_budget;
        (budget.share, budget.per_second)
    };
    assert_eq!(budget(""), (Percent::new(20), 10));
    let own = "retry_budget = \"0%\"\nmin_retries_per_second = 0";
    assert_eq!(budget(own), (Percent::new(0), 0));
    assert_reported(
        &errors_of("retry_budget = \"101%\"", "retry_budget = 20"),
        &[
            "retry_budget \"101%\" is out of range",
            "retry_budget is a whole number",
        ],
    );
    assert_reported(
        &steered("retry_budget = \"20%\"\nmin_retries_per_second = 1"),
        &["its pool \"web\" has retry_budget, min_retries_per_second"],
    );
}
