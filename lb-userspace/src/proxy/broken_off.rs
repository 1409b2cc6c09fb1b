//! Why an exchange ended before the client had the whole response.

/// Why a client did not get the whole response to its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum BrokenOff {
    /// The client closed its connection, or took its request back.
    ClientGone,
    /// The client took nothing of the response for too long.
    ClientStalled,
    /// The backend's response broke off, or went on as none.
    BackendBroke,
    /// The backend sent nothing more of its response for too long.
    BackendStalled,
}

impl BrokenOff {
    /// Every reason, in the order of their numbers.
    pub(super) const ALL: [Self; 4] = [
        Self::ClientGone,
        Self::ClientStalled,
        Self::BackendBroke,
        Self::BackendStalled,
    ];

    /// The value of the metric label `reason`.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::BackendBroke => "backend_broke",
            Self::BackendStalled => "backend_stalled",
        }
    }
}
