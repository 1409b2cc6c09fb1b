//! The required contents of an eBPF object, which the agent looks up by name.

/// Maximum number of instructions of a program with the functions that it calls. It is far below
/// the kernel's limit of a million instructions that the verifier processes, so that growth is
/// noticed.
pub(crate) const INSTRUCTION_BUDGET: usize = 8_192;

/// The required contents of one eBPF object.
pub(crate) struct Expected {
    /// Name of the object, which is that of a binary of `lb-ebpf`.
    pub(crate) object: &'static str,
    /// Names of the eBPF programs that the object must contain.
    pub(crate) programs: &'static [&'static str],
    /// Names of the maps that the object must contain.
    pub(crate) maps: &'static [&'static str],
}

/// The required contents of every object that the agent loads.
const OBJECTS: [Expected; 1] = [Expected {
    object: "lb-ebpf",
    programs: &["lb", "lb_changing", "lb_new", "pass", "clock"],
    maps: &[
        "ports",
        "listeners",
        "services",
        "backends",
        "rings",
        "connections",
        "source_ports",
        "endpoints",
        "hops",
        "interfaces",
        "programs",
        "flow_events",
        "untold",
        "verdicts",
        "traffic",
        "cursors",
        "line_turns",
        "settings",
    ],
}];

/// Returns the required contents of the object with this name; `None` if the agent does not load
/// it.
pub(crate) fn of(object: &str) -> Option<&'static Expected> {
    OBJECTS.iter().find(|expected| expected.object == object)
}
