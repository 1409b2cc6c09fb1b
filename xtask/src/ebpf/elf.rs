//! Reads the programs of an ELF object: their instructions and their stack usage.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use object::{
    File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex,
    SectionKind, Symbol, SymbolKind,
};

use super::stack;

/// Size of an eBPF instruction in bytes; a 64-bit load takes two instructions.
const INSTRUCTION: u64 = 8;
/// Opcode of an eBPF call instruction: `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// Value of `src_reg` in a call to a function of the same object (`BPF_PSEUDO_CALL`).
const PSEUDO_CALL: u8 = 1;

/// A program in an ELF object, which the kernel can attach.
pub(crate) struct Program {
    /// Name of the program.
    pub(crate) name: String,
    /// The ELF section of the program, which determines how the program is attached.
    pub(crate) section: String,
    /// Number of instructions of the program and of the functions that it calls.
    pub(crate) instructions: usize,
    /// Bytes of stack that the program and the functions that it calls use at most.
    pub(crate) stack: usize,
}

/// Returns the programs of an object, sorted by name. Programs are the functions outside the
/// section `.text`.
///
/// # Errors
/// The object is malformed.
pub(crate) fn programs(file: &File<'_>) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for function in functions(file)? {
        let section = section(file, function.section)?;
        let name = section.name().context("a section has no readable name")?;
        if name != ".text" {
            programs.push(Program {
                name: function.name.clone(),
                section: name.to_owned(),
                instructions: instructions(file, &function)?,
                stack: stack(file, &function, 0)?,
            });
        }
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

#[derive(Clone, Eq, Hash, PartialEq)]
struct Function {
    section: SectionIndex,
    address: u64,
    size: u64,
    name: String,
}

fn functions(file: &File<'_>) -> anyhow::Result<Vec<Function>> {
    file.symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .map(|symbol| {
            Ok(Function {
                section: symbol
                    .section_index()
                    .context("a function lies in no section")?,
                address: symbol.address(),
                size: symbol.size(),
                name: symbol
                    .name()
                    .context("a function has no readable name")?
                    .to_owned(),
            })
        })
        .collect()
}

/// Returns the number of instructions of a function and of all functions that it calls. Each
/// function is counted once, as the kernel loads it.
fn instructions(file: &File<'_>, program: &Function) -> anyhow::Result<usize> {
    let all = functions(file)?;
    let mut reached = HashSet::from([program.clone()]);
    let mut unread = vec![program.clone()];
    while let Some(function) = unread.pop() {
        for (section, address) in calls(file, &function)? {
            let Some(callee) = all
                .iter()
                .find(|callee| callee.section == section && callee.address == address)
            else {
                bail!("{} calls a function that does not exist", function.name);
            };
            if reached.insert(callee.clone()) {
                unread.push(callee.clone());
            }
        }
    }
    let bytes: u64 = reached.iter().map(|function| function.size).sum();
    Ok(usize::try_from(bytes / INSTRUCTION)?)
}

/// Returns the maximum stack usage in bytes of a function and the functions that it calls, which is
/// at call depth `depth`.
fn stack(file: &File<'_>, function: &Function, depth: usize) -> anyhow::Result<usize> {
    if depth > MOST_FRAMES {
        bail!("{} is called recursively", function.name);
    }
    let all = functions(file)?;
    let mut callees = 0;
    for (section, address) in calls(file, function)? {
        let callee = (all.iter())
            .find(|callee| callee.section == section && callee.address == address)
            .with_context(|| format!("{} calls a function that does not exist", function.name))?;
        callees = callees.max(stack(file, callee, depth + 1)?);
    }
    Ok(stack::frame(code(file, function)?) + callees)
}

/// Maximum depth of calls that the kernel accepts (kernel/bpf/verifier.c, `MAX_CALL_FRAMES`).
const MOST_FRAMES: usize = 8;

fn code<'data>(file: &File<'data>, function: &Function) -> anyhow::Result<&'data [u8]> {
    section(file, function.section)?
        .data_range(function.address, function.size)?
        .with_context(|| format!("{} reaches beyond its section", function.name))
}

/// Returns the targets of the calls in a function, each as a section and an address in it.
fn calls(file: &File<'_>, function: &Function) -> anyhow::Result<Vec<(SectionIndex, u64)>> {
    let section = section(file, function.section)?;
    let code = code(file, function)?;
    let mut calls = Vec::new();
    for (index, instruction) in (0u64..).zip(code.chunks_exact(8)) {
        let &[opcode, registers, _, _, a, b, c, d] = instruction else {
            continue;
        };
        if opcode != CALL || registers >> 4 != PSEUDO_CALL {
            continue;
        }
        let place = function.address + index * INSTRUCTION;
        let relative = i64::from(i32::from_le_bytes([a, b, c, d])) + 1;
        let relocation = section.relocations().find(|(at, _)| *at == place);
        calls.push(
            match relocation.map(|(_, relocation)| relocation.target()) {
                Some(RelocationTarget::Symbol(symbol)) => {
                    callee(&file.symbol_by_index(symbol)?, relative)?
                }
                // A call without a relocation stays within its section, because the linker has
                // already resolved the distance.
                _ => (
                    function.section,
                    place.wrapping_add_signed(relative * INSTRUCTION.cast_signed()),
                ),
            },
        );
    }
    Ok(calls)
}

/// Returns the target of a relocated call. It is the function that the symbol names or, if the
/// symbol is that of a section, the function at the call's offset in that section.
fn callee(symbol: &Symbol<'_, '_>, relative: i64) -> anyhow::Result<(SectionIndex, u64)> {
    let section = symbol
        .section_index()
        .context("a call leads out of the object")?;
    Ok(if symbol.kind() == SymbolKind::Section {
        (
            section,
            (relative * INSTRUCTION.cast_signed()).cast_unsigned(),
        )
    } else {
        (section, symbol.address())
    })
}

fn section<'data, 'file>(
    file: &'file File<'data>,
    index: SectionIndex,
) -> anyhow::Result<object::Section<'data, 'file>> {
    let section = file.section_by_index(index)?;
    if section.kind() != SectionKind::Text {
        bail!(
            "section {} contains a function but is not a code section",
            index.0
        );
    }
    Ok(section)
}
