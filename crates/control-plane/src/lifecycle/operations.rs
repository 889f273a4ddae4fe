//! What is done with functions: create, update, publish, tag, delete.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Lifecycle,
    command::{Answer, Owner},
    configuration::{Configuration, ConfigurationChange, VpcConfig},
    event::Happening,
    function::{Function, Version},
    names::{FunctionName, Qualifier, RoleName, VersionId},
    refusal::Refusal,
    state::{Reason, State, UpdateStatus},
};

impl Lifecycle {
    pub(super) fn create(
        &mut self,
        name: FunctionName,
        configuration: Configuration,
        owner: Owner,
    ) -> Result<Answer, Refusal> {
        if self.functions.contains_key(&name) {
            return Err(Refusal::FunctionExists(name));
        }
        let vpc = Some(&configuration.vpc);
        self.makes_sense(&VersionId::latest(name.clone()), vpc, configuration.role.as_ref())?;
        let function = Function {
            name: name.clone(),
            owner,
            latest: Version::new(configuration, 1),
            published: BTreeMap::new(),
            newest: None,
            tags: BTreeMap::new(),
        };
        self.functions.insert(name.clone(), function);
        let latest = VersionId::latest(name);
        self.set_state(&latest, State::Pending, Some(Reason::creating()));
        self.begin(&latest);
        Ok(Answer::Done)
    }

    /// Creates a function as a client asks for it.
    pub(super) fn create_for(
        &mut self,
        name: FunctionName,
        configuration: Configuration,
        tags: BTreeMap<String, String>,
        publish: bool,
        owner: Owner,
    ) -> Result<Answer, Refusal> {
        self.create(name.clone(), configuration, owner)?;
        self.existing(&name)?.tags = tags;
        match publish {
            true => self.freeze(&name, BTreeMap::new()),
            false => Ok(Answer::Done),
        }
    }

    pub(super) fn update_configuration(
        &mut self,
        name: &FunctionName,
        change: ConfigurationChange,
        revision: Option<u64>,
    ) -> Result<Answer, Refusal> {
        self.changeable(name, revision)?;
        let role = change.role.as_ref().and_then(Option::as_ref);
        let latest = VersionId::latest(name.clone());
        self.makes_sense(&latest, change.vpc.as_ref(), role)?;
        let function = self.existing(name)?;
        let next = function.latest.configuration.with(change);
        function.latest.revision += 1;
        if function.latest.state == State::Inactive {
            // It holds nothing, so there is nothing to make before anything is broken.
            function.latest.configuration = next;
            let attached = !function.latest.configuration.vpc.is_none();
            self.set_update(name, UpdateStatus::Successful, None);
            let (state, reason) = match attached {
                true => (State::Inactive, Some(Reason::idle())),
                false => (State::Active, None),
            };
            self.set_state(&latest, state, reason);
            return Ok(Answer::Done);
        }
        let wanted = next.clone();
        function.latest.next = Some(next);
        self.set_update(name, UpdateStatus::InProgress, None);
        match self.acquire(&latest, &wanted) {
            Ok(()) => self.finish(&latest),
            Err(reason) => self.fail(&latest, reason),
        }
        Ok(Answer::Done)
    }

    pub(super) fn update_code(
        &mut self,
        name: &FunctionName,
        code: BTreeMap<String, String>,
        revision: Option<u64>,
        publish: bool,
    ) -> Result<Answer, Refusal> {
        self.changeable(name, revision)?;
        let function = self.existing(name)?;
        function.latest.configuration.carried.extend(code);
        function.latest.revision += 1;
        self.set_update(name, UpdateStatus::Successful, None);
        match publish {
            true => self.freeze(name, BTreeMap::new()),
            false => Ok(Answer::Done),
        }
    }

    pub(super) fn publish(
        &mut self,
        name: &FunctionName,
        revision: Option<u64>,
        carried: BTreeMap<String, String>,
    ) -> Result<Answer, Refusal> {
        self.changeable(name, revision)?;
        self.freeze(name, carried)
    }

    /// Makes a version of `$LATEST` as it is, but for what it is to carry instead. Of a function that is
    /// being created the version waits for the same ENIs.
    fn freeze(
        &mut self,
        name: &FunctionName,
        carried: BTreeMap<String, String>,
    ) -> Result<Answer, Refusal> {
        let function = self.existing(name)?;
        let latest = &function.latest;
        // Lambda publishes nothing if nothing has changed since the last time.
        if let Some((number, frozen)) = function.newest
            && frozen == latest.revision
            && function.published.contains_key(&number)
        {
            return Ok(Answer::Published(number));
        }
        let number = function.newest.map_or(1, |(number, _)| number + 1);
        let (state, reason) = (latest.state, latest.reason.clone());
        let mut configuration = latest.configuration.clone();
        configuration.carried.extend(carried);
        let version = Version::new(configuration.clone(), latest.revision);
        function.newest = Some((number, latest.revision));
        function.published.insert(number, version);
        let id = VersionId { function: name.clone(), version: Qualifier::Version(number) };
        self.set_state(&id, state, reason);
        if matches!(state, State::Pending | State::Active) {
            // The ENIs are those of `$LATEST`: nothing is made, so no right is needed.
            self.join(&id, &configuration);
        }
        Ok(Answer::Published(number))
    }

    pub(super) fn tag(
        &mut self,
        name: &FunctionName,
        tags: BTreeMap<String, String>,
    ) -> Result<Answer, Refusal> {
        self.changeable(name, None)?;
        self.existing(name)?.tags.extend(tags);
        self.output.functions.insert(name.clone());
        Ok(Answer::Done)
    }

    pub(super) fn untag(
        &mut self,
        name: &FunctionName,
        keys: &BTreeSet<String>,
    ) -> Result<Answer, Refusal> {
        self.changeable(name, None)?;
        self.existing(name)?.tags.retain(|key, _| !keys.contains(key));
        self.output.functions.insert(name.clone());
        Ok(Answer::Done)
    }

    pub(super) fn delete(
        &mut self,
        name: FunctionName,
        version: Option<Qualifier>,
    ) -> Result<Answer, Refusal> {
        let function = self.existing(&name)?;
        let gone: Vec<(Qualifier, Version)> = match version {
            Some(Qualifier::Latest) => return Err(Refusal::LatestStays),
            Some(Qualifier::Version(number)) => {
                let Some(version) = function.published.remove(&number) else {
                    let version = Qualifier::Version(number);
                    return Err(Refusal::FunctionNotFound { function: name, version });
                };
                vec![(Qualifier::Version(number), version)]
            }
            None => function.versions().map(|(which, version)| (which, version.clone())).collect(),
        };
        let owner = function.owner;
        self.output.functions.insert(name.clone());
        if version.is_none() {
            self.functions.remove(&name);
        }
        for (which, version) in gone {
            let id = VersionId { function: name.clone(), version: which };
            let role = version.configuration.role.clone();
            self.tell(Happening::Deleted(id.clone()));
            self.release(&id, version.keys(&name), owner, role.as_ref());
        }
        Ok(Answer::Done)
    }

    /// The function of this name.
    pub(super) fn existing(&mut self, name: &FunctionName) -> Result<&mut Function, Refusal> {
        let version = Qualifier::Latest;
        self.functions
            .get_mut(name)
            .ok_or_else(|| Refusal::FunctionNotFound { function: name.clone(), version })
    }

    /// Whether a function is there and in a state in which it can be changed.
    fn changeable(&mut self, name: &FunctionName, revision: Option<u64>) -> Result<(), Refusal> {
        let latest = &self.existing(name)?.latest;
        match latest.state {
            // LAM-46, LAM-47.
            State::Pending | State::Failed => return Err(Refusal::State(latest.state)),
            State::Active | State::Inactive => {}
        }
        if latest.next.is_some() {
            return Err(Refusal::Updating(name.clone()));
        }
        if revision.is_some_and(|revision| revision != latest.revision) {
            return Err(Refusal::Revision(latest.revision));
        }
        Ok(())
    }

    /// Whether what a request names contradicts itself or is not the function's to use, or a role that
    /// it names is not there.
    fn makes_sense(
        &self,
        who: &VersionId,
        vpc: Option<&VpcConfig>,
        role: Option<&RoleName>,
    ) -> Result<(), Refusal> {
        if let Some(vpc) = vpc {
            self.places.are_together(vpc)?;
            let account = &who.function.account;
            for key in vpc.keys(account).filter(|key| !self.uses(who, key)) {
                self.may_have(&key).map_err(|denied| denied.refusal(account))?;
            }
        }
        match role.filter(|role| !self.roles.0.contains_key(*role)) {
            Some(unknown) => Err(Refusal::UnknownRole(unknown.clone())),
            None => Ok(()),
        }
    }

    /// Has the ENIs of a pending function or version made.
    pub(super) fn begin(&mut self, id: &VersionId) {
        let Some(version) = self.version(id) else { return };
        let wanted = version.configuration.clone();
        match self.acquire(id, &wanted) {
            Ok(()) => self.finish(id),
            Err(reason) => self.fail(id, reason),
        }
    }

    pub(super) fn version(&self, id: &VersionId) -> Option<&Version> {
        self.functions.get(&id.function)?.version(id.version)
    }

    pub(super) fn set_state(&mut self, id: &VersionId, state: State, reason: Option<Reason>) {
        let function = self.functions.get_mut(&id.function);
        let Some(version) = function.and_then(|it| it.version_mut(id.version)) else { return };
        version.state = state;
        version.reason.clone_from(&reason);
        self.output.functions.insert(id.function.clone());
        self.tell(Happening::State { version: id.clone(), state, reason });
    }

    pub(super) fn set_update(
        &mut self,
        name: &FunctionName,
        status: UpdateStatus,
        reason: Option<Reason>,
    ) {
        let Some(function) = self.functions.get_mut(name) else { return };
        function.latest.update = status;
        function.latest.update_reason.clone_from(&reason);
        self.output.functions.insert(name.clone());
        self.tell(Happening::Update { function: name.clone(), status, reason });
    }
}
