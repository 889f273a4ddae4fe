//! A function's configuration: as requests give it, and as answers show it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use viaduct_control_plane::lifecycle::{
    Configuration, ConfigurationChange, FunctionName, Lifecycle, Qualifier, Reason, RoleName,
    Version, VpcConfig,
};
use viaduct_topology::{ResourceId, derived_uuid, model::is_account};

use super::{
    failure::Failure,
    input::Input,
    members,
    shape::{Member, Shape},
    target::arn,
};

/// Members of a configuration that the machine looks at.
pub(super) const LOOKED_AT: &[Member] =
    &[Member::new("Role", ROLE), Member::new("VpcConfig", Shape::Object(VPC))];

const ROLE: Shape =
    Shape::Pattern("arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+", is_role);

fn is_role(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, name] = parts[..] else { return false };
    let name = name.strip_prefix("role/").unwrap_or_default();
    partition.starts_with("aws")
        && is_account(account)
        && name.chars().all(letters)
        && name.rsplit('/').next().is_some_and(|name| !name.is_empty())
}

/// LAM-15.
const VPC: &[Member] = &[
    Member::new(
        "SubnetIds",
        Shape::List(0..=16, &Shape::Pattern("subnet-[0-9a-z]*", |it| it.starts_with("subnet-"))),
    ),
    Member::new(
        "SecurityGroupIds",
        Shape::List(0..=5, &Shape::Pattern("sg-[0-9a-zA-Z]*", |it| it.starts_with("sg-"))),
    ),
    Member::new("Ipv6AllowedForDualStack", Shape::Flag),
];

/// The configuration of a function that is to be made now.
pub(super) fn whole(
    input: &Input,
    function: &FunctionName,
    now: SystemTime,
) -> Result<Configuration, Failure> {
    let Some(code) = input.object("Code") else { return Err(Failure::invalid("Code is missing.")) };
    let mut carried = members::carried(input)?;
    carried.extend(members::code(&code)?);
    members::is_complete(&carried)?;
    carried.extend(modified(now));
    let vpc = vpc(input)?.unwrap_or_default();
    let role = role(input, function, &mut carried)?;
    Ok(Configuration { vpc, role, carried })
}

/// What a request wants to be another.
pub(super) fn change(
    input: &Input,
    function: &FunctionName,
    now: SystemTime,
) -> Result<ConfigurationChange, Failure> {
    let mut carried = members::carried(input)?;
    carried.extend(modified(now));
    let role = role(input, function, &mut carried)?.map(Some);
    Ok(ConfigurationChange { vpc: vpc(input)?, role, carried })
}

/// The role whose ARN a request names, and the ARN for whoever reads it back. The machine knows roles
/// by their names alone, as the topology file has them.
fn role(
    input: &Input,
    function: &FunctionName,
    carried: &mut BTreeMap<String, String>,
) -> Result<Option<RoleName>, Failure> {
    let Some(arn) = input.text("Role") else { return Ok(None) };
    let owner = arn.split(':').nth(4).unwrap_or_default();
    if owner != &*function.account {
        return Err(Failure::invalid(format!(
            "Cross-account pass role is not allowed: {arn} is not of account {}.",
            function.account
        )));
    }
    carried.insert("Role".to_owned(), json!(arn).to_string());
    Ok(arn.rsplit('/').next().map(RoleName::from))
}

/// The ARN of the role that a request has named, as it is carried.
pub(super) fn given_role(carried: &BTreeMap<String, String>) -> Option<String> {
    members::read(carried, "Role")?.as_str().map(str::to_owned)
}

/// The ARN of a role for which nobody has given one.
fn role_arn(function: &FunctionName, role: &RoleName) -> String {
    format!("arn:aws:iam::{}:role/{role}", function.account)
}

fn vpc(input: &Input) -> Result<Option<VpcConfig>, Failure> {
    let Some(vpc) = input.object("VpcConfig") else { return Ok(None) };
    if vpc.flag("Ipv6AllowedForDualStack") {
        // LAM-14.
        return Err(Failure::invalid(
            "Ipv6AllowedForDualStack cannot be true: no subnet here is dual-stack.",
        ));
    }
    let ids = |name| vpc.list(name).into_iter().flatten().map(ResourceId::named);
    let vpc = VpcConfig::new(ids("SubnetIds"), ids("SecurityGroupIds"));
    vpc.map(Some).map_err(|refusal| Failure::refused(&refusal, ""))
}

/// The carried value that says when something was changed.
pub(super) fn modified(now: SystemTime) -> BTreeMap<String, String> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    BTreeMap::from([("LastModified".to_owned(), json!(date(since)).to_string())])
}

/// A moment as Lambda writes it: `2026-01-31T23:59:59.000+0000`.
fn date(since_1970: Duration) -> String {
    let (seconds, millis) = (since_1970.as_secs(), since_1970.subsec_millis());
    // The calendar in years that begin in March, so that the odd day is a year's last; in 400 years,
    // which all have the same days.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+0000")
}

/// What an answer shows of a function or one of its versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'m> {
    pub(super) machine: &'m Lifecycle,
    pub(super) region: &'m str,
    pub(super) function: &'m FunctionName,
    pub(super) qualifier: Qualifier,
    pub(super) version: &'m Version,
    /// Whether its ARN names the version.
    pub(super) qualified: bool,
    /// Whether its state is shown: lists have none (IMP-21).
    pub(super) state: bool,
}

impl Shown<'_> {
    /// A `FunctionConfiguration`. During an update it is the one that is to come.
    pub(super) fn configuration(&self) -> Map<String, Value> {
        let Self { function, qualifier, version, .. } = *self;
        let configuration = version.next.as_ref().unwrap_or(&version.configuration);
        let mut shown = members::shown(&configuration.carried, &function.name);
        let mut show = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        show("FunctionName", json!(&*function.name));
        show("FunctionArn", json!(arn(self.region, function, self.qualified.then_some(qualifier))));
        show("Version", json!(qualifier.to_string()));
        show("RevisionId", json!(revision_id(function, version.revision)));
        show("VpcConfig", self.vpc(&configuration.vpc));
        if let Some(role) = &configuration.role {
            let given = members::read(&configuration.carried, "Role");
            show("Role", given.unwrap_or_else(|| json!(role_arn(function, role))));
        }
        if self.state {
            show("State", json!(version.state.name()));
            show("LastUpdateStatus", json!(version.update.name()));
            let reasons = [
                ("StateReason", &version.reason),
                ("LastUpdateStatusReason", &version.update_reason),
            ];
            for (name, reason) in reasons {
                let Some(Reason { code, message }) = reason else { continue };
                show(name, json!(message));
                show(&format!("{name}Code"), json!(code.name()));
            }
        }
        shown
    }

    fn vpc(&self, vpc: &VpcConfig) -> Value {
        let texts = |ids: &[ResourceId]| ids.iter().map(|id| json!(id.as_str())).collect::<Value>();
        // LAM-16: the VPC follows from the subnets.
        let id = vpc.subnets().first().and_then(|subnet| self.machine.vpc_of(subnet));
        json!({
            "SubnetIds": texts(vpc.subnets()),
            "SecurityGroupIds": texts(vpc.security_groups()),
            "VpcId": id.map_or("", ResourceId::as_str),
            "Ipv6AllowedForDualStack": false,
        })
    }
}

/// A revision as clients know it: the function it is of, and in the last twelve digits its number, in the
/// form of a UUID.
pub(super) fn revision_id(function: &FunctionName, revision: u64) -> String {
    let FunctionName { account, name } = function;
    let uuid = derived_uuid(&format!("{account} {name}"));
    format!("{}{:012x}", &uuid[..24], revision & 0xffff_ffff_ffff)
}

/// The revision that a request names. One that was never this function's is none of the machine's
/// revisions, which begin with 1.
pub(super) fn revision(input: &Input, function: &FunctionName) -> Option<u64> {
    let given = input.text("RevisionId")?;
    let (_, digits) = given.rsplit_once('-').unwrap_or_default();
    let number = u64::from_str_radix(digits, 16).unwrap_or_default();
    Some(if revision_id(function, number) == given { number } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @SECONDS +%FT%T`
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000+0000"),
            (951_782_399, "2000-02-28T23:59:59.000+0000"),
            (951_868_800, "2000-03-01T00:00:00.000+0000"),
            (1_709_210_096, "2024-02-29T12:34:56.000+0000"),
            (1_735_689_599, "2024-12-31T23:59:59.000+0000"),
            (4_107_542_400, "2100-03-01T00:00:00.000+0000"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(date(Duration::from_millis(1_001)), "1970-01-01T00:00:01.001+0000");
    }

    #[test]
    fn a_revision_is_found_again_and_another_function_has_another() {
        let (one, two) = (FunctionName::new("1", "one"), FunctionName::new("1", "two"));
        let read = |text: &str, function| {
            let body = json!({ "RevisionId": text }).as_object().cloned().unwrap();
            revision(&Input::of(body), function)
        };
        let id = revision_id(&one, 0xabc);
        assert_eq!(id.len(), 36);
        assert_eq!(read(&id, &one), Some(0xabc));
        assert_eq!(read(&id, &two), Some(0));
        assert_eq!(read("anything", &one), Some(0));
        assert_eq!(read("", &one), Some(0));
    }
}
