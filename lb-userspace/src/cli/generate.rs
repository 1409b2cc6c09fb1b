//! `lb generate`: the manual pages and shell completions of a package, made from the command line
//! itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Command;
use clap_complete::Shell;

/// The shells that a package has completions for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes a manual page for each command that is not hidden into `man` below `directory`, and a
/// completion for each of [`SHELLS`] into `completions`. Creates the folders; overwrites files.
///
/// # Errors
/// What the file system reports, with the folder.
pub(super) fn write(mut command: Command, directory: &Path) -> Result<(), String> {
    let man = folder(directory, "man")?;
    clap_mangen::generate_to(command.clone(), &man).map_err(|error| failed(&man, &error))?;
    let completions = folder(directory, "completions")?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, "lb", &completions)
            .map_err(|error| failed(&completions, &error))?;
    }
    Ok(())
}

fn folder(directory: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = directory.join(name);
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    Ok(folder)
}

fn failed(folder: &Path, error: &io::Error) -> String {
    format!("could not write to {}: {error}", folder.display())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn every_command_that_is_not_hidden_has_a_page_and_a_completion_in_each_shell() {
        let directory = tempfile::tempdir().expect("a folder");
        write(Cli::command(), directory.path()).expect("written");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        assert!(read("man/lb.1").contains("lb\\-status(1)"));
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = directory.path().join(format!("man/lb-{name}.1"));
            assert_eq!(page.is_file(), !command.is_hide_set(), "{}", page.display());
        }
        assert!(read("man/lb-backend.1").contains("Send no new connections"));
        for completion in ["lb.bash", "_lb", "lb.fish"] {
            let text = read(&format!("completions/{completion}"));
            assert!(text.contains("failover"), "{completion}");
        }
        // The completion for fish is left out here, because its generator omits the values of
        // positional arguments.
        for completion in ["lb.bash", "_lb"] {
            let text = read(&format!("completions/{completion}"));
            assert!(text.contains("drain"), "{completion}");
        }
    }
}
