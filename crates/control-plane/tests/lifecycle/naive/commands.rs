//! What is commanded and reported.

use viaduct_topology::iam::Patterns;

use super::*;

impl Naive {
    pub(super) fn command(&mut self, command: &Command, by: Owner) -> Result<String, &'static str> {
        match command {
            Command::CreateFunction { function, configuration, publish, .. } => {
                if self.latest(function).is_ok() {
                    return Err("ResourceConflictException");
                }
                self.sensible(function, configuration)?;
                let who = (function.clone(), 0);
                self.versions.push(Version {
                    who: who.clone(),
                    owner: by,
                    configuration: configuration.clone(),
                    next: None,
                    state: "Pending",
                    code: Some("Creating"),
                    update: "Successful",
                    update_code: None,
                    revision: 1,
                    newest: (0, 0),
                });
                self.get(&who);
                if *publish {
                    return self.publish(function, &BTreeMap::new());
                }
            }
            Command::UpdateFunctionConfiguration { function, change, revision } => {
                self.may_change(function, *revision)?;
                let latest = self.latest(function)?.clone();
                let mut next = latest.configuration.clone();
                if let Some(vpc) = &change.vpc {
                    next.vpc = vpc.clone();
                    self.one_vpc(&next)?;
                    let had = Self::held(&latest);
                    self.own(function, &next, &had)?;
                }
                if let Some(role) = &change.role {
                    next.role.clone_from(role);
                    self.role_exists(&next)?;
                }
                next.carried.extend(change.carried.clone());
                let found = self.latest(function)?;
                found.revision += 1;
                if found.state == "Inactive" {
                    found.configuration = next;
                    (found.update, found.update_code) = ("Successful", None);
                    found.code = Some("Idle");
                    if found.configuration.vpc.subnets().is_empty() {
                        (found.state, found.code) = ("Active", None);
                    }
                } else {
                    found.next = Some(next);
                    (found.update, found.update_code) = ("InProgress", None);
                    self.get(&(function.clone(), 0));
                }
            }
            Command::UpdateFunctionCode { function, code, revision, publish } => {
                self.may_change(function, *revision)?;
                let found = self.latest(function)?;
                found.configuration.carried.extend(code.clone());
                found.revision += 1;
                (found.update, found.update_code) = ("Successful", None);
                if *publish {
                    return self.publish(function, &BTreeMap::new());
                }
            }
            Command::PublishVersion { function, revision, carried } => {
                self.may_change(function, *revision)?;
                return self.publish(function, carried);
            }
            Command::TagResource { function, .. } | Command::UntagResource { function, .. } => {
                self.may_change(function, None)?;
            }
            Command::DeleteFunction { function, version } => {
                self.latest(function)?;
                let number = match version {
                    None => None,
                    Some(Qualifier::Latest) => return Err("InvalidParameterValueException"),
                    Some(Qualifier::Version(number)) => Some(*number),
                };
                let goes = |version: &Version| {
                    version.who.0 == *function && number.is_none_or(|it| it == version.who.1)
                };
                let mut gone: Vec<Version> =
                    self.versions.iter().filter(|it| goes(it)).cloned().collect();
                if gone.is_empty() {
                    return Err("ResourceNotFoundException");
                }
                let owner = self.latest(function)?.owner;
                gone.sort_by_key(|version| version.who.1);
                for version in gone {
                    self.versions.retain(|other| other.who != version.who);
                    let role = version.configuration.role.as_deref();
                    self.left(Self::held(&version), owner, role);
                }
            }
            Command::Invoke(id) => {
                let number = match id.version {
                    Qualifier::Latest => 0,
                    Qualifier::Version(number) => number,
                };
                let who = (id.function.clone(), number);
                let found = self.version(&who).ok_or("ResourceNotFoundException")?;
                match found.state {
                    "Active" => {
                        let held = Self::held(found);
                        let account = found.who.0.account.clone();
                        let now = Self::keys(&account, &found.configuration);
                        let failed = |key: &Key| {
                            let place = SUBNETS.iter().find(|(id, ..)| *id == key.1).unwrap();
                            self.failed_zones.contains(place.2)
                        };
                        if !now.is_empty() && now.iter().all(failed) {
                            return Err("ENINotReadyException");
                        }
                        self.uses(&held);
                    }
                    "Inactive" => {
                        (found.state, found.code) = ("Pending", Some("Restoring"));
                        self.get(&who);
                        let found = self.version(&who).unwrap();
                        return Err(match (found.state, found.code) {
                            ("Inactive", Some("EniLimitExceeded")) => "ENILimitReachedException",
                            ("Inactive", Some("SubnetOutOfIPAddresses")) => {
                                "SubnetIPAddressLimitReachedException"
                            }
                            ("Inactive", Some("InvalidSubnet")) => "InvalidSubnetIDException",
                            ("Inactive", Some("InvalidSecurityGroup")) => {
                                "InvalidSecurityGroupIDException"
                            }
                            ("Inactive", Some("InsufficientRolePermissions")) => {
                                "EC2AccessDeniedException"
                            }
                            ("Inactive", Some("InternalError")) => "EC2UnexpectedException",
                            _ => "ResourceNotReadyException",
                        });
                    }
                    _ => return Err("ResourceConflictException"),
                }
            }
            Command::DeleteNetworkInterface(id) => {
                let found = self.by_id(id).ok_or("InvalidNetworkInterfaceID.NotFound")?;
                let (key, ordinal) = (found.key.clone(), found.ordinal);
                let stranded = self.users(&key).is_empty() && self.deletion(&key).is_none();
                if !stranded {
                    return Err("InvalidNetworkInterface.InUse");
                }
                self.enis.retain(|eni| eni.key != key || eni.ordinal != ordinal);
            }
            Command::PutRole { role, policies } => {
                // A history's policies allow one action each.
                let statements = policies.iter().flat_map(|policy| &policy.statements);
                let actions = statements.flat_map(|statement| match &statement.actions {
                    Patterns::Any(actions) => actions.clone(),
                    Patterns::Not(_) => panic!("{statement}"),
                });
                self.roles.insert(role.to_string(), actions.collect());
            }
            Command::DeleteRole(role) => {
                self.roles.remove(role.as_ref()).ok_or("NoSuchEntity")?;
            }
            Command::FailZone { zone, failed: true } => {
                self.failed_zones.insert(zone.clone());
            }
            Command::FailZone { zone, failed: false } => {
                self.failed_zones.remove(zone);
            }
        }
        Ok("done".to_owned())
    }

    fn publish(
        &mut self,
        function: &FunctionName,
        carried: &BTreeMap<String, String>,
    ) -> Result<String, &'static str> {
        let mut latest = self.latest(function)?.clone();
        let (number, frozen) = latest.newest;
        let newest = (function.clone(), number);
        if number > 0 && frozen == latest.revision && self.version(&newest).is_some() {
            return Ok(format!("version {number}"));
        }
        let number = number + 1;
        self.latest(function)?.newest = (number, latest.revision);
        let keys = Self::held(&latest);
        let who = (function.clone(), number);
        let (update, update_code) = ("Successful", None);
        latest.configuration.carried.extend(carried.clone());
        self.versions.push(Version { who, update, update_code, ..latest });
        self.uses(&keys);
        Ok(format!("version {number}"))
    }

    fn by_id(&self, id: &ResourceId) -> Option<&Eni> {
        self.enis.iter().find(|eni| eni_id(eni) == *id)
    }

    fn sensible(
        &self,
        function: &FunctionName,
        configuration: &Configuration,
    ) -> Result<(), &'static str> {
        self.one_vpc(configuration)?;
        self.own(function, configuration, &[])?;
        self.role_exists(configuration)
    }

    /// Whether the function's account may have what it has not got yet.
    fn own(
        &self,
        function: &FunctionName,
        configuration: &Configuration,
        had: &[Key],
    ) -> Result<(), &'static str> {
        let keys = Self::keys(&function.account, configuration);
        match self.denied(keys.iter().filter(|key| !had.contains(key))) {
            Some(_) => Err("InvalidParameterValueException"),
            None => Ok(()),
        }
    }

    fn role_exists(&self, configuration: &Configuration) -> Result<(), &'static str> {
        match &configuration.role {
            Some(role) if !self.roles.contains_key(role.as_ref()) => {
                Err("InvalidParameterValueException")
            }
            _ => Ok(()),
        }
    }

    fn one_vpc(&self, configuration: &Configuration) -> Result<(), &'static str> {
        let vpcs: BTreeSet<&str> = SUBNETS
            .iter()
            .map(|(id, vpc, ..)| (*id, *vpc))
            .chain(GROUPS.map(|(id, vpc, _)| (id, vpc)))
            .filter(|(id, _)| {
                let subnets = configuration.vpc.subnets().iter();
                let mut named = subnets.chain(configuration.vpc.security_groups());
                named.any(|named| named.as_str() == *id)
            })
            .map(|(_, vpc)| vpc)
            .collect();
        if vpcs.len() > 1 { Err("InvalidParameterValueException") } else { Ok(()) }
    }

    fn may_change(
        &mut self,
        name: &FunctionName,
        revision: Option<u64>,
    ) -> Result<(), &'static str> {
        let latest = self.latest(name)?;
        if ["Pending", "Failed"].contains(&latest.state) || latest.next.is_some() {
            return Err("ResourceConflictException");
        }
        match revision {
            Some(revision) if revision != latest.revision => Err("PreconditionFailedException"),
            _ => Ok(()),
        }
    }

    pub(super) fn report(&mut self, report: &Report) {
        let id = match report {
            Report::Used(id) => {
                let number = match id.version {
                    Qualifier::Latest => 0,
                    Qualifier::Version(number) => number,
                };
                let held = self.version(&(id.function.clone(), number)).map(|it| Self::held(it));
                return self.uses(&held.unwrap_or_default());
            }
            Report::NearCapacity(id)
            | Report::HasRoom(id)
            | Report::Empty(id)
            | Report::Unhealthy(id) => id,
        };
        let now = self.now;
        let Some(found) = self.enis.iter_mut().find(|eni| eni_id(eni) == *id) else { return };
        if found.due.is_some() {
            // Nobody can see it yet. But others may be near capacity still.
            if !matches!(report, Report::NearCapacity(_)) {
                return;
            }
        }
        let key = found.key.clone();
        let ordinal = found.ordinal;
        let in_use = found.due.is_none() && found.draining.is_none();
        if let Some(since) = found.draining {
            // It only matters whether it is empty after it began to drain, and whether others, too,
            // are near capacity.
            if matches!(report, Report::Empty(_)) && since < now {
                return self.enis.retain(|eni| eni_id(eni) != *id);
            }
            if !matches!(report, Report::NearCapacity(_)) {
                return;
            }
        }
        match report {
            Report::NearCapacity(_) if in_use => {
                (found.crowded, found.empty_since) = (true, None);
            }
            Report::HasRoom(_) => (found.crowded, found.empty_since) = (false, None),
            Report::Empty(_) => {
                found.crowded = false;
                found.empty_since.get_or_insert(now);
            }
            _ => {}
        }
        let of_key: Vec<&Eni> = self.enis.iter().filter(|eni| eni.key == key).collect();
        let wanted = match report {
            Report::NearCapacity(_) => {
                let free = |eni: &&&Eni| super::in_use(eni) && !eni.crowded;
                let coming = |eni: &&Eni| eni.due.is_some() && eni.replaces.is_none();
                (!of_key.iter().any(|eni| free(&eni)) && !of_key.iter().any(coming)).then_some(None)
            }
            Report::Unhealthy(_) => {
                let coming = |eni: &&Eni| eni.due.is_some() && eni.replaces == Some(ordinal);
                (!of_key.iter().any(coming)).then_some(Some(ordinal))
            }
            _ => None,
        };
        let Some(replaces) = wanted else { return };
        // Latest before versions, as everywhere; then the first of all users' roles.
        let Some(first) = self.users(&key).into_iter().next() else { return };
        let user = self.version(&first).unwrap().clone();
        let role = user.configuration.role.as_deref();
        let may = !self.may_not_make(role) && self.admits(&key.1, &key.0);
        if may && self.obstacle(std::slice::from_ref(&key)).is_none() {
            let delay = if user.owner == Owner::File { 0 } else { CREATION };
            self.make(&key, delay, replaces);
        }
    }
}
