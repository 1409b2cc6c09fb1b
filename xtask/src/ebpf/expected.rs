//! What an object must hold. The agent looks these up by name.

/// Instructions that a program, with the functions it calls, may have. A budget of ours, far below
/// the kernel's limit of a million that its verifier walks: whatever grows past it is looked at.
pub(crate) const INSTRUCTION_BUDGET: usize = 8_192;

/// What must be in one object.
pub(crate) struct Expected {
    /// The binary of `lb-ebpf`.
    pub(crate) object: &'static str,
    /// Its programs.
    pub(crate) programs: &'static [&'static str],
    /// Its maps.
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

/// What must be in the object of this name; nothing in one that the agent does not load.
pub(crate) fn of(object: &str) -> Option<&'static Expected> {
    OBJECTS.iter().find(|expected| expected.object == object)
}
