//! References: what a name written somewhere means.
//!
//! A reference is `name`, `kind/name`, `vpc/name` or `vpc/kind/name`. The bare name serves where
//! only one kind fits, and the VPC may be left out inside a VPC and wherever only one has it.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
};

use crate::{
    arena::Handle,
    model::{
        Function, Instance, InternetGateway, InternetHost, NatGateway, NetworkAcl, PrefixList,
        Role, RouteTable, SecurityGroup, Service, Subnet, Topology, Vpc, VpcEndpoint,
        VpcPeeringConnection,
    },
    path::{Kind, Resource},
    suggest::suggest,
};

/// What a reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Subnet(Handle<Subnet>),
    RouteTable(Handle<RouteTable>),
    NetworkAcl(Handle<NetworkAcl>),
    SecurityGroup(Handle<SecurityGroup>),
    InternetGateway(Handle<InternetGateway>),
    NatGateway(Handle<NatGateway>),
    Instance(Handle<Instance>),
    Function(Handle<Function>),
    Internet(Handle<InternetHost>),
    PrefixList(Handle<PrefixList>),
    VpcPeeringConnection(Handle<VpcPeeringConnection>),
    Service(Handle<Service>),
    VpcEndpoint(Handle<VpcEndpoint>),
    Role(Handle<Role>),
}

impl Target {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Subnet(_) => Kind::Subnet,
            Self::RouteTable(_) => Kind::RouteTable,
            Self::NetworkAcl(_) => Kind::NetworkAcl,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::InternetGateway(_) => Kind::InternetGateway,
            Self::NatGateway(_) => Kind::NatGateway,
            Self::Instance(_) => Kind::Instance,
            Self::Function(_) => Kind::Function,
            Self::Internet(_) => Kind::Internet,
            Self::PrefixList(_) => Kind::PrefixList,
            Self::VpcPeeringConnection(_) => Kind::VpcPeeringConnection,
            Self::Service(_) => Kind::Service,
            Self::VpcEndpoint(_) => Kind::VpcEndpoint,
            Self::Role(_) => Kind::Role,
        }
    }
}

/// A reference that leads nowhere, or to more than one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Miss {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
}

/// One thing that has a name.
#[derive(Clone, Copy, Debug)]
struct Entry {
    vpc: Option<Handle<Vpc>>,
    target: Target,
}

/// Every name of a topology.
#[derive(Debug, Default)]
pub(crate) struct Names {
    vpcs: Vec<String>,
    /// Ordered, so that suggestions do not depend on chance.
    entries: BTreeMap<String, Vec<Entry>>,
    vpc_by_name: HashMap<String, Handle<Vpc>>,
    /// Pairs of VPCs that are peered, both ways round.
    peered: HashSet<(Handle<Vpc>, Handle<Vpc>)>,
    /// How many names were looked through for suggestions.
    looked_through: Cell<usize>,
}

/// After looking through so many names, none are suggested any more: a large file in which
/// everything dangles is to be refused in seconds, too.
const ENOUGH: usize = 2_000_000;

impl Names {
    /// The names of a topology that is already resolved.
    pub(crate) fn of(topology: &Topology) -> Self {
        let mut names = Self::default();
        for (_, vpc) in topology.vpcs.iter() {
            names.insert_vpc(&vpc.name);
        }
        names.insert_all(topology, Target::Subnet);
        names.insert_all(topology, Target::RouteTable);
        names.insert_all(topology, Target::NetworkAcl);
        names.insert_all(topology, Target::SecurityGroup);
        names.insert_all(topology, Target::InternetGateway);
        names.insert_all(topology, Target::NatGateway);
        names.insert_all(topology, Target::Instance);
        names.insert_all(topology, Target::Function);
        names.insert_all(topology, Target::Internet);
        names.insert_all(topology, Target::PrefixList);
        names.insert_all(topology, Target::VpcPeeringConnection);
        names.insert_all(topology, Target::Service);
        names.insert_all(topology, Target::VpcEndpoint);
        names.insert_all(topology, Target::Role);
        names
    }

    fn insert_all<R: Resource>(&mut self, topology: &Topology, target: fn(Handle<R>) -> Target) {
        for (handle, resource) in R::arena(topology).iter() {
            self.insert(resource.name(), resource.vpc(topology), target(handle));
        }
    }

    /// Adds a VPC. Of two with one name, references mean the first.
    pub(crate) fn insert_vpc(&mut self, name: &str) -> Handle<Vpc> {
        let handle = Handle::at(u32::try_from(self.vpcs.len()).expect("fewer than 2^32 VPCs"));
        self.vpcs.push(name.to_owned());
        self.vpc_by_name.entry(name.to_owned()).or_insert(handle);
        handle
    }

    /// Adds a thing. False if its VPC has one of the kind and name already, which stays.
    pub(crate) fn insert(&mut self, name: &str, vpc: Option<Handle<Vpc>>, target: Target) -> bool {
        let entries = self.entries.entry(name.to_owned()).or_default();
        let known =
            entries.iter().any(|entry| entry.vpc == vpc && entry.target.kind() == target.kind());
        if !known {
            entries.push(Entry { vpc, target });
        }
        !known
    }

    /// Whether a VPC has this name.
    pub(crate) fn is_vpc(&self, name: &str) -> bool {
        self.vpc_by_name.contains_key(name)
    }

    /// What a reference means where one of these kinds is wanted: inside the VPC, or anywhere.
    pub(crate) fn find(
        &self,
        text: &str,
        accepted: &[Kind],
        scope: Option<Handle<Vpc>>,
    ) -> Result<Target, Miss> {
        match self.entry(text, accepted, scope)? {
            Entry { vpc: Some(there), .. } if scope.is_some_and(|here| here != *there) => {
                let help = "what is in a VPC is for the use of that VPC";
                Err(self.elsewhere(text, scope, help))
            }
            entry => Ok(entry.target),
        }
    }

    /// Like [`find`](Self::find) inside a VPC, and a reference that says so may lead into a VPC that
    /// is peered with it (SG-09).
    pub(crate) fn find_across(
        &self,
        text: &str,
        accepted: &[Kind],
        here: Handle<Vpc>,
    ) -> Result<Target, Miss> {
        match self.entry(text, accepted, Some(here))? {
            Entry { vpc: Some(there), .. }
                if here != *there && !self.peered.contains(&(here, *there)) =>
            {
                let help = "a rule can name groups of its own VPC and of those peered with it";
                Err(self.elsewhere(text, Some(here), help))
            }
            entry => Ok(entry.target),
        }
    }

    fn elsewhere(&self, text: &str, here: Option<Handle<Vpc>>, help: &str) -> Miss {
        let here = here.map_or("", |here| self.vpc_name(here));
        Miss {
            message: format!("`{text}` is in another VPC than `{here}`"),
            help: Some(help.to_owned()),
        }
    }

    /// The one thing that a reference can mean.
    fn entry(
        &self,
        text: &str,
        accepted: &[Kind],
        scope: Option<Handle<Vpc>>,
    ) -> Result<&Entry, Miss> {
        let reference = self.parse(text, accepted)?;
        let vpc = reference.vpc.or(scope);
        let kinds: &[Kind] = match &reference.kind {
            Some(kind) => std::slice::from_ref(kind),
            None => accepted,
        };
        let namesakes = self.entries.get(reference.name).map_or(&[][..], Vec::as_slice);
        let fitting: Vec<&Entry> = namesakes
            .iter()
            .filter(|entry| kinds.contains(&entry.target.kind()))
            // What is in no VPC can be named from within each.
            .filter(|entry| match reference.vpc {
                Some(_) => entry.vpc == vpc,
                None => vpc.is_none() || entry.vpc.is_none() || entry.vpc == vpc,
            })
            .collect();
        match fitting[..] {
            [entry] => Ok(entry),
            [] => Err(self.nothing(text, &reference, kinds, vpc)),
            _ => {
                let paths = fitting.iter().map(|entry| self.path(reference.name, entry));
                Err(Miss {
                    message: format!("`{text}` can mean several things"),
                    help: Some(format!("write one of {}", quoted(paths))),
                })
            }
        }
    }

    /// The words of a reference, checked as far as they are about kinds and VPCs.
    fn parse<'t>(&self, text: &'t str, accepted: &[Kind]) -> Result<Reference<'t>, Miss> {
        let parts: Vec<&str> = text.split('/').collect();
        let (vpc, kind, name) = match parts[..] {
            [name] => (None, None, name),
            [first, name] if Kind::from_word(first).is_some() => (None, Some(first), name),
            [first, name] if self.vpc_by_name.contains_key(first) => (Some(first), None, name),
            // Neither a kind nor a VPC: whichever it is nearer to.
            [first, name] if suggest(first, Kind::ALL.map(Kind::word)).is_some() => {
                (None, Some(first), name)
            }
            [first, _] => return Err(self.neither(first, accepted)),
            [vpc, kind, name] => (Some(vpc), Some(kind), name),
            _ => {
                return Err(Miss {
                    message: format!("`{text}` is not a reference"),
                    help: Some(
                        "write `name`, `kind/name`, `vpc/name` or `vpc/kind/name`".to_owned(),
                    ),
                });
            }
        };
        let kind = kind.map(|word| kind_among(word, accepted, text)).transpose()?;
        let vpc = vpc.map(|name| self.vpc(name)).transpose()?;
        Ok(Reference { vpc, kind, name })
    }

    /// Remembers that two VPCs are peered. False if they are already.
    pub(crate) fn peer(&mut self, one: Handle<Vpc>, other: Handle<Vpc>) -> bool {
        self.peered.insert((one, other)) && self.peered.insert((other, one))
    }

    /// The VPC of this name.
    pub(crate) fn vpc(&self, name: &str) -> Result<Handle<Vpc>, Miss> {
        self.vpc_by_name.get(name).copied().ok_or_else(|| Miss {
            message: format!("there is no VPC `{name}`"),
            help: known(name, self.vpcs.iter().map(String::as_str), "VPCs"),
        })
    }

    /// Why `word/name` means nothing.
    fn neither(&self, word: &str, accepted: &[Kind]) -> Miss {
        if let Some(meant) = suggest(word, self.vpcs.iter().map(String::as_str)) {
            return Miss {
                message: format!("there is no VPC `{word}`"),
                help: Some(format!("did you mean `{meant}`?")),
            };
        }
        let kinds = quoted(accepted.iter().map(|kind| kind.word().to_owned()));
        Miss {
            message: format!("`{word}` is neither a kind nor a VPC"),
            help: Some(format!("before the slash stands {kinds}, or the name of a VPC")),
        }
    }

    /// Why nothing was found, and what could have been meant.
    fn nothing(
        &self,
        text: &str,
        reference: &Reference<'_>,
        kinds: &[Kind],
        vpc: Option<Handle<Vpc>>,
    ) -> Miss {
        let nouns = alternatives(kinds.iter().map(|kind| kind.noun().to_owned()));
        let place = vpc.map_or(String::new(), |vpc| format!(" in VPC `{}`", self.vpc_name(vpc)));
        let message = format!("there is no {nouns} `{}`{place}", reference.name);

        // The right name in the wrong place, or of the wrong kind.
        let namesakes = self.entries.get(reference.name).map_or(&[][..], Vec::as_slice);
        if let Some(entry) = namesakes.iter().find(|entry| kinds.contains(&entry.target.kind())) {
            let path = self.path(reference.name, entry);
            let help = match entry.vpc {
                Some(_) => format!("there is `{path}`, in another VPC"),
                None => format!("there is `{path}`, which is in no VPC"),
            };
            return Miss { message, help: Some(help) };
        }
        let here = |entry: &&Entry| vpc.is_none() || entry.vpc == vpc || entry.vpc.is_none();
        if let Some(entry) = namesakes.iter().find(here) {
            let is = entry.target.kind().a_noun();
            return Miss { message, help: Some(format!("`{}` is {is}", reference.name)) };
        }

        if self.looked_through.get() > ENOUGH {
            return Miss { message, help: None };
        }
        self.looked_through.set(self.looked_through.get() + self.entries.len());
        let candidates = self.entries.iter().filter(|(_, entries)| {
            entries.iter().any(|entry| kinds.contains(&entry.target.kind()) && here(&entry))
        });
        let candidates: Vec<&str> = candidates.map(|(name, _)| name.as_str()).collect();
        let help = match suggest(reference.name, candidates.iter().copied()) {
            Some(meant) => {
                let meant = match text.rsplit_once('/') {
                    Some((before, _)) => format!("{before}/{meant}"),
                    None => meant.to_owned(),
                };
                Some(format!("did you mean `{meant}`?"))
            }
            None if candidates.is_empty() => Some(format!("no {nouns} is declared{place}")),
            None => known(reference.name, candidates.into_iter(), "there are"),
        };
        Miss { message, help }
    }

    fn vpc_name(&self, vpc: Handle<Vpc>) -> &str {
        &self.vpcs[vpc.index()]
    }

    fn path(&self, name: &str, entry: &Entry) -> String {
        let kind = entry.target.kind();
        match entry.vpc {
            Some(vpc) => format!("{}/{kind}/{name}", self.vpc_name(vpc)),
            None => format!("{kind}/{name}"),
        }
    }
}

/// A reference taken apart.
struct Reference<'t> {
    vpc: Option<Handle<Vpc>>,
    kind: Option<Kind>,
    name: &'t str,
}

/// The kind that a word stands for, if it is wanted here.
fn kind_among(word: &str, accepted: &[Kind], text: &str) -> Result<Kind, Miss> {
    match Kind::from_word(word) {
        Some(kind) if accepted.contains(&kind) => Ok(kind),
        Some(kind) => Err(Miss {
            message: format!("`{text}` is {}", kind.a_noun()),
            help: Some(format!(
                "expected {}",
                alternatives(accepted.iter().map(|kind| kind.a_noun()))
            )),
        }),
        None => Err(Miss {
            message: format!("there is no kind `{word}`"),
            help: known(word, accepted.iter().map(|kind| kind.word()), "kinds that fit here"),
        }),
    }
}

/// "a, b or c".
fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// "did you mean `x`?", or the list of what there is if it is short.
fn known<'k>(unknown: &str, known: impl Iterator<Item = &'k str>, label: &str) -> Option<String> {
    const SHORT: usize = 12;
    let known: Vec<&str> = known.collect();
    if let Some(meant) = suggest(unknown, known.iter().copied()) {
        return Some(format!("did you mean `{meant}`?"));
    }
    (!known.is_empty() && known.len() <= SHORT)
        .then(|| format!("{label}: {}", quoted(known.into_iter().map(str::to_owned))))
}

fn quoted(words: impl Iterator<Item = String>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
