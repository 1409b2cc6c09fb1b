//! Required contents of an object, which the agent looks up by name.

/// Budget of instructions for a program with the functions that it calls. It is far below the
/// kernel's limit of a million instructions that the verifier processes, so that growth is noticed.
pub(crate) const INSTRUCTION_BUDGET: usize = 8_192;

/// Required contents of one object.
pub(crate) struct Expected {
    /// Name of the object, a binary of `lb-ebpf`.
    pub(crate) object: &'static str,
    /// Names of the programs that the object must contain.
    pub(crate) programs: &'static [&'static str],
    /// Names of the maps that the object must contain.
    pub(crate) maps: &'static [&'static str],
}

/// Every object that the agent loads.
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

/// The required contents of the object with this name; none if the agent does not load it.
pub(crate) fn of(object: &str) -> Option<&'static Expected> {
    OBJECTS.iter().find(|expected| expected.object == object)
}
