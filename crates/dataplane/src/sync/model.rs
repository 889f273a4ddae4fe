//! What a model of concurrency needs: the checker's run, and what the checker itself lacks.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use loom::{
    model::Builder,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, JoinHandle},
};

use super::{Arc, Mutex};

/// Preemptions in one run, if `LOOM_MAX_PREEMPTIONS` does not say otherwise: how often a thread is
/// stopped although it could go on. Switches where a thread waits or ends are free.
const PREEMPTIONS: usize = 3;

/// Operations on locks and atomics in one run; more are an endless loop.
const BRANCHES: usize = 20_000;

/// In words; enough for the engine without optimisation. The checker's own stacks are of 4,096.
const STACK: usize = 1 << 18;

/// Runs `scenario` once for each order in which its threads can meet, up to the bound of
/// preemptions, and prints how many there were.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = BRANCHES;
    let bound = *builder.preemption_bound.get_or_insert(PREEMPTIONS);
    let orders = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        scenario();
    });
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a scenario");
    println!("{:>8} orders of {name}, {bound} preemptions", orders.load(Relaxed));
}

/// A thread of a scenario, with a stack for the whole engine.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(work).expect("a scenario has at most 5 threads")
}

/// Runs these at once and returns what they found.
pub(crate) fn together<T: Send + 'static, const N: usize>(
    work: [Box<dyn FnOnce() -> T + Send>; N],
) -> [T; N] {
    work.map(spawn).map(|thread| thread.join().expect("the thread"))
}

/// The checker's lack: a value that is made once. Made of a lock and a flag of the checker's, so that
/// it sees what whoever reads the value may rely on.
pub(crate) struct OnceLock<T> {
    made: AtomicBool,
    making: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            made: AtomicBool::new(false),
            making: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.made.load(Ordering::Acquire).then(|| self.value.get())?
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _making = self.making.lock();
        let value = self.value.get_or_init(make);
        self.made.store(true, Ordering::Release);
        value
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
