//! The shell around the pair's state machines: adverts on the wire, addresses, tracking, commands.
