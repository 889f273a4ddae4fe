//! Writing the file.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
};

use viaduct_dataplane::{Engine, Memo, Moment};
use viaduct_topology::{ResourceId, inventory::AttachmentId};

use super::{
    LOOKED_AT,
    format::{
        Boot, EMPTY, Header, Kind, NAMES_AT, RECORD, RECORDS_AT, Record, name, record, sum_of,
    },
};

/// Bytes of neighbouring records that are written at once, at most.
const RUN: usize = 64 << 10;

/// How often the time is written though nothing else is, in milliseconds.
const NOTE_TIME_EVERY: u64 = 1000;

/// Writes what changes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: File,
    boot: Boot,
    /// The sum of the record that each slot has in the file; 0 where there is none.
    sums: Vec<u32>,
    hosts: HashSet<AttachmentId>,
    enis: HashMap<ResourceId, u32>,
    /// Where the next name goes.
    names_end: u64,
    /// The slot to be looked at next though nothing was said of it.
    next: u32,
    /// The time that is in the file.
    noted: Moment,
    run: Run,
}

/// Neighbouring records that are still to be written.
#[derive(Debug, Default)]
struct Run {
    first: u32,
    bytes: Vec<u8>,
}

impl Run {
    fn is_next(&self, slot: u32) -> bool {
        self.bytes.len() < RUN && slot as usize == self.first as usize + self.bytes.len() / RECORD
    }

    fn flush(&mut self, file: &File) -> io::Result<()> {
        let at = RECORDS_AT + u64::from(self.first) * RECORD as u64;
        let written = file.write_all_at(&self.bytes, at);
        self.bytes.clear();
        written
    }
}

impl Writer {
    /// For a file that is open, and empty.
    pub(super) fn new(file: File, boot: Boot) -> Self {
        Self {
            file,
            boot,
            sums: Vec::new(),
            hosts: HashSet::new(),
            enis: HashMap::new(),
            names_end: NAMES_AT,
            next: 0,
            noted: Moment::ZERO,
            run: Run::default(),
        }
    }

    /// Writes everything anew.
    pub(super) fn write_all(&mut self, engine: &Engine, now: Moment) -> io::Result<()> {
        self.give_up();
        self.note_time(now)?;
        // What is noted now need not be told again.
        engine.changes(|_| ());
        for slot in 0..engine.slots() {
            self.note(engine, slot, true)?;
        }
        self.run.flush(&self.file)
    }

    /// Empties the file, for it is true no longer. What cannot be emptied is no file.
    pub(super) fn give_up(&mut self) {
        let _ = self.file.set_len(0);
        self.sums.clear();
        self.hosts.clear();
        self.enis.clear();
        self.names_end = NAMES_AT;
        self.run.bytes.clear();
    }

    /// Writes what has changed since the last round, and looks at some slots more.
    pub(super) fn round(&mut self, engine: &Engine, now: Moment) -> io::Result<()> {
        let mut written = Ok(());
        engine.changes(|slot| {
            if written.is_ok() {
                written = self.note(engine, slot, true);
            }
        });
        written?;
        let slots = engine.slots();
        for _ in 0..slots.min(LOOKED_AT) {
            self.next = if self.next + 1 < slots { self.next + 1 } else { 0 };
            self.note(engine, self.next, false)?;
        }
        let wrote = !self.run.bytes.is_empty();
        self.run.flush(&self.file)?;
        if wrote || now.since(self.noted).as_millis() >= NOTE_TIME_EVERY.into() {
            self.note_time(now)?;
        }
        Ok(())
    }

    fn note_time(&mut self, now: Moment) -> io::Result<()> {
        self.noted = now;
        self.file.write_all_at(&Header { boot: self.boot, now }.to_bytes(), 0)
    }

    /// Notes what is in a slot, unless it is in the file as it is.
    fn note(&mut self, engine: &Engine, slot: u32, changed: bool) -> io::Result<()> {
        let record = match engine.memo(slot) {
            Some(memo) => self.record(engine, &memo)?.unwrap_or(EMPTY),
            None => EMPTY,
        };
        let (place, sum) = (slot as usize, sum_of(&record));
        if place >= self.sums.len() {
            self.sums.resize(place + 1, 0);
        }
        // Two records of one sum may be different, which is nothing to rely on after a birth.
        if self.sums[place] == sum && (sum == 0 || !changed) {
            return Ok(());
        }
        self.sums[place] = sum;
        if !self.run.is_next(slot) {
            self.run.flush(&self.file)?;
            self.run.first = slot;
        }
        self.run.bytes.extend_from_slice(&record);
        Ok(())
    }

    /// A connection's record, whose names are then in the file. None if one of them cannot be.
    fn record(&mut self, engine: &Engine, memo: &Memo) -> io::Result<Option<Record>> {
        for id in [memo.opener, memo.target] {
            if !self.name_host(engine, id)? {
                return Ok(None);
            }
        }
        let mut enis = [0; 3];
        for (number, translator) in enis.iter_mut().zip(&memo.translators) {
            let Some(translator) = translator else { continue };
            match self.eni(&translator.eni)? {
                Some(known) => *number = known,
                None => return Ok(None),
            }
        }
        Ok(Some(record(memo, enis)))
    }

    /// Whether a host's name is in the file. One that was removed has none any more: its connections
    /// could not go on either.
    fn name_host(&mut self, engine: &Engine, id: AttachmentId) -> io::Result<bool> {
        if self.hosts.contains(&id) {
            return Ok(true);
        }
        let Some(host) = engine.inventory().attachment(id) else { return Ok(false) };
        let named = self.write_name(Kind::Host, id.0, &host.name)?;
        if named {
            self.hosts.insert(id);
        }
        Ok(named)
    }

    fn eni(&mut self, id: &ResourceId) -> io::Result<Option<u32>> {
        if let Some(number) = self.enis.get(id) {
            return Ok(Some(*number));
        }
        let number = self.enis.len() as u32;
        if !self.write_name(Kind::Interface, number, id.as_str())? {
            return Ok(None);
        }
        self.enis.insert(id.clone(), number);
        Ok(Some(number))
    }

    /// Whether there was room for a name.
    fn write_name(&mut self, kind: Kind, number: u32, text: &str) -> io::Result<bool> {
        let Some(bytes) = name(kind, number, text) else { return Ok(false) };
        let end = self.names_end + bytes.len() as u64;
        if end > RECORDS_AT {
            return Ok(false);
        }
        self.file.write_all_at(&bytes, self.names_end)?;
        self.names_end = end;
        Ok(true)
    }
}
