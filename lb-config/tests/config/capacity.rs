//! Tests of how many services and backends the kernel's tables have room for.

use super::{parse, refused_text};

/// Returns a file with one pool of this many backends, and this many services of mode `tcp` that
/// use it.
fn crowded(backends: usize, services: usize) -> String {
    let address = |number: usize| {
        let [.., a, b] = number.to_be_bytes();
        format!("\"10.0.{a}.{b}:80\"")
    };
    let backends: Vec<_> = (1..=backends).map(address).collect();
    let mut text = format!(
        "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\n[[pool]]\nname = \"web\"\n\
         backends = [{}]\n",
        backends.join(", ")
    );
    for number in 1..=services {
        let port = 10_000 + number;
        text.push_str(&format!(
            "[[service]]\nname = \"s{number}\"\nlisten = \"172.31.0.68:{port}\"\n\
             mode = \"tcp\"\npool = \"web\"\n"
        ));
    }
    text
}

#[test]
fn as_many_services_and_backends_as_there_is_room_for_are_taken() {
    parse(&crowded(4, 4096)).expect("4,096 services, 16,384 backends");
}

#[test]
fn more_services_than_there_is_room_for_are_refused() {
    refused_text(
        &crowded(1, 4097),
        r#"
error: service "s4097" exceeds the limit: the file has 4097 services, and at most 4096 are supported
     --> lb.toml:20489:8
      |
20489 | name = "s4097"
      |        ^^^^^^^
      = help: remove services, or divide them between two pairs of hosts
"#,
    );
}

#[test]
fn more_backends_than_there_is_room_for_are_refused() {
    refused_text(
        &crowded(4097, 4),
        r#"
error: service "s4" exceeds the limit on backends: with it, the services of mode "tcp" have 16388, and at most 16384 are supported
  --> lb.toml:24:8
   |
24 | name = "s4"
   |        ^^^^
   = help: a backend counts once for each service of mode "tcp" that uses its pool
"#,
    );
}
