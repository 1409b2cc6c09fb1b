//! State of TCP connections, as far as it can be seen from their packets.

use crate::traffic::Direction;

/// The control bits of a TCP header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flags(pub u8);

impl Flags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// Whether the segment opens a connection: SYN, and none of ACK, RST and FIN.
    #[must_use]
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Whether the segment leaves the state of an established connection as it is: no SYN, FIN or
    /// RST.
    #[must_use]
    #[inline(always)]
    pub const fn are_quiet(self) -> bool {
        self.0 & (Self::FIN | Self::SYN | Self::RST) == 0
    }

    /// Whether the sender closes its direction (FIN).
    #[must_use]
    #[inline(always)]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether the segment changes the state of an established connection: FIN or RST.
    #[inline(always)]
    const fn ends(self) -> bool {
        self.0 & (Self::FIN | Self::RST) != 0
    }

    /// Whether the sender resets the connection (RST).
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

/// State of a connection, or of an entry of the map `connections`. The numbers are part of that
/// map; those from [`State::ESTABLISHED`] on also of the protocol with the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct State(pub u8);

impl State {
    /// The entry of `connections` was never used.
    pub const UNUSED: Self = Self(0);
    /// The client's SYN was forwarded to the backend.
    pub const OPENING: Self = Self(1);
    /// The backend replied with SYN and ACK.
    pub const ANSWERED: Self = Self(2);
    /// The client acknowledged: the connection is open.
    pub const ESTABLISHED: Self = Self(3);
    /// The client sent a FIN, the backend has not.
    pub const CLOSING_BY_CLIENT: Self = Self(4);
    /// The backend sent a FIN, the client has not.
    pub const CLOSING_BY_BACKEND: Self = Self(5);
    /// Closed; the client closed first, so the backend has no TIME-WAIT.
    pub const CLOSED: Self = Self(6);
    /// Closed; the backend closed first and holds the connection in TIME-WAIT.
    pub const LINGERING: Self = Self(7);
    /// An RST with the client's address was seen, and no later packet contradicts it.
    pub const RESET_BY_CLIENT: Self = Self(8);
    /// An RST with the backend's address was seen, and no later packet contradicts it.
    pub const RESET_BY_BACKEND: Self = Self(9);
    /// The entry of `connections` no longer holds a connection.
    pub const VACANT: Self = Self(14);
    /// A CPU owns the entry of `connections` and writes to it.
    pub const CLAIMED: Self = Self(15);

    /// Returns the state after a packet in `direction` with the control bits `flags`.
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

    /// Returns [`Self::LINGERING`] in place of [`Self::CLOSED`] if `crossed` is set: where the FINs
    /// of both sides crossed, or may have, both sides hold the connection in TIME-WAIT (RFC 9293,
    /// section 3.6, case 3).
    #[must_use]
    #[inline(always)]
    pub const fn with_crossed_fins(self, crossed: bool) -> Self {
        if crossed && self.0 == Self::CLOSED.0 {
            Self::LINGERING
        } else {
            self
        }
    }

    /// Returns the state after a reset. The reset may be forged, and only the endpoints can verify
    /// its sequence number: the connection is kept until its time-out, and a later packet from the
    /// other side revokes the reset.
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
        // A client does not send to a backend that has reset the connection: the reset was forged.
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
                // Only a backend that has no state of this connection answers its SYN again.
                Self::OPENING | Self::RESET_BY_CLIENT | Self::RESET_BY_BACKEND => Self::ANSWERED,
                _ => self,
            };
        }
        // A backend that received the client's reset would not send: the reset was forged.
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

    /// Whether the entry holds a connection, which may be a closed one.
    #[must_use]
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 >= Self::OPENING.0 && self.0 <= Self::RESET_BY_BACKEND.0
    }

    /// Whether the entry holds no connection and no CPU has claimed it.
    #[must_use]
    #[inline(always)]
    pub const fn is_vacant(self) -> bool {
        self.0 == Self::UNUSED.0 || self.0 == Self::VACANT.0
    }

    /// Whether a new connection may replace this one before its time-out: it is closed, or was
    /// never established.
    #[must_use]
    #[inline(always)]
    pub const fn may_be_replaced(self) -> bool {
        self.is_half_open() || self.is_over()
    }

    /// Whether packets without SYN, FIN and RST leave the state as it is.
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

    /// Whether the handshake was completed; also true of a connection that has closed since then.
    #[must_use]
    #[inline(always)]
    pub const fn is_opened(self) -> bool {
        self.0 >= Self::ESTABLISHED.0 && self.0 <= Self::RESET_BY_BACKEND.0
    }

    /// Whether the handshake has begun and is not complete.
    #[must_use]
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        self.0 == Self::OPENING.0 || self.0 == Self::ANSWERED.0
    }

    /// Whether the backend has not answered yet: another backend can still be tried.
    #[must_use]
    #[inline(always)]
    pub const fn is_opening(self) -> bool {
        self.0 == Self::OPENING.0
    }

    /// Returns the time-out of the state: seconds of idleness after which the entry may be reused.
    ///
    /// An idle established connection is kept for an hour; a half-open one for a minute, as long as
    /// Linux retransmits; a half-closed one for two minutes (twice Linux's `tcp_fin_timeout`); a
    /// closed one for the maximum segment lifetime or the backend's TIME-WAIT; one that was reset
    /// for as long as the other side may take to contradict the reset.
    #[must_use]
    #[inline(always)]
    pub const fn timeout(self) -> u32 {
        match self {
            Self::ESTABLISHED => 3600,
            Self::CLOSING_BY_CLIENT | Self::CLOSING_BY_BACKEND => 120,
            _ => 60,
        }
    }

    /// Whether a connection in this state, idle for `age` ticks, may lose its source port to a new
    /// connection. `last` are the sequence number after its client's FIN and the FIN's timestamp,
    /// `next` the sequence number and the timestamp of the new connection's SYN.
    ///
    /// The backend has no state of a connection that the client closed first, or that the backend
    /// reset: two seconds cover late segments. If the backend closed first, it holds the
    /// connection in TIME-WAIT, and accepts a SYN with newer numbers anyway: after a second,
    /// so that no segment of the old connection reaches the new one. A connection that was never
    /// opened can be replaced after the client's second retransmission.
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

/// What a TCP endpoint in TIME-WAIT compares a SYN by: the client's sequence number and timestamp.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Numbers {
    /// Sequence number of a SYN; of a connection, the sequence number that follows the client's
    /// FIN.
    pub sequence: u32,
    /// TCP timestamp (RFC 7323); 0 if the segment or connection has none.
    pub timestamp: u32,
}

impl Numbers {
    /// Unpacks the sequence number and the timestamp from a word of an entry of `connections`.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        let [sequence, timestamp]: [u32; 2] = zerocopy::transmute!(word);
        Self {
            sequence,
            timestamp,
        }
    }

    /// Packs the sequence number and the timestamp into one word of an entry of `connections`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        zerocopy::transmute!([self.sequence, self.timestamp])
    }

    /// Whether an endpoint with a connection in TIME-WAIT, whose last sequence number and timestamp
    /// are `last`, accepts a SYN with those of `self`: with a newer timestamp, or with a timestamp
    /// that is not older and a higher sequence number (RFC 6191, section 2;
    /// net/ipv4/tcp_minisocks.c, `tcp_timewait_state_process`).
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
    fn the_port_of_an_established_connection_is_not_reused() {
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
