//! What a flow knows of its TCP connection: enough to tell when it is over.

use crate::traffic::Direction;

/// The control bits of a TCP header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flags(pub u8);

impl Flags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// Begins a connection: SYN, and none of ACK, RST and FIN.
    #[must_use]
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Changes no state of an established connection.
    #[must_use]
    #[inline(always)]
    pub const fn are_quiet(self) -> bool {
        self.0 & (Self::FIN | Self::SYN | Self::RST) == 0
    }

    /// Changes the state of a connection that is established.
    #[inline(always)]
    const fn ends(self) -> bool {
        self.0 & (Self::FIN | Self::RST) != 0
    }

    #[inline(always)]
    const fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    #[inline(always)]
    const fn accepts(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN | Self::ACK
    }

    #[inline(always)]
    const fn acknowledges(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::ACK
    }
}

/// How far a connection has come. The numbers stand in the map `flows_v4`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct State(pub u8);

impl State {
    /// The client's SYN went to the backend.
    pub const OPENING: Self = Self(1);
    /// The backend answered with SYN and ACK.
    pub const ANSWERED: Self = Self(2);
    /// The client acknowledged.
    pub const ESTABLISHED: Self = Self(3);
    /// The client sent its FIN, the backend has not.
    pub const CLOSING_BY_CLIENT: Self = Self(4);
    /// The backend sent its FIN, the client has not.
    pub const CLOSING_BY_BACKEND: Self = Self(5);
    /// Over; the backend has forgotten it.
    pub const CLOSED: Self = Self(6);
    /// Over; the backend closed first and holds it in TIME-WAIT.
    pub const LINGERING: Self = Self(7);

    /// The state after a packet with `flags` in `direction`.
    #[must_use]
    #[inline(always)]
    pub fn after(self, direction: Direction, flags: Flags) -> Self {
        if self == Self::ESTABLISHED && !flags.ends() {
            return self;
        }
        if flags.resets() {
            return Self::CLOSED;
        }
        match direction {
            Direction::In => self.after_client(flags),
            Direction::Out => self.after_backend(flags),
        }
    }

    #[inline(always)]
    fn after_client(self, flags: Flags) -> Self {
        if flags.ends() {
            return match self {
                Self::CLOSING_BY_BACKEND => Self::LINGERING,
                Self::CLOSED | Self::LINGERING => self,
                _ => Self::CLOSING_BY_CLIENT,
            };
        }
        if self == Self::ANSWERED && flags.acknowledges() {
            return Self::ESTABLISHED;
        }
        self
    }

    #[inline(always)]
    fn after_backend(self, flags: Flags) -> Self {
        if flags.ends() {
            return match self {
                Self::CLOSING_BY_CLIENT => Self::CLOSED,
                Self::CLOSED | Self::LINGERING => self,
                _ => Self::CLOSING_BY_BACKEND,
            };
        }
        if self == Self::OPENING && flags.accepts() {
            return Self::ANSWERED;
        }
        self
    }

    /// Whether the connection is over, so that the same client port may begin another.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        self.0 >= Self::CLOSED.0
    }

    /// Whether both ends have heard of each other, be it over by now.
    #[must_use]
    #[inline(always)]
    pub const fn is_opened(self) -> bool {
        self.0 >= Self::ESTABLISHED.0
    }

    /// Whether the backend has not answered yet, so that another may still be chosen.
    #[must_use]
    #[inline(always)]
    pub const fn is_opening(self) -> bool {
        self.0 == Self::OPENING.0
    }

    /// Seconds that a flow in this state may be idle before it counts as gone.
    ///
    /// A connection that nobody uses is kept for an hour; one half open for a minute, as long as
    /// Linux retries; one half closed for two (Linux's `tcp_fin_timeout`, twice); one that is over
    /// for as long as segments may wander, or the backend's TIME-WAIT lasts.
    #[must_use]
    #[inline(always)]
    pub const fn timeout(self) -> u32 {
        match self {
            Self::ESTABLISHED => 3600,
            Self::CLOSING_BY_CLIENT | Self::CLOSING_BY_BACKEND => 120,
            _ => 60,
        }
    }

    /// Seconds after which another connection may have the source port of one that is idle in this
    /// state. A connection that the backend has forgotten lends its port soon, for a busy client
    /// side would run out of ports otherwise; until then its last segments still find their way.
    #[must_use]
    #[inline(always)]
    pub const fn port_rest(self) -> u32 {
        if self.0 == Self::CLOSED.0 {
            2
        } else {
            self.timeout()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: Flags = Flags(0x02);
    const SYN_ACK: Flags = Flags(0x12);
    const ACK: Flags = Flags(0x10);
    const FIN_ACK: Flags = Flags(0x11);
    const RST: Flags = Flags(0x04);

    fn played(steps: &[(Direction, Flags)]) -> State {
        steps
            .iter()
            .fold(State::OPENING, |state, &(direction, flags)| {
                state.after(direction, flags)
            })
    }

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(
            played(&[(Direction::Out, SYN_ACK), (Direction::In, ACK)]),
            State::ESTABLISHED
        );
    }

    #[test]
    fn a_client_that_never_acknowledges_does_not_establish() {
        let state = played(&[
            (Direction::Out, SYN_ACK),
            (Direction::Out, SYN_ACK),
            (Direction::In, SYN),
        ]);
        assert_eq!(state, State::ANSWERED);
    }

    #[test]
    fn who_closes_first_decides_whether_the_backend_lingers() {
        let open = [(Direction::Out, SYN_ACK), (Direction::In, ACK)];
        let client = [
            (Direction::In, FIN_ACK),
            (Direction::Out, ACK),
            (Direction::Out, FIN_ACK),
        ];
        let backend = [
            (Direction::Out, FIN_ACK),
            (Direction::In, ACK),
            (Direction::In, FIN_ACK),
        ];
        assert_eq!(played(&[open.as_slice(), &client].concat()), State::CLOSED);
        assert_eq!(
            played(&[open.as_slice(), &backend].concat()),
            State::LINGERING
        );
    }

    #[test]
    fn a_reset_ends_a_connection_in_every_state() {
        for number in 1..=7 {
            for direction in [Direction::In, Direction::Out] {
                assert_eq!(State(number).after(direction, RST), State::CLOSED);
            }
        }
    }

    #[test]
    fn a_state_that_is_over_never_comes_back() {
        for state in [State::CLOSED, State::LINGERING] {
            for flags in 0..=255 {
                for direction in [Direction::In, Direction::Out] {
                    assert!(state.after(direction, Flags(flags)).is_over());
                }
            }
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(SYN.opens() && Flags(0xc2).opens(), "ECN bits do not matter");
        assert!(
            ![
                SYN_ACK,
                ACK,
                FIN_ACK,
                RST,
                Flags(0x03),
                Flags(0x06),
                Flags(0)
            ]
            .iter()
            .any(|flags| flags.opens())
        );
    }
}
