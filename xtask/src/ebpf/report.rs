//! Prints the contents of an eBPF object, and verifies that they are complete.

use std::{fmt::Display, fs, path::Path};

use anyhow::{Context as _, bail};
use aya_obj::{Object, generated::bpf_map_type, maps::Map};
use object::{File, Object as _, ObjectSection as _};

use super::{
    elf::{self, Program},
    expected::{self, Expected, INSTRUCTION_BUDGET},
    stack::STACK_BUDGET,
};
use crate::table::{Column, Table, grouped};

/// Prints the programs, the maps, the size of the BTF and the licence of an object.
///
/// # Errors
/// The object cannot be read, is incomplete, or has a program that exceeds its budget.
pub(crate) fn print(path: &Path) -> anyhow::Result<()> {
    let read = || format!("the eBPF object {} cannot be read", path.display());
    let bytes = fs::read(path).with_context(read)?;
    let file = File::parse(&*bytes).with_context(read)?;
    let contents = Contents {
        programs: elf::programs(&file).with_context(read)?,
        maps: maps(&bytes).with_context(read)?,
        btf_bytes: section_bytes(&file, ".BTF").map_or(0, <[u8]>::len),
        licence: licence(&file),
    };
    println!("{}", path.display());
    print!("{}\n{}\n", programs(&contents), map_table(&contents));
    println!("  BTF: {} bytes", grouped(contents.btf_bytes as u64));
    println!("  licence: {}\n", contents.licence);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let faults = faults(&contents, expected::of(&name));
    if !faults.is_empty() {
        bail!("{}: {}", path.display(), faults.join("; "));
    }
    Ok(())
}

/// The contents of an eBPF object.
struct Contents {
    programs: Vec<Program>,
    /// The maps of the object, each with its name.
    maps: Vec<(String, Map)>,
    btf_bytes: usize,
    licence: String,
}

/// Reads the maps of an object with the parser by which the agent loads objects, so the output is
/// what the agent will see.
fn maps(bytes: &[u8]) -> anyhow::Result<Vec<(String, Map)>> {
    let object = Object::parse(bytes)?;
    let mut maps: Vec<_> = object.maps.into_iter().collect();
    maps.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(maps)
}

fn section_bytes<'data>(file: &File<'data>, name: &str) -> Option<&'data [u8]> {
    file.section_by_name(name)?.data().ok()
}

fn licence(file: &File<'_>) -> String {
    let bytes = section_bytes(file, "license").unwrap_or_default();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn programs(contents: &Contents) -> impl Display {
    let mut table = Table::new([
        Column::Left("program"),
        Column::Left("section"),
        Column::Right("instructions"),
        Column::Right("budget"),
        Column::Right("stack bytes"),
        Column::Right("budget"),
    ]);
    for program in &contents.programs {
        table.row([
            program.name.clone(),
            program.section.clone(),
            grouped(program.instructions as u64),
            grouped(INSTRUCTION_BUDGET as u64),
            grouped(program.stack as u64),
            grouped(STACK_BUDGET as u64),
        ]);
    }
    table
}

fn map_table(contents: &Contents) -> impl Display {
    let mut table = Table::new([
        Column::Left("map"),
        Column::Left("type"),
        Column::Right("key bytes"),
        Column::Right("value bytes"),
        Column::Right("entries"),
    ]);
    for (name, map) in &contents.maps {
        add_map(&mut table, name, map);
        if let Some(inner) = map.inner() {
            add_map(&mut table, &format!("{name}, each"), &inner);
        }
    }
    table
}

fn add_map(table: &mut Table<5>, name: &str, map: &Map) {
    table.row([
        name.to_owned(),
        type_name(map.map_type()),
        grouped(map.key_size().into()),
        grouped(map.value_size().into()),
        grouped(map.max_entries().into()),
    ]);
}

/// Returns the name of a map type as bpftool prints it: `lru_hash` for `BPF_MAP_TYPE_LRU_HASH`.
fn type_name(number: u32) -> String {
    bpf_map_type::try_from(number).map_or_else(
        |_| format!("type {number}"),
        |known| {
            let name = format!("{known:?}").to_lowercase();
            name.trim_start_matches("bpf_map_type_").to_owned()
        },
    )
}

fn faults(contents: &Contents, expected: Option<&Expected>) -> Vec<String> {
    let mut faults = Vec::new();
    if contents.btf_bytes == 0 {
        faults.push("it has no BTF: the kernel gets no types of the maps".to_owned());
    }
    if contents.licence.is_empty() {
        faults.push("it declares no licence: the kernel refuses it GPL-only helpers".to_owned());
    }
    for program in &contents.programs {
        if program.instructions > INSTRUCTION_BUDGET {
            faults.push(format!(
                "the program `{}` has {} instructions, but its budget is {}",
                program.name,
                grouped(program.instructions as u64),
                grouped(INSTRUCTION_BUDGET as u64)
            ));
        }
    }
    for program in &contents.programs {
        if program.stack > STACK_BUDGET {
            faults.push(format!(
                "the program `{}` takes {} bytes of stack, the kernel has {STACK_BUDGET} for it",
                program.name, program.stack,
            ));
        }
    }
    if let Some(expected) = expected {
        for name in expected.programs {
            if !contents.programs.iter().any(|found| found.name == *name) {
                faults.push(format!("the program `{name}` is missing"));
            }
        }
        for name in expected.maps {
            if !contents.maps.iter().any(|(found, _)| found == name) {
                faults.push(format!("the map `{name}` is missing"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        object: "sample",
        programs: &["lb"],
        maps: &["flows_v4"],
    };

    fn sound() -> Contents {
        Contents {
            programs: vec![Program {
                name: "lb".to_owned(),
                section: "xdp".to_owned(),
                instructions: INSTRUCTION_BUDGET,
                stack: STACK_BUDGET,
            }],
            maps: vec![(
                "flows_v4".to_owned(),
                Map::new_from_params(bpf_map_type::BPF_MAP_TYPE_LRU_HASH as u32, 16, 64, 8, 0),
            )],
            btf_bytes: 1,
            licence: "Dual MIT/GPL".to_owned(),
        }
    }

    #[test]
    fn a_sound_object_has_no_faults() {
        assert_eq!(faults(&sound(), Some(&EXPECTED)), Vec::<String>::new());
    }

    #[test]
    fn a_program_over_its_budget_is_a_fault() {
        let mut contents = sound();
        contents.programs[0].instructions += 1;
        assert_eq!(
            faults(&contents, Some(&EXPECTED)),
            ["the program `lb` has 8,193 instructions, but its budget is 8,192"]
        );
    }

    #[test]
    fn a_program_that_takes_more_stack_than_there_is_is_a_fault() {
        let mut contents = sound();
        contents.programs[0].stack += 16;
        assert_eq!(
            faults(&contents, Some(&EXPECTED)),
            ["the program `lb` takes 528 bytes of stack, the kernel has 512 for it"]
        );
    }

    #[test]
    fn every_missing_part_is_named() {
        let contents = Contents {
            programs: Vec::new(),
            maps: Vec::new(),
            btf_bytes: 0,
            licence: String::new(),
        };
        let faults = faults(&contents, Some(&EXPECTED)).join("\n");
        for part in ["BTF", "licence", "program `lb`", "map `flows_v4`"] {
            assert!(faults.contains(part), "{part} is not in: {faults}");
        }
    }

    #[test]
    fn map_types_are_named_as_bpftool_does() {
        assert_eq!(type_name(9), "lru_hash");
        assert_eq!(type_name(6), "percpu_array");
        assert_eq!(type_name(4_000), "type 4000");
    }
}
