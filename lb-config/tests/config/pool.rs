//! Tests of `[[pool]]`.

use lb_config::WhenAllDown;

use super::{edited, parse, refused};

#[test]
fn a_pool_without_a_name_is_refused() {
    refused(
        "name = \"web\"\n",
        "\n",
        r#"
error: [[pool]] has no name
  --> lb.toml:20:1
   |
20 | [[pool]]
   | ^^^^^^^^
   = help: add it, for example: name = "web"
"#,
    );
}

#[test]
fn two_pools_of_one_name_are_refused() {
    refused(
        "name = \"app\"\n",
        "name = \"web\"\n",
        r#"
error: duplicate pool "web" in this file
  --> lb.toml:27:8
   |
27 | name = "web"
   |        ^^^^^
   = help: the first is on line 21

error: there is no pool "app"
  --> lb.toml:52:8
   |
52 | pool = "app"
   |        ^^^^^
   = help: the pools of this file: web
"#,
    );
}

#[test]
fn retries_are_at_most_three() {
    let retries = |text: &str| parse(text).expect("it is valid").config.pools[0].retries;
    assert_eq!(retries(super::BASE), 3);
    for number in 0..=3 {
        let given = format!("balance = \"round_robin\"\nretries = {number}");
        assert_eq!(
            retries(&edited("balance = \"round_robin\"", &given)),
            number
        );
    }
    refused(
        "balance = \"round_robin\"",
        "retries = 4",
        r#"
error: retries 4 is out of range
  --> lb.toml:22:11
   |
22 | retries = 4
   |           ^
   = help: it must be a whole number, 0 to 3
"#,
    );
}

#[test]
fn what_becomes_of_new_connections_when_all_are_down_is_one_of_two_words() {
    let pool = |text: &str| {
        let parsed = parse(text).expect("it is valid");
        parsed.config.pools[0].when_all_down
    };
    assert_eq!(pool(super::BASE), WhenAllDown::TryAll);
    let refusing = "balance = \"round_robin\"\nwhen_all_down = \"refuse\"";
    let text = edited("balance = \"round_robin\"", refusing);
    assert_eq!(pool(&text), WhenAllDown::Refuse);
    refused(
        "balance = \"round_robin\"",
        "when_all_down = \"try-all\"",
        r#"
error: when_all_down cannot be "try-all"
  --> lb.toml:22:17
   |
22 | when_all_down = "try-all"
   |                 ^^^^^^^^^
   = help: did you mean "try_all"? Allowed: "try_all" or "refuse"
"#,
    );
}

#[test]
fn a_balance_with_a_slip_is_refused() {
    refused(
        r#""round_robin""#,
        r#""roundrobin""#,
        r#"
error: balance cannot be "roundrobin"
  --> lb.toml:22:11
   |
22 | balance = "roundrobin"
   |           ^^^^^^^^^^^^
   = help: did you mean "round_robin"? Allowed: "round_robin", "least_connections", "random_two", "source", "maglev" or "hash"
"#,
    );
}

#[test]
fn a_pool_without_backends_is_refused() {
    refused(
        "backends = [\"10.0.0.6:80\", \"10.0.0.7:80\"]\n",
        "\n",
        r#"
error: pool "web" has no backends
  --> lb.toml:20:1
   |
20 | [[pool]]
   | ^^^^^^^^
   = help: add at least one: backends = ["10.0.0.6:80"], or [pool.discover] with their source
"#,
    );
}

#[test]
fn an_empty_list_of_backends_is_refused() {
    refused(
        r#"["10.0.0.6:80", "10.0.0.7:80"]"#,
        "[]",
        r#"
error: pool "web" has no backends
  --> lb.toml:24:1
   |
24 | backends = []
   | ^^^^^^^^^^^^^
   = help: add at least one: backends = ["10.0.0.6:80"], or [pool.discover] with their source
"#,
    );
}

#[test]
fn backends_given_twice_over_are_refused() {
    refused(
        "name = \"app\"\n",
        "name = \"app\"\nbackends = [\"10.0.1.8:8080\"]\n",
        r#"
error: pool "app" has both backends and [[pool.backend]]
  --> lb.toml:28:1
   |
28 | backends = ["10.0.1.8:8080"]
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: keep one of them: write a [[pool.backend]] for every backend, or list all addresses in backends
"#,
    );
}
