//! The HTTP front without XDP, health checks and configuration file, for measurements and
//! experiments.
//!
//! `front WORKERS LISTEN CERTIFICATE.pem|plain BACKEND…`, addresses as `IP:PORT`.

use std::{collections::HashMap, error::Error, num::NonZeroUsize, sync::Arc, time::Duration};

use lb::{
    acme::Challenges,
    config::{
        Backend, Balance, Http, Log, Mode, Name, Pool, Service, Timeouts, Tls, Weight, WhenAllDown,
    },
    pool::PoolView,
    proxy::{Frontend, Proxy},
    tickets::TicketKeys,
};
use lb_common::backend::BackendState;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("front WORKERS LISTEN CERTIFICATE.pem|plain BACKEND…")
    };
    let workers: NonZeroUsize = next()?.parse()?;
    let listen = next()?.parse()?;
    let mode = match next()?.as_str() {
        "plain" => Mode::Http,
        path => Mode::Https {
            certificates: vec![path.into()],
            obtained: None,
            tls: Tls::default(),
        },
    };
    let pool = Arc::new(pool(arguments)?);
    let states = vec![BackendState::Up; pool.backends.len()];
    let view = PoolView::new(Arc::clone(&pool), states);
    let (_view, receiver) = tokio::sync::watch::channel(Arc::new(view));
    let name = Name::parse("front").ok_or("a name")?;
    let service = Service {
        name,
        listen,
        mode,
        pool: Some(Arc::clone(&pool)),
        routing: Arc::default(),
        timeouts: Timeouts::default(),
    };
    let limits = limits(workers);
    let proxy = Proxy::start(&limits, &TicketKeys::new()?, &Challenges::default())?;
    let log = Log {
        format: lb::config::LineFormat::Text,
        level: "info".to_owned(),
        events_file: None,
        errors: 256,
        access: None,
    };
    let frontend = Frontend {
        service,
        moves: false,
        pools: HashMap::from([(pool.name.clone(), receiver)]),
    };
    if let Err(errors) = proxy.apply((&limits, &log), vec![frontend]) {
        for error in errors {
            eprintln!("{error}");
        }
        return Err("nothing is served".into());
    }
    // Runs until the end of the input: the parent process ends it by closing its end.
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        println!("{:#?}", proxy.counters());
    }
    proxy.shutdown(Duration::from_secs(5));
    Ok(())
}

fn pool(addresses: impl Iterator<Item = String>) -> Result<Pool, Box<dyn Error>> {
    let backend = |address: String| -> Result<Backend, Box<dyn Error>> {
        Ok(Backend {
            name: Name::parse(&address).ok_or("a backend is IP:PORT")?,
            address: address.parse()?,
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        })
    };
    Ok(Pool {
        name: Name::parse("backends").ok_or("a name")?,
        balance: Balance::RoundRobin,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: lb::config::PerRequest::default(),
        backends: addresses.map(backend).collect::<Result<_, _>>()?,
        discover: None,
    })
}

fn limits(workers: NonZeroUsize) -> Http {
    Http {
        workers,
        timeouts: Timeouts::default(),
        drain_timeout: Duration::from_secs(3600),
        max_header_bytes: 16384,
        max_connections: None,
        max_connections_per_client: 0,
        connection_buffer_bytes: 1 << 20,
        buffer_bytes: 256 << 20,
        idle_connections: 64,
        trusted_proxies: Vec::new(),
    }
}
