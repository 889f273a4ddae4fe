//! Two hosts that talk all the time, while others misbehave.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use viaduct_tun::Namespace;

use super::{LIMIT, eventually};

/// Between two datagrams: others are to have the processors too.
const PACE: Duration = Duration::from_millis(1);

/// How soon a thread sees that it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A stream of datagrams, each sent when the one before has come back. One that is lost fails the test.
pub(crate) struct Echoes {
    back: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    sending: Option<JoinHandle<Duration>>,
    answering: Option<JoinHandle<()>>,
}

impl Echoes {
    /// From one host to a UDP port of the other.
    pub(crate) fn between(from: &Namespace, to: &Namespace, address: SocketAddr) -> Self {
        let bind = |port| move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let server = to.run(bind(address.port())).unwrap();
        server.set_read_timeout(Some(LOOK)).unwrap();
        let client = from.run(bind(0)).unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let (end, back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let over = Arc::clone(&end);
        let answering = thread::spawn(move || {
            let mut datagram = [0; 8];
            while !over.load(Relaxed) {
                if let Ok((length, peer)) = server.recv_from(&mut datagram) {
                    server.send_to(&datagram[..length], peer).unwrap();
                }
            }
        });
        let (over, counted) = (Arc::clone(&end), Arc::clone(&back));
        let sending = thread::spawn(move || {
            let (mut number, mut longest) = (0_u64, Duration::ZERO);
            while !over.load(Relaxed) {
                let sent = Instant::now();
                client.send(&number.to_be_bytes()).unwrap();
                let mut answer = [0; 8];
                let length = client.recv(&mut answer);
                let length =
                    length.unwrap_or_else(|error| panic!("echo {number} is lost: {error}"));
                assert_eq!(answer[..length], number.to_be_bytes(), "one is doubled");
                longest = longest.max(sent.elapsed());
                number += 1;
                counted.store(number, Relaxed);
                thread::sleep(PACE);
            }
            longest
        });
        Self { back, end, sending: Some(sending), answering: Some(answering) }
    }

    /// Waits until another hundred have come back.
    pub(crate) fn go_on(&self) {
        let wanted = self.back.load(Relaxed) + 100;
        let done = || (self.back.load(Relaxed) >= wanted).then_some(());
        assert!(eventually(done).is_some(), "the others do not go on");
    }

    /// Ends, and says how many came back and how long the slowest took.
    pub(crate) fn end(mut self) {
        self.end.store(true, Relaxed);
        let longest = self.sending.take().unwrap().join().expect("none is lost");
        println!("{} echoes, the slowest within {longest:?}", self.back.load(Relaxed));
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
        if let Some(thread) = self.answering.take() {
            // What went wrong was said.
            let _ = thread.join();
        }
    }
}
