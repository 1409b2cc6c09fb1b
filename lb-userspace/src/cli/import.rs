//! `lb import`: converts the files of HAProxy and Keepalived into a configuration of lb.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use lb_import::{File, Input, certificate_folders, import, list_folder};

/// Convert the files of HAProxy and Keepalived into a configuration of lb; what is not carried over
/// is listed on standard error.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    /// haproxy.cfg.
    #[arg(long, value_name = "FILE", required_unless_present = "keepalived")]
    haproxy: Option<PathBuf>,
    /// keepalived.conf.
    #[arg(long, value_name = "FILE")]
    keepalived: Option<PathBuf>,
    /// The script that Keepalived runs on becoming master, where it moves an Elastic IP.
    #[arg(long, value_name = "FILE", requires = "keepalived")]
    script: Option<PathBuf>,
    /// The other host still runs Keepalived: leave out what it does not speak.
    #[arg(long, requires = "keepalived")]
    keepalived_peer: bool,
    /// Where to write the configuration; without it, to standard output. A file that exists is not
    /// replaced.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `lb import` prints: on standard output the configuration, which is empty here if it was
/// written to a file, and on standard error the report of what could not be carried over.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) configuration: String,
    pub(super) report: String,
}

/// Converts the files of HAProxy and Keepalived. Writes the configuration to the file of
/// `--output`, if that is given.
///
/// # Errors
///
/// A file cannot be read or written; the error names it.
pub(super) fn run(arguments: &Arguments) -> Result<Imported, String> {
    let haproxy = read(arguments.haproxy.as_deref())?;
    let keepalived = read(arguments.keepalived.as_deref())?;
    let script = read(arguments.script.as_deref())?;
    let haproxy = haproxy.as_ref().map(file);
    let input = Input {
        haproxy,
        keepalived: keepalived.as_ref().map(file),
        script: script.as_ref().map(file),
        folders: haproxy.map(listed).unwrap_or_default(),
        keepalived_peer: arguments.keepalived_peer,
    };
    let import = import(&input).map_err(|errors| format!("the output is not valid: {errors}"))?;
    let report = import.report();
    let Some(output) = &arguments.output else {
        let configuration = import.configuration;
        return Ok(Imported {
            configuration,
            report,
        });
    };
    write(output, &import.configuration)
        .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
    Ok(Imported {
        configuration: String::new(),
        report: format!("{report}\nwrote {}\n", output.display()),
    })
}

/// Returns the name and text of a file; `None` if `path` is `None`. Bytes that are not UTF-8 are
/// replaced, because comments in the file may contain such bytes.
fn read(path: Option<&Path>) -> Result<Option<(String, String)>, String> {
    let Some(path) = path else {
        return Ok(None);
    };
    let bytes =
        fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Some((name.to_string_lossy().into_owned(), text)))
}

fn file((name, text): &(String, String)) -> File<'_> {
    File { name, text }
}

/// Returns the names of the files in each folder of certificates that haproxy.cfg names. A folder
/// that cannot be listed, for example because it is on another host, is left out, and the operator
/// is asked to fill in its files.
fn listed(haproxy: File<'_>) -> BTreeMap<String, Vec<String>> {
    let folders = certificate_folders(haproxy).into_iter();
    let listed = folders.filter_map(|folder| {
        let files = list_folder(Path::new(&folder)).ok()?;
        (!files.is_empty()).then_some((folder, files))
    });
    listed.collect()
}

/// Writes a new file that other users cannot read (mode 0640), because it may contain the password
/// of VRRP adverts.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &Path) -> Arguments {
        Arguments {
            haproxy: Some(folder.join("haproxy.cfg")),
            keepalived: None,
            script: None,
            keepalived_peer: false,
            output: Some(folder.join("lb.toml")),
        }
    }

    #[test]
    fn the_files_of_a_folder_of_certificates_are_listed_and_no_file_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = folder.path().join("certs");
        fs::create_dir(&certificates).expect("created");
        fs::write(certificates.join("a.example.com.pem"), "").expect("written");
        fs::write(certificates.join("a.example.com.pem.key"), "").expect("written");
        let haproxy = format!(
            "listen web\n bind *:443 ssl crt {}/\n mode http\n server a 10.0.0.1:80\n",
            certificates.display()
        );
        let arguments = arguments(folder.path());
        let missing = run(&arguments).expect_err("there is no haproxy.cfg");
        assert!(missing.contains("haproxy.cfg"), "{missing}");
        fs::write(folder.path().join("haproxy.cfg"), haproxy).expect("written");
        let imported = run(&arguments).expect("imported");
        assert!(imported.configuration.is_empty() && imported.report.contains("wrote "));
        let written = fs::read_to_string(folder.path().join("lb.toml")).expect("written");
        assert!(written.contains("/certs/a.example.com.pem\"]"), "{written}");
        assert!(run(&arguments).is_err(), "it was replaced");
    }
}
