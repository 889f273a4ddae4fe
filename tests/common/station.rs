//! A host at which scapy sends and listens: `tests/probes/station.py`, which says how packets are
//! described.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use super::{Killed, Lab, eventually, repository};

/// A station. It ends when dropped.
pub(crate) struct Station {
    heard: Arc<Mutex<Vec<Value>>>,
    input: ChildStdin,
    _script: Killed,
}

impl Station {
    pub(crate) fn at(lab: &Lab, host: &str) -> Self {
        let script = repository("tests/probes/station.py");
        // The system's own interpreter: scapy is a package of the system's.
        let mut python = lab.exec(host, &["/usr/bin/python3", script.to_str().unwrap()]);
        let mut script = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = script.stdin.take().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let told = Arc::clone(&heard);
        thread::spawn(move || {
            for line in lines {
                told.lock().unwrap().push(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        let mut station = Self { heard, input, _script: Killed(script) };
        // Once it has sent nothing, it listens.
        station.send(&[]);
        station
    }

    /// Sends packets, and returns when they are sent.
    pub(crate) fn send(&mut self, packets: &[Value]) {
        let before = self.count(|it| it == "sent");
        writeln!(self.input, "{}", Value::from(packets)).unwrap();
        let sent = eventually(|| (self.count(|it| it == "sent") > before).then_some(()));
        assert!(sent.is_some(), "{packets:?} cannot be sent");
    }

    /// How many packets came in that are like this.
    pub(crate) fn count(&self, like: impl Fn(&Value) -> bool) -> usize {
        self.heard.lock().unwrap().iter().filter(|it| like(it)).count()
    }

    /// Waits for a packet that is like this.
    pub(crate) fn wait_for(&self, like: impl Fn(&Value) -> bool) -> Value {
        let heard = || self.heard.lock().unwrap();
        let found = eventually(|| heard().iter().find(|it| like(it)).cloned());
        found.unwrap_or_else(|| panic!("no such packet among {:#?}", heard()))
    }
}
