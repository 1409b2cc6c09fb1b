//! `lb top`: services, backends, rates and dropped packets, live on a terminal or once as a table.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    output::{Failure, failed, has_colour, print},
    table::{Cell, Table},
};
use crate::admin::{Client, Status};

mod app;
mod draw;
mod rates;
mod sheet;

use app::App;
use rates::Rates;
use sheet::{Sheet, Sort};

/// Interval at which the agent is asked for its status. Rates are computed over this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait for a pressed key before looking for an answer of the agent and for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// The arguments of `lb top`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Print one table with the rates of one second, and end. Needs no terminal.
    #[arg(long)]
    once: bool,
}

/// Shows `lb top` on the terminal until the operator quits, or prints the tables once if `--once`
/// is given.
pub(super) fn show(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    if arguments.once {
        return once(client);
    }
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(failed(
            "`lb top` needs a terminal: without one use `lb top --once`",
        ));
    }
    // If no agent runs, the error is printed before the screen of the terminal is replaced.
    let first = client.status().map_err(failed)?;
    let ended = ended_by_signal().map_err(failed)?;
    let answers = ask(client.clone());
    // After this call, the terminal is also restored if the program panics.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = live(&mut terminal, first, (&answers, &ended));
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(failed)
}

fn live(
    terminal: &mut DefaultTerminal,
    first: Status,
    (answers, ended): (&Receiver<Result<Status, String>>, &AtomicBool),
) -> io::Result<()> {
    let mut app = App::default();
    app.update(Ok(first));
    while !ended.load(Relaxed) {
        terminal.draw(|frame| draw::draw(&app, frame))?;
        let mut changed = false;
        while !changed && !ended.load(Relaxed) {
            if event::poll(LOOK)? {
                changed = true;
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                    && !app.key(key)
                {
                    return Ok(());
                }
            }
            while let Ok(answer) = answers.try_recv() {
                app.update(answer);
                changed = true;
            }
        }
    }
    Ok(())
}

/// Asks the agent for its status once a second, and returns the receiver of the answers. This runs
/// on another thread, so that keys are handled while the agent does not answer.
fn ask(client: Client) -> Receiver<Result<Status, String>> {
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        let mut next = Instant::now() + INTERVAL;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + INTERVAL;
            let answer = client.status().map_err(|error| error.to_string());
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    answers
}

/// Returns a flag that is set when the process gets SIGTERM or SIGHUP. `lb top` then restores the
/// terminal and ends.
fn ended_by_signal() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        flag.store(true, Relaxed);
    });
    Ok(ended)
}

fn once(client: &Client) -> Result<(), Failure> {
    let before = client.status().map_err(failed)?;
    thread::sleep(INTERVAL);
    let now = client.status().map_err(failed)?;
    let rates = Rates::between(Some(&before), &now);
    let sort = Sort::default();
    let sheets = [
        sheet::services(&rates, sort, ""),
        sheet::backends(&rates, sort, ""),
        sheet::drops(&rates),
    ];
    let colour = has_colour(&io::stdout());
    let sheets = sheets.iter().filter(|sheet| !sheet.rows.is_empty());
    let tables: Vec<_> = sheets.map(|sheet| render(sheet, colour)).collect();
    print(&tables.join("\n"))
}

fn render(sheet: &Sheet, colour: bool) -> String {
    let columns: Vec<_> = sheet
        .columns
        .iter()
        .map(|it| (it.title, it.align))
        .collect();
    let mut table = Table::new(&columns);
    for row in &sheet.rows {
        table.push(
            row.iter()
                .map(|(text, style)| Cell::styled(text, *style))
                .collect(),
        );
    }
    table.render(colour)
}
