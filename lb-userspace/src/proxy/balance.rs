//! Chooses a backend for a request. Pure: random bits and the load of each backend are arguments.

use std::net::{IpAddr, SocketAddr};

use super::slow_start::WHOLE;
use crate::config::Balance;

/// The balancing algorithm of one pool. Backends are identified by their index.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    balance: Balance,
    /// For each backend, its weight multiplied by its slow-start share, in units of 1/[`WHOLE`].
    weights: Vec<u32>,
    /// For each backend, the seed of its hashes, derived from its address, so that the seed stays
    /// the same when other backends are added or removed.
    seeds: Vec<u64>,
    /// For round robin: the current credit of each backend, of which the highest is chosen next.
    credits: Vec<i64>,
}

/// The inputs of the choice of a backend for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChoiceInput {
    /// A hash of the client's address, which is the same in every worker.
    pub(super) client: u64,
    /// A hash of the part of the request by which the pool balances; `None` if the pool balances by
    /// no such part, or the request lacks it.
    pub(super) request: Option<u64>,
    /// Random bits, drawn again for each choice.
    pub(super) random: u64,
}

impl Balancer {
    /// Creates a balancer for backends, given as pairs of a weight (at least 1) and an address.
    pub(super) fn new(balance: Balance, backends: &[(u32, SocketAddr)]) -> Self {
        Self {
            balance,
            weights: backends.iter().map(|(weight, _)| weight * WHOLE).collect(),
            seeds: backends.iter().map(|(_, address)| seed(*address)).collect(),
            credits: vec![0; backends.len()],
        }
    }

    /// Sets the slow-start share of the backend with this index and this weight; `share` is in
    /// units of 1/[`WHOLE`].
    pub(super) fn set_share(&mut self, number: usize, weight: u32, share: u32) {
        if let Some(own) = self.weights.get_mut(number) {
            *own = weight * share;
        }
    }

    /// Returns the index of an `eligible` backend; `None` if no backend is eligible. `load` returns
    /// the number of requests that a backend has in flight.
    pub(super) fn choose(
        &mut self,
        eligible: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
        input: ChoiceInput,
    ) -> Option<usize> {
        match self.balance {
            Balance::RoundRobin => self.in_turn(eligible),
            Balance::LeastConnections => self.least_loaded(eligible, load, input.random),
            Balance::RandomTwo => self.better_of_two(eligible, load, input.random),
            Balance::Source | Balance::Maglev => self.by_hash(eligible, input.client),
            Balance::Hash => match input.request {
                Some(hash) => self.by_hash(eligible, hash),
                None => self.in_turn(eligible),
            },
        }
    }

    /// Smooth weighted round robin: every eligible backend gains its weight in credit; the backend
    /// with the most credit is chosen, and the sum of these weights is subtracted from its credit.
    fn in_turn(&mut self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for number in (0..self.weights.len()).filter(|number| eligible(*number)) {
            let weight = i64::from(self.weights[number]);
            total += weight;
            self.credits[number] += weight;
            if best.is_none_or(|best| self.credits[number] > self.credits[best]) {
                best = Some(number);
            }
        }
        if let Some(best) = best {
            self.credits[best] -= total;
        }
        best
    }

    /// Returns the index of the eligible backend with the fewest requests in flight relative to its
    /// weight; ties are broken at random.
    fn least_loaded(
        &self,
        eligible: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
        random: u64,
    ) -> Option<usize> {
        let count = self.weights.len();
        let start = pick(random, count as u64);
        (0..count)
            .map(|step| (start + step) % count)
            .filter(|number| eligible(*number))
            .reduce(|best, number| {
                if self.is_less_loaded(number, best, &load) {
                    number
                } else {
                    best
                }
            })
    }

    fn better_of_two(
        &self,
        eligible: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
        random: u64,
    ) -> Option<usize> {
        let one = self.at_random(&eligible, random)?;
        let not_one = |number: usize| number != one && eligible(number);
        let Some(other) = self.at_random(&not_one, mix(random)) else {
            return Some(one);
        };
        Some(if self.is_less_loaded(other, one, &load) {
            other
        } else {
            one
        })
    }

    /// Returns the index of a random eligible backend; each has a probability proportional to its
    /// weight.
    fn at_random(&self, eligible: &impl Fn(usize) -> bool, random: u64) -> Option<usize> {
        let candidates = || (0..self.weights.len()).filter(|number| eligible(*number));
        let total: u64 = candidates()
            .map(|number| u64::from(self.weights[number]))
            .sum();
        let mut left = pick(random, total) as u64;
        candidates().find(|number| {
            let weight = u64::from(self.weights[*number]);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }

    /// Weighted rendezvous hashing of `hash` over the backends: if a backend is removed, only its
    /// own requests move to other backends.
    fn by_hash(&self, eligible: impl Fn(usize) -> bool, hash: u64) -> Option<usize> {
        let score = |number: usize| {
            let mixed = mix(hash ^ self.seeds[number]);
            // The upper 53 bits of the mixed hash, as a number between 0 and 1, both exclusive.
            let share = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -f64::from(self.weights[number]) / share.ln()
        };
        (0..self.weights.len())
            .filter(|number| eligible(*number))
            .max_by(|one, other| score(*one).total_cmp(&score(*other)))
    }

    fn is_less_loaded(&self, one: usize, other: usize, load: &impl Fn(usize) -> u32) -> bool {
        let crossed = |mine: usize, theirs: usize| {
            (u64::from(load(mine)) + 1) * u64::from(self.weights[theirs])
        };
        crossed(one, other) < crossed(other, one)
    }
}

/// Hashes the address of a backend; the hash is the same on every host.
fn seed(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let bits = u128::from(ip);
    mix(mix(mix(bits as u64) ^ (bits >> 64) as u64) ^ u64::from(address.port()))
}

/// Mixes the bits of a number (the finalizer of `SplitMix64`).
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Maps the random number `random` to a number below `bound`; returns 0 if `bound` is 0.
fn pick(random: u64, bound: u64) -> usize {
    usize::try_from((u128::from(random) * u128::from(bound)) >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(balance: Balance, weights: Vec<u32>) -> Balancer {
        let backends: Vec<_> = weights.into_iter().zip(1..).map(on).collect();
        Balancer::new(balance, &backends)
    }

    fn on((weight, last): (u32, u8)) -> (u32, SocketAddr) {
        (weight, SocketAddr::from(([10, 0, 0, last], 80)))
    }

    #[test]
    fn a_client_stays_when_a_backend_before_its_own_leaves() {
        let all = [on((1, 1)), on((1, 2)), on((1, 3))];
        let mut before = Balancer::new(Balance::Source, &all);
        let mut after = Balancer::new(Balance::Source, &all[1..]);
        for client in 0..1000 {
            let input = ChoiceInput {
                client: mix(client),
                request: None,
                random: 0,
            };
            let was = before.choose(|_| true, |_| 0, input).expect("one of three");
            let is = after.choose(|_| true, |_| 0, input).expect("one of two");
            assert!(was == 0 || was == is + 1, "{client}: {was}, {is}");
        }
    }

    const ALL: [Balance; 6] = [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomTwo,
        Balance::Source,
        Balance::Maglev,
        Balance::Hash,
    ];

    /// Counts how often each backend is chosen for `requests` requests, each from another client.
    fn spread(
        balancer: &mut Balancer,
        requests: u64,
        eligible: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
    ) -> Vec<u64> {
        let mut chosen = vec![0; balancer.weights.len()];
        for request in 0..requests {
            let input = ChoiceInput {
                client: mix(request),
                request: None,
                random: mix(!request),
            };
            if let Some(number) = balancer.choose(&eligible, &load, input) {
                chosen[number] += 1;
            }
        }
        chosen
    }

    #[test]
    fn round_robin_is_even_to_the_request() {
        let mut balancer = balancer(Balance::RoundRobin, vec![1; 4]);
        assert_eq!(spread(&mut balancer, 1000, |_| true, |_| 0), [250; 4]);
    }

    #[test]
    fn round_robin_follows_weights_without_bursts() {
        let mut balancer = balancer(Balance::RoundRobin, vec![3, 1]);
        let input = ChoiceInput {
            client: 0,
            request: None,
            random: 0,
        };
        let order: Vec<_> = (0..8)
            .filter_map(|_| balancer.choose(|_| true, |_| 0, input))
            .collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn only_eligible_backends_are_chosen_whatever_the_method() {
        for balance in ALL {
            let mut balancer = balancer(balance, vec![1, 5, 1, 9]);
            let chosen = spread(&mut balancer, 500, |number| number % 2 == 0, |_| 0);
            assert_eq!(chosen[1] + chosen[3], 0, "{balance:?}");
            assert_eq!(chosen[0] + chosen[2], 500, "{balance:?}");
            assert!(chosen[0] > 0 && chosen[2] > 0, "{balance:?}");
            assert_eq!(
                spread(&mut balancer, 5, |_| false, |_| 0),
                [0; 4],
                "{balance:?}"
            );
        }
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_chosen() {
        let mut balancer = balancer(Balance::LeastConnections, vec![1, 4]);
        let loads = [2, 7];
        assert_eq!(
            spread(&mut balancer, 10, |_| true, |number| loads[number]),
            [0, 10]
        );
        let loads = [2, 12];
        assert_eq!(
            spread(&mut balancer, 10, |_| true, |number| loads[number]),
            [10, 0]
        );
    }

    #[test]
    fn of_two_at_random_the_more_loaded_is_avoided() {
        let mut balancer = balancer(Balance::RandomTwo, vec![1; 4]);
        let chosen = spread(
            &mut balancer,
            3000,
            |_| true,
            |number| if number == 0 { 9 } else { 0 },
        );
        assert_eq!(chosen[0], 0);
        assert!(chosen[1..].iter().all(|count| *count > 800), "{chosen:?}");
    }

    #[test]
    fn a_backend_gets_its_share_of_its_weight_whatever_the_method() {
        for balance in ALL {
            for (share, wanted) in [(WHOLE / 10, 323), (WHOLE / 2, 1429), (WHOLE, 2500)] {
                let mut balancer = balancer(balance, vec![1, 1, 1, 1]);
                balancer.set_share(3, 1, share);
                // The load of a backend is the number of requests that it has got so far. The
                // method "least connections" keeps these loads proportional to the weights.
                let mut chosen = [0_u32; 4];
                for request in 0..10_000 {
                    let input = ChoiceInput {
                        client: mix(request),
                        request: None,
                        random: mix(!request),
                    };
                    let number = balancer.choose(|_| true, |number| chosen[number], input);
                    chosen[number.expect("one of four")] += 1;
                }
                // The tolerance of 150 requests is for the method that compares two random
                // backends: its distribution is less exact.
                assert!(
                    chosen[3].abs_diff(wanted) < 150,
                    "{balance:?} {share}: {chosen:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_hashed_moves_to_a_backend_whose_share_grows_and_to_no_other() {
        let mut balancer = balancer(Balance::Source, vec![1, 1, 2]);
        let clients: Vec<_> = (0..2000).map(mix).collect();
        let place = |balancer: &mut Balancer| -> Vec<_> {
            let chances = clients.iter().map(|client| ChoiceInput {
                client: *client,
                request: None,
                random: 0,
            });
            let chosen = chances.map(|input| balancer.choose(|_| true, |_| 0, input));
            chosen.collect()
        };
        balancer.set_share(2, 2, WHOLE / 10);
        let mut before = place(&mut balancer);
        let there = |places: &[Option<usize>]| {
            let there = places.iter().filter(|number| **number == Some(2));
            there.count()
        };
        assert!(there(&before).abs_diff(182) < 50, "{}", there(&before));
        for share in (200..=WHOLE).step_by(100) {
            balancer.set_share(2, 2, share);
            let after = place(&mut balancer);
            for (was, is) in before.iter().zip(&after) {
                assert!(was == is || *is == Some(2), "{was:?} -> {is:?}");
            }
            before = after;
        }
        assert!(there(&before).abs_diff(1000) < 100, "{}", there(&before));
    }

    #[test]
    fn a_client_keeps_its_backend_when_another_one_goes() {
        for balance in [Balance::Source, Balance::Maglev] {
            let mut balancer = balancer(balance, vec![1, 1, 2, 4]);
            for client in 0..1000 {
                let input = ChoiceInput {
                    client: mix(client),
                    request: None,
                    random: client,
                };
                let before = balancer.choose(|_| true, |_| 0, input);
                let after = balancer.choose(|number| number != 1, |_| 0, input);
                assert!(before == Some(1) || before == after, "{client}");
            }
        }
    }

    #[test]
    fn clients_are_spread_by_weight() {
        let mut balancer = balancer(Balance::Source, vec![1, 1, 2, 4]);
        let chosen = spread(&mut balancer, 8000, |_| true, |_| 0);
        for (count, wanted) in chosen.iter().zip([1000, 1000, 2000, 4000]) {
            assert!(count.abs_diff(wanted) < 150, "{chosen:?}");
        }
    }

    #[test]
    fn a_request_that_has_the_part_keeps_its_backend_and_others_go_in_turn() {
        let mut balancer = balancer(Balance::Hash, vec![1, 1, 2, 4]);
        let mut choose = |request, eligible: &dyn Fn(usize) -> bool| {
            let input = ChoiceInput {
                client: 1,
                request,
                random: 1,
            };
            balancer.choose(eligible, |_| 0, input)
        };
        let mut moved = 0;
        for hash in (0..1000).map(mix) {
            let before = choose(Some(hash), &|_| true);
            assert_eq!(before, choose(Some(hash), &|_| true));
            let after = choose(Some(hash), &|number| number != 1);
            moved += u32::from(before != after);
            assert!(before == Some(1) || before == after);
        }
        assert!((75..175).contains(&moved), "{moved} of 1000 for an eighth");
        let mut counts = [0; 4];
        for _ in 0..80 {
            counts[choose(None, &|_| true).expect("one of four")] += 1;
        }
        assert_eq!(counts, [10, 10, 20, 40]);
    }
}
