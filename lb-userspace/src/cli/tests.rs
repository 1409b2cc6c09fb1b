//! Tests of the command line as a whole.

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn an_order_reads_as_a_sentence() {
    let cli = Cli::try_parse_from(["lb", "backend", "drain", "web/web2"]).expect("parsed");
    let Command::Backend { order, name, .. } = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(AdminState::from(order), AdminState::Drain);
    assert_eq!(name, "web/web2");
}

#[test]
fn a_hand_over_is_ordered_on_the_agents_socket() {
    let cli = Cli::try_parse_from(["lb", "failover", "--socket", "/x"]).expect("parsed");
    let Command::Failover { socket } = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(socket.path, Path::new("/x"));
}

#[test]
fn the_defaults_are_those_of_the_unit() {
    let cli = Cli::try_parse_from(["lb", "run"]).expect("parsed");
    let Command::Run { config, .. } = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(config.file, Path::new("/etc/lb/lb.toml"));
}

#[test]
fn the_level_of_the_log_is_checked() {
    for good in ["debug", "info,lb::proxy=debug", "lb=trace"] {
        let cli = Cli::try_parse_from(["lb", "run", "--log", good]).expect(good);
        let Command::Run { log, .. } = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(log.as_deref(), Some(good));
    }
    for bad in ["verbose", "INFO", "info,", "lb=loud", ""] {
        let error = Cli::try_parse_from(["lb", "run", "--log", bad]).expect_err(bad);
        let message = error.to_string();
        assert!(
            message.contains("use error, warn, info, debug or trace"),
            "{bad}: {message}"
        );
    }
}
