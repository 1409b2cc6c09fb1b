//! The command line of `lb`.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    admin::{Client, Request},
    agent::{self, Draft, DraftError},
    config::Config,
    dataplane::Dataplane,
    pool::AdminState,
    proxy::{self, Question},
};

mod certificate;
mod errors;
mod log;
mod peer;
mod status;
mod table;

const DEFAULT_CONFIG: &str = "/etc/lb/lb.toml";
const DEFAULT_SECRET: &str = "/etc/lb/peer.secret";
const DEFAULT_SOCKET: &str = "/run/lb/lb.sock";

/// What went wrong, whoever's fault: exit code 1. Of the configuration: 2.
const FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;

/// A load balancer: XDP steers, the agent terminates TLS.
#[derive(Debug, Parser)]
#[command(
    name = "lb",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent. SIGHUP reloads; SIGTERM ends it, and flows in the kernel go on.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// What to log: error, warn, info, debug, trace; or by module, as `lb=debug`.
        #[arg(long, value_name = "LEVEL", env = "LB_LOG", default_value = "info")]
        log: String,
        /// Take over from the agent at the other end of standard input: for `lb upgrade`.
        #[arg(long, hide = true)]
        take_over: bool,
    },
    /// Check a configuration: exit code 0 when it is valid, 2 when it is not.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show both hosts of the pair, services, backends, certificates and the XDP program.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Say which route takes a request, and why those before it do not.
    Explain {
        /// The whole URL: https://www.example.org/path?query.
        #[arg(long)]
        url: String,
        /// The method.
        #[arg(long, value_name = "METHOD", default_value = "GET")]
        method: String,
        /// A header line, `Name: value`; may be given several times.
        #[arg(long = "header", value_name = "LINE")]
        headers: Vec<String>,
        /// The service, where several listen on the URL's port.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Ask this configuration, and not the agent that runs.
        #[arg(long, short, value_name = "FILE", conflicts_with = "path")]
        config: Option<PathBuf>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show the last requests, handshakes and connections that ended early: why, and with which
    /// bytes.
    Errors {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Take a backend out of work for maintenance, and back; no reload.
    Backend {
        /// What to do with it.
        order: OrderArgument,
        /// The backend's name, or POOL/NAME.
        name: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Hand over to the other host of the pair: requests end here, then the address moves.
    Failover {
        #[command(flatten)]
        socket: Socket,
    },
    /// The certificates that the agent obtains by ACME.
    Certificate {
        #[command(subcommand)]
        command: CertificateCommand,
    },
    /// Have the agent read its configuration again.
    Reload {
        #[command(flatten)]
        socket: Socket,
    },
    /// Have the binary that is installed now take over from the agent that runs: nothing is lost, and
    /// every setting takes effect.
    Upgrade {
        #[command(flatten)]
        socket: Socket,
    },
    /// The pair's secret, for the link between the two agents.
    Peer {
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Detach the XDP program and remove its maps: flows end. The agent must have stopped.
    Unload {
        /// The configuration that the agent ran with.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Where the maps are pinned, whatever a configuration says.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
        pin_path: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// Show all certificates, and those that are obtained with their next order.
    List {
        #[command(flatten)]
        socket: Socket,
    },
    /// Show the certificate that is obtained for a service.
    Show {
        /// The service.
        service: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Renew the certificate that is obtained for a service, now.
    Renew {
        /// The service.
        service: String,
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Make the secret, once for both hosts; says what to do with it.
    Init {
        /// Where to put it.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_SECRET)]
        out: PathBuf,
        /// Replace the one that is there. The peer needs the new one too.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration.
    #[arg(long = "config", short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct Socket {
    /// Where the agent listens: `admin.socket` of its configuration.
    #[arg(long = "socket", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArgument {
    /// No new connections; established ones go on.
    Drain,
    /// Enable; takes traffic when its health checks pass.
    Ready,
    /// No traffic at all.
    Down,
}

impl From<OrderArgument> for AdminState {
    fn from(argument: OrderArgument) -> Self {
        match argument {
            OrderArgument::Drain => Self::Drain,
            OrderArgument::Ready => Self::Ready,
            OrderArgument::Down => Self::Down,
        }
    }
}

/// What a command that fails says, and the exit code that it ends with.
struct Failure {
    text: String,
    code: u8,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, code }) => {
            // There is nobody left to tell when standard error is closed.
            let _told = writeln!(io::stderr(), "{text}");
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run {
            config,
            log,
            take_over,
        } => run_agent(&config.file, &log, take_over),
        Command::Check { config } => check(&config.file),
        Command::Status { json, socket } => show_status(json, &socket.path),
        Command::Explain {
            url,
            method,
            headers,
            service,
            config,
            socket,
        } => {
            let question = Question {
                url,
                method,
                headers,
                service,
            };
            explain(question, config.as_deref(), &socket.path)
        }
        Command::Errors { json, socket } => show_errors(json, &socket.path),
        Command::Backend {
            order,
            name,
            socket,
        } => {
            let order = order.into();
            give(&Request::Backend { name, order }, &socket.path)
        }
        Command::Failover { socket } => give(&Request::Failover, &socket.path),
        Command::Certificate { command } => match command {
            CertificateCommand::List { socket } => {
                let status = Client::new(&socket.path).status().map_err(failed)?;
                print(&status::certificate_list(
                    &status,
                    has_colour(&io::stdout()),
                ))
            }
            CertificateCommand::Show { service, socket } => {
                let status = Client::new(&socket.path).status().map_err(failed)?;
                print(&certificate::show(&status, &service).map_err(failed)?)
            }
            CertificateCommand::Renew { service, socket } => {
                give(&Request::Renew { service }, &socket.path)
            }
        },
        Command::Reload { socket } => give(&Request::Reload, &socket.path),
        Command::Upgrade { socket } => give(&Request::Upgrade, &socket.path),
        Command::Peer {
            command: PeerCommand::Init { out, force },
        } => print(&peer::init(&out, force).map_err(failed)?),
        Command::Unload { config, pin_path } => unload(&config, pin_path),
    }
}

fn run_agent(file: &Path, log: &str, take_over: bool) -> Result<(), Failure> {
    log::start(log).map_err(failed)?;
    let run = if take_over {
        agent::take_over
    } else {
        agent::run
    };
    run(file).map_err(|error| match error {
        agent::Error::Draft(error) => refused(&error),
        agent::Error::Unreachable(errors) => Failure {
            text: errors.render(has_colour(&io::stderr())),
            code: FAILED,
        },
        other => failed(other),
    })
}

fn check(file: &Path) -> Result<(), Failure> {
    let draft = Draft::read(file).map_err(|error| refused(&error))?;
    let colour = has_colour(&io::stdout());
    let mut text = String::new();
    for warning in &draft.warnings {
        text.push_str(&warning.render(colour));
        text.push_str("\n\n");
    }
    let name = file.display();
    let summary = agent::summary(&draft.config);
    print(&format!("{text}{name} is valid: {summary}\n"))
}

fn show_status(json: bool, socket: &Path) -> Result<(), Failure> {
    let status = Client::new(socket).status().map_err(failed)?;
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(failed)?;
        return print(&(text + "\n"));
    }
    print(&status::render(&status, has_colour(&io::stdout())))
}

fn show_errors(json: bool, socket: &Path) -> Result<(), Failure> {
    let entries = Client::new(socket).errors().map_err(failed)?;
    if json {
        let text = serde_json::to_string_pretty(&entries).map_err(failed)?;
        return print(&(text + "\n"));
    }
    print(&errors::render(&entries, has_colour(&io::stdout())))
}

fn give(request: &Request, socket: &Path) -> Result<(), Failure> {
    let said = Client::new(socket).request(request).map_err(failed)?;
    print(&(said + "\n"))
}

fn explain(question: Question, config: Option<&Path>, socket: &Path) -> Result<(), Failure> {
    let text = match config {
        None => Client::new(socket)
            .request(&Request::Explain(question))
            .map_err(failed)?,
        Some(file) => {
            let parsed = Config::load(file).map_err(|errors| Failure {
                text: errors.render(has_colour(&io::stderr())),
                code: BAD_CONFIG,
            })?;
            proxy::explain(&parsed.config.services, &question).map_err(failed)?
        }
    };
    print(&text)
}

fn unload(config: &Path, pin_path: Option<PathBuf>) -> Result<(), Failure> {
    let pin_path = match pin_path {
        Some(path) => path,
        None => configured_pin_path(config)?,
    };
    let removed = Dataplane::unload(&pin_path).map_err(failed)?;
    if removed.is_empty() {
        return print(&format!("nothing is loaded under {}\n", pin_path.display()));
    }
    let lines = removed
        .iter()
        .map(|path| format!("removed {}\n", path.display()));
    print(&lines.collect::<String>())
}

fn configured_pin_path(config: &Path) -> Result<PathBuf, Failure> {
    match Config::load(config) {
        Ok(parsed) => Ok(parsed.config.dataplane.pin_path),
        Err(errors) => Err(Failure {
            text: format!(
                "{}\n\nWithout a good configuration, say where the maps are with --pin-path",
                errors.render(has_colour(&io::stderr()))
            ),
            code: BAD_CONFIG,
        }),
    }
}

fn failed(error: impl Display) -> Failure {
    Failure {
        text: format!("lb: {error}"),
        code: FAILED,
    }
}

fn refused(error: &DraftError) -> Failure {
    Failure {
        text: error.render(has_colour(&io::stderr())),
        code: BAD_CONFIG,
    }
}

/// Prints to standard output. A reader that has gone away (`lb status | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Colour is for terminals, and for people who have not said no (<https://no-color.org>).
fn has_colour(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
}
