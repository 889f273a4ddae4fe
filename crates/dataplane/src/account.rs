//! What an attachment uses of what it may: connections alive, and rates.
//!
//! A connection is claimed before it is looked for room and told of when it has died, so that the
//! count is never below the connections there are, and never above the quota, however many workers
//! open and end connections of one attachment at once.

use crate::{
    rate::Bucket,
    sync::{AtomicU32, Ordering},
};

/// The account of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Connections that it opened and that live.
    connections: AtomicU32,
    /// Those it opens.
    pub(crate) openings: Bucket,
    /// Bytes from it.
    pub(crate) sent: Bucket,
    /// Bytes to it.
    pub(crate) received: Bucket,
}

impl Account {
    /// Connections that it opened and that live, and those that are just being opened.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection that is to be opened, unless there are `limit` already.
    pub(crate) fn claim(&self, limit: Option<u32>) -> Option<Claim<'_>> {
        let limit = limit.unwrap_or(u32::MAX);
        self.connections
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .ok()
            .map(|_| Claim(self))
    }

    /// Counts the death of a connection.
    pub(crate) fn release(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is counted and may yet fail to be opened; then its claim is to be dropped.
#[must_use = "a claim that is dropped is undone"]
#[derive(Debug)]
pub(crate) struct Claim<'a>(&'a Account);

impl Claim<'_> {
    /// The connection was born. Whoever tells its death releases it.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_claim_counts_until_it_is_dropped_or_released() {
        let account = Account::default();
        let first = account.claim(Some(2)).expect("room for two");
        account.claim(Some(2)).expect("room for one").keep();
        assert!(account.claim(Some(2)).is_none());
        assert!(account.claim(Some(0)).is_none(), "a quota that was lowered");
        drop(first);
        assert_eq!(account.connections(), 1);
        account.release();
        assert_eq!(account.connections(), 0);
        account.claim(None).expect("no limit").keep();
    }

    #[test]
    fn threads_never_have_more_than_the_quota_between_them() {
        const QUOTA: u32 = 3;
        let account = Account::default();
        thread::scope(|scope| {
            for number in 0..4 {
                let account = &account;
                scope.spawn(move || {
                    for round in 0..5000 {
                        let Some(claim) = account.claim(Some(QUOTA)) else { continue };
                        assert!(account.connections() <= QUOTA);
                        if (round + number) % 2 == 0 {
                            claim.keep();
                            account.release();
                        }
                    }
                });
            }
        });
        assert_eq!(account.connections(), 0);
        let claims: Vec<_> = std::iter::from_fn(|| account.claim(Some(QUOTA))).collect();
        assert_eq!(claims.len(), 3);
    }
}
