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

    /// Says that its sender has sent everything.
    #[must_use]
    #[inline(always)]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Changes the state of a connection that is established.
    #[inline(always)]
    const fn ends(self) -> bool {
        self.0 & (Self::FIN | Self::RST) != 0
    }

    /// Says that its sender knows no such connection, or gives it up.
    #[must_use]
    #[inline(always)]
    pub const fn resets(self) -> bool {
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

/// How far a connection has come, or what an entry of the map `connections` is. The numbers stand in
/// that map, those from [`State::ESTABLISHED`] on also on the link to the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct State(pub u8);

impl State {
    /// The entry was never used.
    pub const UNUSED: Self = Self(0);
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
    /// Over, the client closed first: the backend keeps no TIME-WAIT.
    pub const CLOSED: Self = Self(6);
    /// Over, the backend closed first and holds it in TIME-WAIT.
    pub const LINGERING: Self = Self(7);
    /// A reset came in the client's name and nothing has contradicted it yet.
    pub const RESET_BY_CLIENT: Self = Self(8);
    /// A reset came in the backend's name and nothing has contradicted it yet.
    pub const RESET_BY_BACKEND: Self = Self(9);
    /// The entry holds no connection any more.
    pub const VACANT: Self = Self(14);
    /// The entry belongs to whoever is writing to it.
    pub const CLAIMED: Self = Self(15);

    /// The state after a packet with `flags` in `direction`.
    #[must_use]
    #[inline(always)]
    pub fn after(self, direction: Direction, flags: Flags) -> Self {
        if self == Self::ESTABLISHED && !flags.ends() {
            return self;
        }
        if flags.resets() {
            return self.after_reset(direction);
        }
        match direction {
            Direction::In => self.after_client(flags),
            Direction::Out => self.after_backend(flags),
        }
    }

    /// The same, but for a backend whose FIN crossed the client's, or may have: each side then holds the
    /// connection in TIME-WAIT (RFC 9293, section 3.6, case 3).
    #[must_use]
    #[inline(always)]
    pub const fn with_crossed_fins(self, crossed: bool) -> Self {
        if crossed && self.0 == Self::CLOSED.0 {
            Self::LINGERING
        } else {
            self
        }
    }

    /// A reset may be forged, and only the endpoints know its sequence number to be right: the
    /// connection goes on until nothing contradicts the reset any more.
    #[inline(always)]
    const fn after_reset(self, direction: Direction) -> Self {
        match (direction, self) {
            (_, Self::OPENING | Self::CLOSED) | (Direction::In, Self::ANSWERED) => self,
            (Direction::In, Self::LINGERING | Self::RESET_BY_BACKEND) => self,
            (Direction::In, _) => Self::RESET_BY_CLIENT,
            (Direction::Out, Self::LINGERING) => Self::CLOSED,
            (Direction::Out, _) => Self::RESET_BY_BACKEND,
        }
    }

    #[inline(always)]
    fn after_client(self, flags: Flags) -> Self {
        if flags.opens() {
            return self;
        }
        // A backend that is gone would not be spoken to.
        let alive = if self == Self::RESET_BY_BACKEND {
            Self::ESTABLISHED
        } else {
            self
        };
        if flags.ends() {
            return match alive {
                Self::CLOSING_BY_BACKEND => Self::LINGERING,
                Self::CLOSED | Self::LINGERING | Self::OPENING => alive,
                _ => Self::CLOSING_BY_CLIENT,
            };
        }
        if alive == Self::ANSWERED && flags.acknowledges() {
            return Self::ESTABLISHED;
        }
        alive
    }

    #[inline(always)]
    fn after_backend(self, flags: Flags) -> Self {
        if flags.accepts() {
            return match self {
                // Only a backend that had forgotten the connection begins it again.
                Self::OPENING | Self::RESET_BY_CLIENT | Self::RESET_BY_BACKEND => Self::ANSWERED,
                _ => self,
            };
        }
        // A backend that had heard the client's reset would not speak.
        let alive = if self == Self::RESET_BY_CLIENT {
            Self::ESTABLISHED
        } else {
            self
        };
        if flags.ends() {
            return match alive {
                Self::CLOSING_BY_CLIENT => Self::CLOSED,
                Self::CLOSED | Self::LINGERING | Self::OPENING => alive,
                _ => Self::CLOSING_BY_BACKEND,
            };
        }
        alive
    }

    /// Whether the entry holds a connection, be it over by now.
    #[must_use]
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 >= Self::OPENING.0 && self.0 <= Self::RESET_BY_BACKEND.0
    }

    /// Whether the entry holds nothing, and belongs to nobody.
    #[must_use]
    #[inline(always)]
    pub const fn is_vacant(self) -> bool {
        self.0 == Self::UNUSED.0 || self.0 == Self::VACANT.0
    }

    /// Whether the connection may give its entry to a new one before its time is up: it is over, or
    /// never was established.
    #[must_use]
    #[inline(always)]
    pub const fn may_be_replaced(self) -> bool {
        self.is_half_open() || self.is_over()
    }

    /// Whether packets that set none of SYN, FIN and RST leave the state as it is.
    #[must_use]
    #[inline(always)]
    pub const fn is_steady(self) -> bool {
        self.0 >= Self::ESTABLISHED.0 && self.0 <= Self::LINGERING.0
    }

    /// Whether both ends have closed the connection.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        self.0 == Self::CLOSED.0 || self.0 == Self::LINGERING.0
    }

    /// Whether both ends have heard of each other, be it over by now.
    #[must_use]
    #[inline(always)]
    pub const fn is_opened(self) -> bool {
        self.0 >= Self::ESTABLISHED.0 && self.0 <= Self::RESET_BY_BACKEND.0
    }

    /// Whether the client has not acknowledged the connection yet.
    #[must_use]
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        self.0 == Self::OPENING.0 || self.0 == Self::ANSWERED.0
    }

    /// Whether the backend has not answered yet, so that another may still be chosen.
    #[must_use]
    #[inline(always)]
    pub const fn is_opening(self) -> bool {
        self.0 == Self::OPENING.0
    }

    /// Seconds that a connection in this state may be idle before its entry may be another's.
    ///
    /// A connection that nobody uses is kept for an hour; one half open for a minute, as long as
    /// Linux retries; one half closed for two (Linux's `tcp_fin_timeout`, twice); one that is over
    /// for as long as segments may wander, or the backend's TIME-WAIT lasts; one that was reset for
    /// as long as the other side may take to contradict.
    #[must_use]
    #[inline(always)]
    pub const fn timeout(self) -> u32 {
        match self {
            Self::ESTABLISHED => 3600,
            Self::CLOSING_BY_CLIENT | Self::CLOSING_BY_BACKEND => 120,
            _ => 60,
        }
    }

    /// Whether a connection in this state, idle for `age` ticks, may lose its source port to another
    /// whose SYN carries the numbers `next`; `last` are its own.
    ///
    /// The backend has forgotten a connection that the client closed first, or that it reset itself:
    /// two seconds let the last segments find their way. One that the backend closed first it holds in
    /// TIME-WAIT, and takes a SYN all the same if its numbers are newer: after a second, so that nothing
    /// of the old connection meets the new one. One that never opened lends
    /// its port after the client's second retransmission.
    #[must_use]
    #[inline(always)]
    pub const fn port_reusable(self, age: u32, hertz: u32, last: Numbers, next: Numbers) -> bool {
        let rest = match self {
            Self::CLOSED | Self::RESET_BY_BACKEND => 2,
            Self::OPENING | Self::ANSWERED => 4,
            Self::RESET_BY_CLIENT => 20,
            Self::UNUSED | Self::VACANT | Self::CLAIMED => return false,
            Self::LINGERING => {
                if next.is_newer_than(last) {
                    1
                } else {
                    self.timeout()
                }
            }
            _ => self.timeout(),
        };
        age > rest * hertz
    }
}

/// What a TCP endpoint in TIME-WAIT judges a SYN by: the client's sequence number and timestamp.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Numbers {
    /// Of a SYN its own, of a connection the one after the client's FIN.
    pub sequence: u32,
    /// The timestamp (RFC 7323), 0 where there is none.
    pub timestamp: u32,
}

impl Numbers {
    /// The numbers that stand in a word of an entry.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        let [sequence, timestamp]: [u32; 2] = zerocopy::transmute!(word);
        Self {
            sequence,
            timestamp,
        }
    }

    /// The numbers as a word.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        zerocopy::transmute!([self.sequence, self.timestamp])
    }

    /// Whether an endpoint that holds a connection which ended with the numbers `last` in TIME-WAIT
    /// takes a SYN with these: a newer timestamp, or none that is older and a sequence number ahead
    /// (RFC 6191, section 2; net/ipv4/tcp_minisocks.c, `tcp_timewait_state_process`).
    #[must_use]
    #[inline(always)]
    pub const fn is_newer_than(self, last: Self) -> bool {
        let both_have = self.timestamp != 0 && last.timestamp != 0;
        if both_have {
            let newer = self.timestamp.wrapping_sub(last.timestamp).cast_signed();
            if newer != 0 {
                return newer > 0;
            }
        }
        let ahead = self.sequence.wrapping_sub(last.sequence).cast_signed();
        ahead > 0
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
    fn a_reset_is_void_as_soon_as_the_other_side_speaks() {
        for (direction, other) in [
            (Direction::In, Direction::Out),
            (Direction::Out, Direction::In),
        ] {
            let reset = State::ESTABLISHED.after(direction, RST);
            assert!(!reset.is_steady() && reset.is_live());
            assert_eq!(reset.after(direction, SYN), reset, "a SYN goes along");
            assert_eq!(
                reset.after(direction, ACK),
                reset,
                "its own side proves nothing"
            );
            assert_eq!(reset.after(other, ACK), State::ESTABLISHED);
        }
    }

    #[test]
    fn a_client_that_restarts_after_a_reset_opens_again() {
        let reset = State::ESTABLISHED.after(Direction::In, RST);
        let again = [
            (Direction::In, SYN),
            (Direction::Out, SYN_ACK),
            (Direction::In, ACK),
        ];
        let state = again.iter().fold(reset, |state, &(direction, flags)| {
            state.after(direction, flags)
        });
        assert_eq!(state, State::ESTABLISHED);
    }

    #[test]
    fn a_state_that_is_over_never_comes_back() {
        for state in [State::CLOSED, State::LINGERING] {
            for flags in (0..=255).map(Flags) {
                for direction in [Direction::In, Direction::Out] {
                    assert!(state.after(direction, flags).is_over());
                }
            }
        }
    }

    #[test]
    fn every_state_of_a_connection_leads_to_one() {
        for number in 1..=9 {
            for flags in (0..=255).map(Flags) {
                for direction in [Direction::In, Direction::Out] {
                    assert!(State(number).after(direction, flags).is_live());
                }
            }
        }
    }

    #[test]
    fn a_lingering_port_is_good_for_newer_numbers_after_a_second() {
        let last = Numbers {
            sequence: 1000,
            timestamp: 500,
        };
        let syn = |sequence, timestamp| Numbers {
            sequence,
            timestamp,
        };
        let lends = |next| State::LINGERING.port_reusable(251, 250, last, next);
        assert!(!State::LINGERING.port_reusable(250, 250, last, syn(1, 501)));
        assert!(lends(syn(1, 501)), "a newer timestamp");
        assert!(!lends(syn(2000, 499)), "an older one, whatever the number");
        assert!(lends(syn(1001, 500)) && !lends(syn(1000, 500)));
        assert!(lends(syn(1001, 0)) && !lends(syn(900, 0)), "no timestamp");
        assert!(State::LINGERING.port_reusable(60 * 250 + 1, 250, last, syn(1, 1)));
    }

    #[test]
    fn an_established_connection_lends_its_port_to_nobody() {
        let ahead = Numbers {
            sequence: 1,
            timestamp: 1,
        };
        for state in [State::ESTABLISHED, State::CLOSING_BY_BACKEND] {
            assert!(!state.port_reusable(100 * 250, 250, Numbers::default(), ahead));
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
