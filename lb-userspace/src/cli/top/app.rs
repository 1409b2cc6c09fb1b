//! The state of `lb top`: what its keys change, and what it shows. Needs no terminal.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{rates::Rates, sheet::Sort};
use crate::admin::Status;

/// The state of `lb top`.
#[derive(Debug, Default)]
pub(super) struct App {
    /// The latest status of the agent; `None` before the first one.
    pub(super) status: Option<Status>,
    pub(super) rates: Rates,
    /// Why the agent's last answer was not a status; `None` if it was one.
    pub(super) problem: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Whether a typed character is appended to `filter`, the text that the names of the shown
    /// services and backends contain.
    pub(super) typing: bool,
    pub(super) help: bool,
    /// Number of rows of the table of backends that are scrolled out of sight above the first shown
    /// row.
    pub(super) scroll: usize,
}

impl App {
    /// Takes over the agent's status, and the rates since the previous one, or records why there is
    /// no status.
    pub(super) fn update(&mut self, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                self.rates = Rates::between(self.status.as_ref(), &status);
                self.status = Some(status);
                self.problem = None;
            }
            // The previous status and its rates stay on the screen.
            Err(error) => self.problem = Some(error),
        }
    }

    /// Handles a pressed key. Returns false if `lb top` has to end.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return false;
        }
        if self.typing {
            self.type_filter(key.code);
            return true;
        }
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('h' | '?') => self.help = !self.help,
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            _ => {}
        }
        let backends = self.rates.backends.len();
        self.scroll = self.scroll.min(backends.saturating_sub(1));
        true
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) => self.filter.push(character),
            _ => {}
        }
        self.scroll = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::examples_of_status as status;

    fn press(app: &mut App, keys: &str) -> bool {
        keys.chars().all(|key| {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                'v' => KeyCode::Down,
                key => KeyCode::Char(key),
            };
            app.key(KeyEvent::new(code, KeyModifiers::NONE))
        })
    }

    #[test]
    fn keys_sort_filter_help_scroll_and_quit() {
        let mut app = App::default();
        app.update(Ok(status()));
        assert!(press(&mut app, "ss"));
        assert_eq!(app.sort, Sort::Connections);
        assert!(press(&mut app, "/web\u{8}q\n"), "q is a part of the filter");
        assert_eq!((app.filter.as_str(), app.typing), ("weq", false));
        assert!(press(&mut app, "\u{1b}?"));
        assert!(app.filter.is_empty() && app.help);
        assert!(press(&mut app, "\u{1b}vvvvvv"));
        assert!(!app.help);
        assert_eq!(app.scroll, 2, "the last backend stays in view");
        assert!(!press(&mut app, "q"));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        app.typing = true;
        assert!(!app.key(interrupt));
    }

    #[test]
    fn what_was_known_stays_while_the_agent_does_not_answer() {
        let mut app = App::default();
        app.update(Ok(status()));
        app.update(Err("the agent is not running".to_owned()));
        assert!(app.problem.is_some() && app.status.is_some());
        app.update(Ok(status()));
        assert_eq!(app.problem, None);
    }
}
