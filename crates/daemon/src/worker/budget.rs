//! What a target may cost: the time of its worker that a guest uses up by receiving slowly.
//!
//! # Theory of operation
//!
//! A write to a TUN runs the receive path of the guest's namespace to its end, in the writer's time
//! (`tun_get_user` calls `netif_receive_skb`): routing, sockets, and whatever rules the guest has put
//! there. A write is 2 µs of that, 15 µs for a super-packet; 50,000 nft rules make it 550 µs and more.
//! A turn's length bounds what is read from one queue, so packets that are a little dear share the
//! worker fairly. A write that is longer than a turn cannot be interrupted, so such writes have a
//! budget, and what is beyond it is dropped as for a full device.
//!
//! **What counts.** A write of more than [`SLOW`] and what its bytes explain ([`is_slow`]), with all
//! that it used. Others are free, so that a guest whose packets cost what packets cost is never
//! dropped for, even if it gets a worker's whole time.
//!
//! **What it is measured by.** A worker that is preempted in the middle of a write is no slow guest's
//! fault, and on a busy machine that happens all the time. The processor time of a thread tells both
//! apart, but asking for it takes a system call. So [`Stopwatch`] goes by the wall clock, which the
//! worker has for each frame anyway. A lap of more than [`SLOW`] makes it attentive for [`ATTENTION`]:
//! then it asks once a round, and after each such lap. Of a lap it believes what must have been
//! running: its length less all the time, since the last time it asked, in which the thread did not
//! run. The lap that woke it is free: one a second.
//!
//! **What it may be.** Each target has a [`Budget`] of its own at each worker, [`TARGET`]. It may go
//! into debt by one write, which is paid back at the same rate before the next: however long it was,
//! the share holds. Many slow guests would share the worker among themselves, so all of them together
//! have another budget, [`ALL`].
//!
//! **Noise.** Now and then the kernel does somebody else's work in the middle of a write (soft
//! interrupts run when the driver lets them), or a hypervisor takes the processor away without saying
//! so, and a write that is nobody's fault is milliseconds long. What is saved up is for that; and up to
//! [`NOISE`], a target does not depend on what is left for all.
//!
//! What a guest defers to another context (receive packet steering, a bridge behind the device) is not
//! the writer's time, and not counted here.

use std::time::{Duration, Instant};

/// A frame that took longer, from its being read to its being written, is looked into: longer than a
/// turn. An acknowledgment that lets a sender have a megabyte on the way comes near it.
pub(crate) const SLOW: Duration = super::TURN_TIME;

/// What a guest may need for each byte of a frame, besides [`SLOW`]: enough to cut a super-packet
/// into segments and to sum and copy each, for whoever has to forward it.
const NANOSECONDS_PER_BYTE: u64 = 2;

/// How long a stopwatch is attentive.
const ATTENTION: Duration = Duration::from_secs(1);

/// What slow writes to one target may take: a twentieth of its worker's time.
pub(crate) const TARGET: &Allowance = &Allowance { one_in: 20, depth: Duration::from_millis(20) };

/// What slow writes to all targets together may take: an eighth of the worker's time.
pub(crate) const ALL: &Allowance = &Allowance { one_in: 8, depth: Duration::from_millis(40) };

/// What a target may be slow for without being one of them: a two-hundredth.
pub(crate) const NOISE: &Allowance = &Allowance { one_in: 200, depth: Duration::from_millis(20) };

/// Whether a write of so many bytes has used more time than honest ones do.
pub(crate) fn is_slow(used: Duration, bytes: usize) -> bool {
    used > SLOW + Duration::from_nanos(bytes as u64 * NANOSECONDS_PER_BYTE)
}

/// A moment, and the processor time that the thread had used by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) used: Duration,
}

/// Tells how much of a lap the thread was running.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    /// The last reading of this round.
    last: Option<Reading>,
    /// All the time that the thread was seen to stand still in the middle of a round.
    stood_still: Duration,
    attentive_until: Option<Instant>,
}

impl Stopwatch {
    /// A round begins: the thread has slept. `used` asks for its processor time.
    pub(crate) fn begin(&mut self, at: Instant, used: impl FnOnce() -> Duration) {
        self.last = match self.attentive_until {
            Some(until) if at < until => Some(Reading { at, used: used() }),
            _ => None,
        };
    }

    /// A lap that ended `now` took longer than [`SLOW`]. Returns the least that the thread must have
    /// run in it.
    pub(crate) fn slow_lap(&mut self, lap: Duration, now: Reading) -> Duration {
        self.attentive_until = Some(now.at + ATTENTION);
        let Some(last) = self.last.replace(now) else { return Duration::ZERO };
        let passed = now.at.saturating_duration_since(last.at);
        let stood_still = passed.saturating_sub(now.used.saturating_sub(last.used));
        self.stood_still += stood_still;
        lap.saturating_sub(stood_still)
    }

    /// The moment on a clock that stands still with the thread: budgets are shares of what it gets of
    /// a processor, and of its sleep.
    pub(crate) fn on_duty(&self, at: Instant) -> Instant {
        at.checked_sub(self.stood_still).unwrap_or(at)
    }
}

/// How much of a worker's time may be spent.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// A share of this many.
    one_in: u32,
    /// What may be spent at once, if nothing was for long enough.
    depth: Duration,
}

/// What a worker keeps of a target that was slow.
#[derive(Debug)]
pub(crate) struct Account {
    own: Budget,
    noise: Budget,
}

impl Account {
    /// Of a target that was not slow before.
    pub(crate) fn open(at: Instant) -> Self {
        Self { own: Budget::new(TARGET, at), noise: Budget::new(NOISE, at) }
    }

    /// Notes a slow write, also in the budget of all.
    pub(crate) fn charge(&mut self, time: Duration, all: &mut Budget, at: Instant) {
        if self.noise.is_left(at) {
            self.noise.spend(time, at);
        }
        self.own.spend(time, at);
        all.spend(time, at);
    }

    /// Whether the target may be written to.
    pub(crate) fn may_cost(&mut self, all: &mut Budget, at: Instant) -> bool {
        self.own.is_left(at) && (self.noise.is_left(at) || all.is_left(at))
    }

    /// Whether there is nothing left to remember.
    pub(crate) fn is_settled(&mut self, at: Instant) -> bool {
        self.noise.is_full(at) && self.own.is_full(at)
    }
}

/// Time to be spent: a token bucket.
#[derive(Debug)]
pub(crate) struct Budget {
    allowance: &'static Allowance,
    /// Nanoseconds; below zero, a debt.
    left: i64,
    at: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(allowance: &'static Allowance, at: Instant) -> Self {
        Self { allowance, left: nanoseconds(allowance.depth), at }
    }

    /// Whether there is something left.
    pub(crate) fn is_left(&mut self, at: Instant) -> bool {
        self.refill(at);
        self.left > 0
    }

    /// Whether nothing is owed or missing.
    pub(crate) fn is_full(&mut self, at: Instant) -> bool {
        self.refill(at);
        self.left >= nanoseconds(self.allowance.depth)
    }

    /// Spends this much, if need be on credit.
    pub(crate) fn spend(&mut self, time: Duration, at: Instant) {
        self.refill(at);
        self.left = self.left.saturating_sub(nanoseconds(time));
    }

    fn refill(&mut self, at: Instant) {
        let earned = at.saturating_duration_since(self.at) / self.allowance.one_in;
        self.left =
            self.left.saturating_add(nanoseconds(earned)).min(nanoseconds(self.allowance.depth));
        self.at = self.at.max(at);
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);
    const MILLISECOND: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A stopwatch that has begun an attentive round at `start`, with nothing used.
    fn attentive(start: Instant) -> Stopwatch {
        let mut stopwatch = Stopwatch::default();
        let woke = Reading { at: start - MILLISECOND, used: Duration::ZERO };
        assert_eq!(stopwatch.slow_lap(SECOND, woke), Duration::ZERO, "the first one is free");
        stopwatch.begin(start, || Duration::ZERO);
        stopwatch
    }

    #[test]
    fn a_stopwatch_that_saw_nothing_asks_nothing() {
        let start = Instant::now();
        let unasked = || panic!("asked for processor time");
        let mut stopwatch = Stopwatch::default();
        stopwatch.begin(start, unasked);
        stopwatch.slow_lap(SECOND, Reading { at: start, used: Duration::ZERO });
        let mut asked = false;
        stopwatch.begin(start + ATTENTION - MICROSECOND, || {
            asked = true;
            Duration::ZERO
        });
        assert!(asked, "attentive");
        stopwatch.begin(start + ATTENTION, unasked);
    }

    #[test]
    fn a_slow_write_is_measured_whole() {
        let start = Instant::now();
        let mut stopwatch = attentive(start);
        for lap in 1..=10 {
            let ran = 750 * MICROSECOND;
            let now = Reading { at: start + ran * lap, used: ran * lap };
            assert_eq!(stopwatch.slow_lap(ran, now), ran);
        }
    }

    #[test]
    fn a_preempted_write_is_no_slow_one() {
        let start = Instant::now();
        let mut stopwatch = attentive(start);
        // Four milliseconds in which the thread ran for two microseconds.
        let now = Reading { at: start + 4 * MILLISECOND, used: 2 * MICROSECOND };
        assert_eq!(stopwatch.slow_lap(4 * MILLISECOND, now), 2 * MICROSECOND);
        // A slow one right behind it is measured for itself.
        let after = Reading { at: now.at + MILLISECOND, used: now.used + MILLISECOND };
        assert_eq!(stopwatch.slow_lap(MILLISECOND, after), MILLISECOND);
        // Preempted while slow: what it ran.
        let last = Reading { at: after.at + 5 * MILLISECOND, used: after.used + MILLISECOND };
        assert_eq!(stopwatch.slow_lap(5 * MILLISECOND, last), MILLISECOND);
    }

    #[test]
    fn time_that_was_lost_somewhere_is_taken_for_lost_in_the_lap() {
        let start = Instant::now();
        let mut stopwatch = attentive(start);
        let now = Reading { at: start + 10 * MILLISECOND, used: 9 * MILLISECOND };
        assert_eq!(stopwatch.slow_lap(3 * MILLISECOND, now), 2 * MILLISECOND);
        let later = Reading { at: now.at + 10 * MILLISECOND, used: now.used };
        assert_eq!(stopwatch.slow_lap(3 * MILLISECOND, later), Duration::ZERO);
        let on_duty = stopwatch.on_duty(later.at);
        assert_eq!(on_duty - start, 9 * MILLISECOND, "a share of no more than it ran");
    }

    #[test]
    fn bytes_explain_time() {
        assert!(!is_slow(SLOW, 0));
        assert!(is_slow(SLOW + MICROSECOND, 0));
        assert!(!is_slow(150 * MICROSECOND, 65_000), "a super-packet that is cut up again");
        assert!(is_slow(750 * MICROSECOND, 65_545), "no frame takes this long");
    }

    /// Writes of so much each, as many as `budget` allows, for ten seconds in which nothing else is
    /// done; returns what was spent.
    fn spent(budget: &mut Budget, start: Instant, write: Duration) -> Duration {
        let (mut now, mut spent) = (start, Duration::ZERO);
        while now < start + 10 * SECOND {
            if budget.is_left(now) {
                now += write;
                budget.spend(write, now);
                spent += write;
            } else {
                now += 100 * MICROSECOND;
            }
        }
        spent
    }

    #[test]
    fn the_share_holds_however_slow_the_writes_are() {
        for allowance in [TARGET, ALL] {
            for write in [70 * MICROSECOND, 750 * MICROSECOND, 80 * MILLISECOND] {
                let start = Instant::now();
                let mut budget = Budget::new(allowance, start);
                let spent = spent(&mut budget, start, write);
                let share = 10 * SECOND / allowance.one_in;
                assert!(spent <= share + allowance.depth + 2 * write, "{write:?}: {spent:?}");
                assert!(spent + 2 * write >= share, "{write:?}: {spent:?} of {share:?}");
            }
        }
    }

    /// Ten seconds of writes to many targets in turn, each of 750 µs; returns what was spent.
    fn spent_by(accounts: &mut [Account], all: &mut Budget, start: Instant) -> Duration {
        let write = 750 * MICROSECOND;
        let (mut now, mut spent) = (start, Duration::ZERO);
        while now < start + 10 * SECOND {
            for account in accounts.iter_mut() {
                now += 20 * MICROSECOND;
                if account.may_cost(all, now) {
                    now += write;
                    account.charge(write, all, now);
                    spent += write;
                }
            }
        }
        spent
    }

    #[test]
    fn many_slow_targets_get_no_more_than_their_common_share() {
        let start = Instant::now();
        let mut all = Budget::new(ALL, start);
        let mut accounts: Vec<Account> = (0..20).map(|_| Account::open(start)).collect();
        let spent = spent_by(&mut accounts, &mut all, start);
        let of_all = 10 * SECOND / ALL.one_in + ALL.depth;
        let noise = 10 * SECOND / NOISE.one_in + NOISE.depth + MILLISECOND;
        let share = of_all + 20 * noise;
        assert!(spent <= share, "{spent:?} of {share:?}");
        assert!(spent >= of_all, "{spent:?}");
    }

    #[test]
    fn noise_is_not_paid_for_with_what_others_do() {
        let start = Instant::now();
        let mut all = Budget::new(ALL, start);
        let mut accounts: Vec<Account> = (0..20).map(|_| Account::open(start)).collect();
        spent_by(&mut accounts, &mut all, start);
        let now = start + 10 * SECOND;
        all.spend(SECOND, now);
        for account in &mut accounts {
            assert!(!account.may_cost(&mut all, now), "a slow one");
        }
        let mut hit = Account::open(now);
        hit.charge(15 * MILLISECOND, &mut all, now);
        assert!(hit.may_cost(&mut all, now), "within what it has for that");
        assert!(!hit.is_settled(now + 2 * SECOND));
        assert!(hit.is_settled(now + 3 * SECOND), "a two-hundredth of that is 15 ms");
    }

    #[test]
    fn a_budget_fills_up_and_no_further() {
        const ALLOWANCE: &Allowance = &Allowance { one_in: 20, depth: Duration::from_millis(2) };
        let start = Instant::now();
        let mut budget = Budget::new(ALLOWANCE, start);
        assert!(budget.is_full(start));
        budget.spend(10 * MILLISECOND, start);
        assert!(!budget.is_left(start + 160 * MILLISECOND), "8 ms owed, at one in twenty");
        assert!(budget.is_left(start + 161 * MILLISECOND));
        assert!(!budget.is_full(start + 161 * MILLISECOND));
        assert!(budget.is_full(start + SECOND));
        budget.spend(2 * MILLISECOND, start + 100 * SECOND);
        assert!(!budget.is_left(start + 100 * SECOND), "more than its depth was saved");
        // A clock read before another one's reading is no harm.
        assert!(!budget.is_left(start));
    }
}
