//! The Debian package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Release, tree::Tree};
use crate::child;

/// Builds the package and returns its file name.
///
/// # Errors
/// A tool of dpkg failed.
pub(super) fn build(release: &Release, tree: &Tree) -> anyhow::Result<String> {
    let control = tree.root.join("DEBIAN");
    fs::create_dir_all(&control)?;
    let architecture = child::output(release.command("dpkg").arg("--print-architecture"))?;
    let fields = fields(release, tree, &architecture)?;
    write(&control.join("control"), &fields, 0o644)?;
    write(
        &control.join("conffiles"),
        &configuration_files(tree),
        0o644,
    )?;
    write(&control.join("md5sums"), &md5_sums(release, tree)?, 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        write(
            &control.join(script),
            &self::script(release, script)?,
            0o755,
        )?;
    }
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
    let name = format!("lb_{}_{architecture}.deb", release.version);
    let mut build = release.command("dpkg-deb");
    build.arg("--root-owner-group").args(compression(release));
    build
        .arg("--build")
        .arg(&tree.root)
        .arg(release.out.join(&name));
    child::output(&mut build)?;
    Ok(name)
}

/// Returns the options of `dpkg-deb` for the compression: xz, because the dpkg of every supported
/// release reads it, or fast gzip in tests.
fn compression(release: &Release) -> [&'static str; 2] {
    if release.quick {
        ["-Zgzip", "-z1"]
    } else {
        ["-Zxz", "-z6"]
    }
}

fn fields(release: &Release, tree: &Tree, architecture: &str) -> anyhow::Result<String> {
    let depends = libraries(release, &tree.root.join("usr/bin/lb"))?;
    Ok(format!(
        "Package: lb\n\
         Version: {}\n\
         Architecture: {architecture}\n\
         Maintainer: the authors of lb <lb@localhost>\n\
         Installed-Size: {}\n\
         Depends: {depends}, passwd\n\
         Recommends: ca-certificates, systemd\n\
         Section: net\n\
         Priority: optional\n\
         Description: load balancer with an XDP data plane and an HTTPS front\n \
         lb steers TCP connections across backends in the kernel, terminates TLS for\n \
         HTTPS, checks the backends, and forms a pair with a second host by VRRP, with\n \
         an address that moves.\n",
        release.version,
        tree.kibibytes()?,
    ))
}

/// Returns the packages with the libraries that the binary needs, each with its minimum version, as
/// the field `Depends` lists them.
fn libraries(release: &Release, binary: &Path) -> anyhow::Result<String> {
    // dpkg-shlibdeps works only in the folder of a source package, so a minimal one is created.
    let source = release.scratch.join("source");
    fs::create_dir_all(source.join("debian"))?;
    fs::copy(
        release.sources.join("deb/control"),
        source.join("debian/control"),
    )?;
    let mut shlibdeps = release.command("dpkg-shlibdeps");
    shlibdeps.current_dir(&source).arg("-O").arg(binary);
    let said = child::output(&mut shlibdeps)?;
    let depends = said.strip_prefix("shlibs:Depends=");
    Ok(depends
        .with_context(|| format!("dpkg-shlibdeps said {said:?}"))?
        .to_owned())
}

fn configuration_files(tree: &Tree) -> String {
    let files = tree.files.iter().filter(|file| file.configuration);
    files.map(|file| format!("/{}\n", file.path)).collect()
}

/// Returns the content of the file `md5sums`, with which `dpkg --verify` compares: the sums of all
/// files but those of the configuration.
fn md5_sums(release: &Release, tree: &Tree) -> anyhow::Result<String> {
    let files = tree.files.iter().filter(|file| !file.configuration);
    let paths: Vec<PathBuf> = files.map(|file| PathBuf::from(&file.path)).collect();
    let mut sums = release.command("md5sum");
    let sums = child::output(sums.current_dir(&tree.root).args(paths))?;
    Ok(format!("{sums}\n"))
}

fn script(release: &Release, name: &str) -> anyhow::Result<String> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(format!(
        "#!/bin/sh\nset -eu\n\n{}\n{}",
        read(release.sources.join("common.sh"))?,
        read(release.sources.join("deb").join(name))?
    ))
}

fn write(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
    Ok(())
}
