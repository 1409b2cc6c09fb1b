//! Kinds of values that are texts other than addresses: names, paths, ranges.

use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};

use super::{
    address::whole,
    kind::{Complaint, Text, TextOrDigits},
    model::Name,
};

/// A value that is a name chosen by the operator.
pub(super) const NAME: Text<Name> = Text {
    what: "name: 1 to 63 of `a-z A-Z 0-9 . _ -`",
    parse: name,
};

/// A value that is the name of a network interface.
pub(super) const INTERFACE: Text<String> = Text {
    what: "name of an interface, at most 15 bytes",
    parse: interface,
};

/// A value that is the absolute path of a file or folder.
pub(super) const PATH: Text<PathBuf> = Text {
    what: "absolute path",
    parse: path,
};

/// A value that is the absolute path of a Unix socket.
pub(super) const SOCKET: Text<PathBuf> = Text {
    what: "absolute path, at most 107 bytes",
    parse: socket,
};

/// A value that is a folder of the BPF file system.
pub(super) const PIN_PATH: Text<PathBuf> = Text {
    what: "folder under `/sys/fs/bpf`",
    parse: pin_path,
};

/// A value that is a range of source ports for NAT.
pub(super) const PORTS: Text<RangeInclusive<u16>> = Text {
    what: "`\"FROM-TO\"`, at least 1,024 ports from 1024 up",
    parse: ports,
};

/// A value that is a range of HTTP statuses.
pub(super) const STATUSES: TextOrDigits<RangeInclusive<u16>> = TextOrDigits(Text {
    what: "a status or `\"FROM-TO\"`, 200 to 599",
    parse: statuses,
});

/// A value that is the target of a health check's request.
pub(super) const TARGET: Text<String> = Text {
    what: "path of a URL, with its query",
    parse: target,
};

/// A value that is the Host header of a health check's request.
pub(super) const HOST: Text<String> = Text {
    what: "host name, with a port if needed",
    parse: host,
};

fn name(text: &str) -> Result<Name, Complaint> {
    let hint = "a name is 1 to 63 of a-z A-Z 0-9 . _ -";
    if text.is_empty() {
        return Err(Complaint::new("is empty", hint));
    }
    if text.len() > 63 {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(found, hint));
    }
    // Brackets and colons are only in the names of backends that are named after their address.
    let strange = text
        .chars()
        .find(|character| !character.is_ascii_alphanumeric() && !".-_".contains(*character));
    if let Some(strange) = strange {
        return Err(Complaint::new(
            format!("has the character {strange:?}"),
            hint,
        ));
    }
    Name::parse(text).ok_or_else(|| Complaint::new("is not a name", hint))
}

/// Parses the name of an interface by the rules of `dev_valid_name()` (net/core/dev.c).
fn interface(text: &str) -> Result<String, Complaint> {
    const LONGEST: usize = 15;
    let hint = "`ip link` lists the interfaces of this host";
    if text.is_empty() {
        return Err(Complaint::new("is empty", hint));
    }
    if text.len() > LONGEST {
        let found = format!("is {} bytes long; the kernel allows {LONGEST}", text.len());
        return Err(Complaint::new(found, hint));
    }
    let strange = text.chars().find(|character| {
        "/:".contains(*character) || character.is_whitespace() || character.is_control()
    });
    if let Some(strange) = strange {
        let found = format!(
            "has the character {strange:?}, which is not allowed in the name of an \
                             interface"
        );
        return Err(Complaint::new(found, hint));
    }
    if matches!(text, "." | "..") {
        return Err(Complaint::new("is not the name of an interface", hint));
    }
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new(
            "is empty",
            "write a path that begins with /",
        ));
    }
    if text.contains('\0') {
        return Err(Complaint::new(
            "has a NUL byte",
            "a path cannot contain NUL: remove it",
        ));
    }
    if !text.starts_with('/') {
        return Err(Complaint::new(
            "does not begin with /",
            "write an absolute path: the agent's working directory is not yours",
        ));
    }
    Ok(PathBuf::from(text))
}

fn socket(text: &str) -> Result<PathBuf, Complaint> {
    // `sun_path`, which holds a socket's path, has 108 bytes, one of them for the NUL at its end:
    // unix(7).
    const LONGEST: usize = 107;
    let path = path(text)?;
    if text.len() > LONGEST {
        let found = format!("is {} bytes long", text.len());
        let hint = format!("the kernel allows {LONGEST} for a Unix socket");
        return Err(Complaint::new(found, hint));
    }
    if text.ends_with('/') {
        let hint = "add the name of the socket: \"/run/lb/lb.sock\"";
        return Err(Complaint::new("is a folder", hint));
    }
    Ok(path)
}

fn pin_path(text: &str) -> Result<PathBuf, Complaint> {
    let path = path(text)?;
    let hint = "pins can only be in the BPF file system: write, for example, \"/sys/fs/bpf/lb\"";
    let Ok(below) = path.strip_prefix("/sys/fs/bpf") else {
        return Err(Complaint::new("is not under /sys/fs/bpf", hint));
    };
    if below == Path::new("") {
        let found = "is the root of the BPF file system, which other programs use too";
        return Err(Complaint::new(
            found,
            "write a folder of lb's own: \"/sys/fs/bpf/lb\"",
        ));
    }
    let plain = |component| matches!(component, Component::Normal(_));
    if !below.components().all(plain) {
        return Err(Complaint::new("contains ..", hint));
    }
    // The BPF file system refuses names with a dot: bpf_lookup() in kernel/bpf/inode.c.
    if below.to_string_lossy().contains('.') {
        let found = "contains a dot, which the BPF file system does not allow";
        return Err(Complaint::new(found, hint));
    }
    Ok(path)
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    const FEWEST: u16 = 1024;
    let example = "write a range such as \"10240-32767\"";
    let range = text
        .split_once('-')
        .and_then(|(from, to)| Some((whole::<u16>(from.trim())?, whole::<u16>(to.trim())?)));
    let Some((from, to)) = range else {
        return Err(Complaint::new("is not a range of ports", example));
    };
    if from > to {
        let hint = format!("write \"{to}-{from}\"");
        return Err(Complaint::new("ends before it begins", hint));
    }
    if from < 1024 {
        let hint = "ports below 1024 are for services: begin at 1024 or above";
        return Err(Complaint::new("begins below 1024", hint));
    }
    if to - from < FEWEST - 1 {
        let found = format!("has too few ports: {}", to - from + 1);
        let hint = format!(
            "every connection to a backend holds one: write {FEWEST} ports or more, such as \
             \"10240-32767\""
        );
        return Err(Complaint::new(found, hint));
    }
    Ok(from..=to)
}

fn statuses(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    let example = "write a status such as 200, or a range such as \"200-399\"";
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (Some(from), Some(to)) = (whole::<u16>(from.trim()), whole::<u16>(to.trim())) else {
        return Err(Complaint::new(
            "is not a status or a range of them",
            example,
        ));
    };
    if from > to {
        let hint = format!("write \"{to}-{from}\"");
        return Err(Complaint::new("ends before it begins", hint));
    }
    if from < 200 || to > 599 {
        return Err(Complaint::new("is not within 200 to 599", example));
    }
    Ok(from..=to)
}

fn target(text: &str) -> Result<String, Complaint> {
    if !text.starts_with('/') {
        let hint = "write the path only, such as \"/healthz\"; `host` sets the Host header";
        return Err(Complaint::new("does not begin with /", hint));
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !text.bytes().all(plain) {
        let hint = "requests have printable ASCII without spaces and #: write other characters as \
                    %XX";
        return Err(Complaint::new("is not allowed in a request", hint));
    }
    if text.len() > 2048 {
        let found = format!("is {} bytes long", text.len());
        return Err(Complaint::new(found, "at most 2048 are allowed"));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, Complaint> {
    let hint = "write a name, with a port if needed: \"example.com\", \"example.com:8080\"";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(plain) {
        return Err(Complaint::new("is not a Host header", hint));
    }
    Ok(text.to_owned())
}
