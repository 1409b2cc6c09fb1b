//! Parses PEM files leniently (RFC 7468): a block may begin anywhere, and an unusable block is an
//! error with its line and not ignored.

use std::fmt;

use memchr::memmem;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use x509_parser::prelude::FromDer as _;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Longest label that is parsed, in bytes: longer than any known label.
const MAX_LABEL: usize = 64;

/// A PEM block.
#[derive(Debug)]
pub(super) struct Block {
    /// The line that the block begins in, from 1.
    pub(super) line: usize,
    /// The label.
    pub(super) label: String,
    /// The decoded content.
    pub(super) content: Content,
}

/// The content of a block.
#[derive(Debug)]
pub(super) enum Content {
    /// A certificate.
    Certificate(CertificateDer<'static>),
    /// An unencrypted private key.
    Key(PrivateKeyDer<'static>),
    /// Something that a server does not need, such as key parameters.
    Other,
}

/// Why a file cannot be parsed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PemProblem {
    /// The file is not ASCII or UTF-8.
    #[error("it is UTF-16; save it as ASCII or UTF-8")]
    Utf16,
    /// A block has no end.
    #[error("the {label} that begins on line {line} has no end: the file is truncated")]
    NoEnd {
        /// The line that the block begins in.
        line: usize,
        /// The label.
        label: String,
    },
    /// A block ends with another label.
    #[error("the {label} that begins on line {line} ends as {end}: a part of the file is missing")]
    OtherEnd {
        /// The line that the block begins in.
        line: usize,
        /// The label at its beginning.
        label: String,
        /// The label at its end.
        end: String,
    },
    /// A key is encrypted.
    #[error(
        "the {label} in line {line} is encrypted, and the agent cannot ask for its password; decrypt it with: openssl pkey -in FILE"
    )]
    Encrypted {
        /// The line that the block begins in.
        line: usize,
        /// The label.
        label: String,
    },
    /// A key is in OpenSSH's format.
    #[error(
        "the {label} in line {line} is OpenSSH's; convert it with: ssh-keygen -p -m PKCS8 -f FILE"
    )]
    OpenSsh {
        /// The line that the block begins in.
        line: usize,
        /// The label.
        label: String,
    },
    /// A block is not valid base64.
    #[error("the {label} that begins on line {line} cannot be decoded: {what}")]
    Content {
        /// The line that the block begins in.
        line: usize,
        /// The label.
        label: String,
        /// The description of the decoder's error.
        what: String,
    },
}

/// Returns the blocks of a file, in their order.
pub(super) fn blocks(text: &[u8]) -> Result<Vec<Block>, PemProblem> {
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return Err(PemProblem::Utf16);
    }
    let mut blocks = Vec::new();
    let mut place = 0;
    while let Some(found) = memmem::find(&text[place..], BEGIN) {
        let begin = place + found;
        let Some((label, body)) = label(&text[begin + BEGIN.len()..]) else {
            place = begin + BEGIN.len();
            continue;
        };
        let line = 1 + memchr::memchr_iter(b'\n', &text[..begin]).count();
        let (body, rest) = up_to_end(body, line, &label)?;
        let content = content(&label, body, line)?;
        blocks.push(Block {
            line,
            label,
            content,
        });
        place = text.len() - rest.len();
    }
    Ok(blocks)
}

/// Parses a label. Returns the label and the text after it, from an input such as
/// `CERTIFICATE-----…`.
fn label(text: &[u8]) -> Option<(String, &[u8])> {
    let window = &text[..text.len().min(MAX_LABEL + DASHES.len())];
    let length = memmem::find(window, DASHES)?;
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    let label = &text[..length];
    label
        .iter()
        .all(|byte| is_label(byte) || matches!(byte, b'.' | b'-'))
        .then(|| {
            let label = String::from_utf8_lossy(label).trim().to_owned();
            (label, &text[length + DASHES.len()..])
        })
}

/// Returns the body of a block, and the text that follows the block.
fn up_to_end<'t>(
    body: &'t [u8],
    line: usize,
    label_: &str,
) -> Result<(&'t [u8], &'t [u8]), PemProblem> {
    let no_end = || PemProblem::NoEnd {
        line,
        label: label_.to_owned(),
    };
    let end = memmem::find(body, END).ok_or_else(no_end)?;
    let body_alone = &body[..end];
    // Another block begins first: the end of this one is missing.
    if memmem::find(body_alone, BEGIN).is_some() {
        return Err(no_end());
    }
    let (found, rest) = label(&body[end + END.len()..]).ok_or_else(no_end)?;
    if found == label_ {
        Ok((body_alone, rest))
    } else {
        Err(PemProblem::OtherEnd {
            line,
            label: label_.to_owned(),
            end: found,
        })
    }
}

fn content(label: &str, body: &[u8], line: usize) -> Result<Content, PemProblem> {
    let label_owned = label.to_owned();
    match label {
        // `X509 CERTIFICATE` is OpenSSL's old label. `TRUSTED CERTIFICATE` has OpenSSL's trust
        // settings after the certificate, which must not be sent to clients.
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            let decoded = CertificateDer::from_pem_slice(&plain("CERTIFICATE", body));
            let decoded = decoded.map_err(|error| undecodable(label, line, &error))?;
            Ok(Content::Certificate(first_element(decoded)))
        }
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            if memmem::find(body, b"ENCRYPTED").is_some() {
                return Err(PemProblem::Encrypted {
                    line,
                    label: label_owned,
                });
            }
            let decoded = PrivateKeyDer::from_pem_slice(&plain(label, body));
            let key = decoded.map_err(|error| undecodable(label, line, &error))?;
            Ok(Content::Key(key))
        }
        "ENCRYPTED PRIVATE KEY" => Err(PemProblem::Encrypted {
            line,
            label: label_owned,
        }),
        "OPENSSH PRIVATE KEY" => Err(PemProblem::OpenSsh {
            line,
            label: label_owned,
        }),
        _ => Ok(Content::Other),
    }
}

fn undecodable(label: &str, line: usize, error: &pem::Error) -> PemProblem {
    PemProblem::Content {
        line,
        label: label.to_owned(),
        what: error.to_string(),
    }
}

/// Formats a block with line breaks, as the decoder requires.
fn plain(label: &str, body: &[u8]) -> Vec<u8> {
    let digits = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits.copied().collect();
    let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in digits.chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    text
}

/// Returns the first DER element without trailing data; all bytes if it cannot be parsed.
fn first_element(der: CertificateDer<'static>) -> CertificateDer<'static> {
    let rest = match x509_parser::certificate::X509Certificate::from_der(&der) {
        Ok((rest, _)) => rest.len(),
        Err(_) => 0,
    };
    if rest == 0 {
        return der;
    }
    CertificateDer::from(der[..der.len() - rest].to_vec())
}

/// A list of a file's blocks, for error messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents(Vec<String>);

impl Contents {
    /// Describes the blocks.
    pub(super) fn of(blocks: &[Block]) -> Self {
        Self(blocks.iter().map(Block::describe).collect())
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it holds no PEM block (-----BEGIN …) at all");
        }
        write!(f, "it holds: {}", self.0.join("; "))
    }
}

impl Block {
    fn describe(&self) -> String {
        let Self { line, label, .. } = self;
        let what = match &self.content {
            Content::Certificate(der) => subject(der),
            Content::Key(_) => String::new(),
            Content::Other => " (not used)".to_owned(),
        };
        format!("line {line}: {label}{what}")
    }
}

fn subject(der: &CertificateDer<'_>) -> String {
    match x509_parser::certificate::X509Certificate::from_der(der) {
        Ok((_, certificate)) => format!(" \"{}\"", certificate.subject()),
        Err(error) => format!(" (cannot be parsed: {error})"),
    }
}

#[cfg(test)]
#[path = "pem_tests.rs"]
mod tests;
