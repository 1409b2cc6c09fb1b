//! The command line of `lb`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::{
    admin::{Client, Request},
    agent::{self, Draft, DraftError},
    config::Config,
    dataplane::Dataplane,
    logging::{self, Logging},
    pool::AdminState,
    proxy::{self, Question},
};

mod certificate;
mod doctor;
mod errors;
mod events;
mod generate;
mod import;
mod output;
mod peer;
mod status;
mod table;
mod top;

use output::{BAD_CONFIG, FAILED, Failure, failed, has_colour, print};

const DEFAULT_CONFIG: &str = "/etc/lb/lb.toml";
const DEFAULT_SECRET: &str = "/etc/lb/peer.secret";
const DEFAULT_SOCKET: &str = "/run/lb/lb.sock";

/// Load balancer with an XDP data plane and an HTTPS front.
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
    /// Run the agent. SIGHUP reloads the configuration; SIGTERM stops the agent, while the kernel
    /// keeps forwarding.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Log level: error, warn, info, debug or trace; or levels by module, such as `lb=debug`.
        /// Overrides `[log] level` of the configuration.
        #[arg(long, value_name = "LEVEL", env = "LB_LOG", value_parser = logging::check_level)]
        log: Option<String>,
        /// Take over from the agent at the other end of standard input; used by `lb upgrade`.
        #[arg(long, hide = true)]
        take_over: bool,
    },
    /// Validate a configuration file. The exit code is 0 if it is valid, 2 if not.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show the status of the pair, services, backends, certificates and the XDP program.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Explain which route matches a request, and why those before it do not.
    Explain {
        /// The full URL of the request, such as `https://www.example.org/path?query`.
        #[arg(long)]
        url: String,
        /// The method of the request.
        #[arg(long, value_name = "METHOD", default_value = "GET")]
        method: String,
        /// A header of the request, as `Name: value`; can be repeated.
        #[arg(long = "header", value_name = "LINE")]
        headers: Vec<String>,
        /// The service, needed if several listen on the URL's port.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Use this configuration file instead of asking the running agent.
        #[arg(long, short, value_name = "FILE", conflicts_with = "path")]
        config: Option<PathBuf>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Examine the host, the peer, AWS, names and backends, and say how to fix what is wrong. The
    /// exit code is 0 if all checks passed, 1 if there are warnings, 2 if there are failures.
    Doctor {
        #[command(flatten)]
        arguments: doctor::Arguments,
    },
    /// Show the most recent requests, handshakes and connections that ended early, with the reason
    /// and the offending bytes.
    Errors {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show what happened on this host, and why: backends, roles, certificates, reloads.
    Events {
        #[command(flatten)]
        arguments: events::Arguments,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show services, backends, rates and dropped packets, live on a terminal.
    Top {
        #[command(flatten)]
        arguments: top::Arguments,
        #[command(flatten)]
        socket: Socket,
    },
    /// Take a backend out of service for maintenance or put it back, without a reload.
    Backend {
        /// The operator override to set.
        order: OrderArgument,
        /// The backend, as NAME or POOL/NAME.
        name: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Hand over to the other host of the pair. Requests on this host end first, then the address
    /// moves.
    Failover {
        #[command(flatten)]
        socket: Socket,
    },
    /// Show and renew the certificates that the agent obtains by ACME.
    Certificate {
        #[command(subcommand)]
        command: CertificateCommand,
    },
    /// Make the agent reload its configuration.
    Reload {
        #[command(flatten)]
        socket: Socket,
    },
    /// Change the log level of the running agent, for a time or until it ends.
    LogLevel {
        /// The level: error, warn, info, debug or trace; or levels by module, such as `lb=debug`;
        /// or `configured`.
        level: String,
        /// Return to the configured level after this time, such as `10m`.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Make the installed binary take over from the running agent. No connection is lost, and all
    /// settings take effect.
    Upgrade {
        #[command(flatten)]
        socket: Socket,
    },
    /// Convert the files of HAProxy and Keepalived into a configuration of lb; what is not carried
    /// over is listed on standard error.
    Import {
        #[command(flatten)]
        arguments: import::Arguments,
    },
    /// Manage the pair's secret, which authenticates the link between the two agents.
    Peer {
        #[command(subcommand)]
        command: PeerCommand,
    },
    /// Detach the XDP program and remove its maps, which ends all flows. Stop the agent first.
    Unload {
        /// The configuration file that the agent ran with.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// The directory that the maps are pinned in, instead of the one in the configuration.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
        pin_path: Option<PathBuf>,
    },
    /// Write manual pages and shell completions, for a package.
    #[command(hide = true)]
    Generate {
        /// The directory to write to.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// List all certificates, and the next order of those that are obtained.
    List {
        #[command(flatten)]
        socket: Socket,
    },
    /// Show the certificate that is obtained for a service.
    Show {
        /// The name of the service.
        service: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Renew the certificate that is obtained for a service now, before it is due.
    Renew {
        /// The name of the service.
        service: String,
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, Subcommand)]
enum PeerCommand {
    /// Create the secret, once for both hosts, and print the next steps.
    Init {
        /// The file to create.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_SECRET)]
        out: PathBuf,
        /// Replace an existing file. The new secret must be copied to the peer.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct Socket {
    /// The agent's admin socket, `admin.socket` in its configuration.
    #[arg(long = "socket", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArgument {
    /// Send no new connections; established ones continue.
    Drain,
    /// Remove the override; the health checks decide.
    Ready,
    /// Send no traffic.
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

/// Runs the command given by the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, code }) => {
            // If standard error is closed, the exit code alone reports the failure.
            if !text.is_empty() {
                let _written = writeln!(io::stderr(), "{text}");
            }
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
        } => run_agent(&config.file, log.as_deref(), take_over),
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
        Command::Doctor { arguments } => doctor::run(&arguments),
        Command::Errors { json, socket } => show_errors(json, &socket.path),
        Command::Events { arguments, socket } => {
            events::show(&arguments, &Client::new(&socket.path))
        }
        Command::Top { arguments, socket } => top::show(&arguments, &Client::new(&socket.path)),
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
        Command::Import { arguments } => {
            let imported = import::run(&arguments).map_err(failed)?;
            print(&imported.configuration)?;
            write!(io::stderr(), "{}", imported.report).map_err(failed)
        }
        Command::Reload { socket } => give(&Request::Reload, &socket.path),
        Command::LogLevel {
            level,
            time,
            socket,
        } => {
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let for_ms = time.map(millis);
            give(&Request::LogLevel { level, for_ms }, &socket.path)
        }
        Command::Upgrade { socket } => give(&Request::Upgrade, &socket.path),
        Command::Peer {
            command: PeerCommand::Init { out, force },
        } => print(&peer::init(&out, force).map_err(failed)?),
        Command::Unload { config, pin_path } => unload(&config, pin_path),
        Command::Generate { directory } => {
            generate::write(Cli::command(), &directory).map_err(failed)
        }
    }
}

fn run_agent(file: &Path, log: Option<&str>, take_over: bool) -> Result<(), Failure> {
    let logging = Logging::start(log, has_colour(&io::stderr())).map_err(failed)?;
    let journal = logging.journal.clone();
    let run = if take_over {
        agent::take_over
    } else {
        agent::run
    };
    let ended = run(file, logging);
    journal.close();
    ended.map_err(|error| match error {
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
        return print(&format!("nothing to remove under {}\n", pin_path.display()));
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
                "{}\n\nWithout a valid configuration, give the directory of the maps with --pin-path",
                errors.render(has_colour(&io::stderr()))
            ),
            code: BAD_CONFIG,
        }),
    }
}

fn refused(error: &DraftError) -> Failure {
    Failure {
        text: error.render(has_colour(&io::stderr())),
        code: BAD_CONFIG,
    }
}

#[cfg(test)]
mod tests;
