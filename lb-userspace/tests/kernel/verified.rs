//! Tests that limit the work of the kernel's verifier for each program.

use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use lb::config::Balance;

use crate::{
    on_a_host,
    stage::{self, Stage},
};

/// The programs, each with the maximum number of instructions that the verifier may process for it.
/// The kernel's own limit is one million (linux/bpf.h, `BPF_COMPLEXITY_LIMIT_INSNS`). The margin is
/// for other kernels, whose verifiers explore other paths.
const BOUNDS: [(&str, u32); 3] = [
    ("lb", 50_000),
    ("lb_changing", 150_000),
    ("lb_new", 500_000),
];

#[test]
fn the_verifier_is_done_with_each_program_long_before_its_limit() {
    on_a_host(|| {
        let _stage = Stage::raise(Balance::RoundRobin);
        let connections = stage::settings().pin_path.join("maps/connections");
        let connections = MapInfo::from_pin(connections).expect("it is pinned").id();
        // Programs are distinguished by their maps, because other tests have loaded programs with
        // these names, too.
        let is_ours = |program: &ProgramInfo| {
            let maps = program
                .map_ids()
                .expect("the kernel tells")
                .unwrap_or_default();
            maps.contains(&connections)
        };
        for (name, bound) in BOUNDS {
            let processed = loaded_programs()
                .filter_map(Result::ok)
                .filter(|program| program.name_as_str() == Some(name))
                .find(is_ours)
                .and_then(|program| program.verified_instruction_count())
                .expect("it is loaded");
            println!("{name}: {processed} instructions processed");
            assert!(processed <= bound, "{name}: {processed}, at most {bound}");
        }
    });
}
