//! Reading what the daemon before has noted.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use viaduct_dataplane::{Engine, Moment, Scratch};
use viaduct_topology::{ResourceId, inventory::AttachmentId};

use super::format::{
    Boot, HEADER, Header, Kind, Lost, NAME, NAMES_AT, RECORD, RECORDS_AT, name_length, named,
    recorded,
};

/// What a daemon has left.
#[derive(Debug)]
pub(crate) struct Left {
    file: File,
    now: Moment,
    hosts: HashMap<u32, String>,
    enis: HashMap<u32, ResourceId>,
}

/// What came of the connections that were noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resumed {
    /// Connections that go on.
    pub(crate) resumed: u64,
    /// Those that do not.
    pub(crate) lost: BTreeMap<Lost, u64>,
}

impl Resumed {
    /// Connections that do not go on.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Left {
    /// What was left at this path since this boot; none if nothing was, or nothing that holds any more.
    pub(crate) fn at(path: &Path, since: Boot) -> Option<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "notes of connections are not read");
                return None;
            }
        };
        let mut header = [0; HEADER];
        let header = file.read_exact_at(&mut header, 0).ok().map(|()| header);
        let Some(Header { boot, now }) = header.as_ref().and_then(Header::from_bytes) else {
            let empty = file.metadata().is_ok_and(|it| it.len() == 0);
            if !empty {
                let path = path.display();
                tracing::warn!(%path, "no notes of connections of this format: they begin anew");
            }
            return None;
        };
        if boot != since {
            tracing::info!("the machine was started anew: connections of before are over");
            return None;
        }
        let mut left = Self { file, now, hosts: HashMap::new(), enis: HashMap::new() };
        // What cannot be read leaves connections without names, which are lost, and said so.
        let _ = left.read_names();
        Some(left)
    }

    /// The engine's time when the daemon before ended.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// The hosts that connections name.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.values().map(String::as_str)
    }

    /// Has the connections go on in this engine, where `host` says who has a name now.
    pub(crate) fn resume(
        self,
        engine: &Engine,
        host: impl Fn(&str) -> Option<AttachmentId>,
        scratch: &mut Scratch,
    ) -> Resumed {
        let Self { mut file, now, hosts, enis } = self;
        let hosts: HashMap<u32, AttachmentId> =
            hosts.iter().filter_map(|(number, name)| Some((*number, host(name)?))).collect();
        let mut resumed = Resumed::default();
        if file.seek(SeekFrom::Start(RECORDS_AT)).is_err() {
            return resumed;
        }
        let mut records = BufReader::with_capacity(1 << 18, file);
        let mut record = [0; RECORD];
        // The last one may be cut off.
        while records.read_exact(&mut record).is_ok() {
            let (host, eni) = (|it| hosts.get(&it).copied(), |it| enis.get(&it).cloned());
            let Some(memo) = recorded(&record, host, eni) else { continue };
            match memo.and_then(|memo| Ok(engine.resume(&memo, now, scratch)?)) {
                Ok(()) => resumed.resumed += 1,
                Err(lost) => *resumed.lost.entry(lost).or_default() += 1,
            }
        }
        resumed
    }

    fn read_names(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(NAMES_AT))?;
        let mut names = BufReader::new(&self.file).take(RECORDS_AT - NAMES_AT);
        let mut bytes = Vec::new();
        loop {
            let mut beginning = [0; NAME];
            names.read_exact(&mut beginning)?;
            bytes.clear();
            bytes.extend_from_slice(&beginning);
            bytes.resize(NAME + name_length(&beginning), 0);
            names.read_exact(&mut bytes[NAME..])?;
            match named(&bytes) {
                Some((Kind::Host, number, text)) => {
                    self.hosts.insert(number, text.to_owned());
                }
                Some((Kind::Interface, number, text)) => {
                    self.enis.insert(number, ResourceId::named(text));
                }
                // The end, or damage: what comes after could be anything.
                None => return Ok(()),
            }
        }
    }
}
