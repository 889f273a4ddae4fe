//! What somebody needs beside the operation itself: to pass on the role that a function is to have, and
//! to look at the network that it is to be in.

use viaduct_control_plane::{
    iam::{Context, Denied, PASSED_TO_SERVICE},
    lifecycle::{Command, VpcConfig},
};

use super::{configuration::given_role, failure::Failure};
use crate::api::caller::Caller;

/// Who gets the role.
const LAMBDA: &str = "lambda.amazonaws.com";

/// What Lambda looks up in EC2 with its caller's rights (LAM-71).
const OF_NETWORK: [&str; 4] =
    ["DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs", "GetSecurityGroupsForVpc"];

/// Whether somebody has the further rights that a command needs: for a role and for a VPC that it names.
pub(super) fn check(caller: &Caller, command: &Command) -> Result<(), Failure> {
    let (vpc, carried) = match command {
        Command::CreateFunction { configuration, .. } => {
            (Some(&configuration.vpc), &configuration.carried)
        }
        Command::UpdateFunctionConfiguration { change, .. } => {
            (change.vpc.as_ref(), &change.carried)
        }
        _ => return Ok(()),
    };
    if let Some(role) = given_role(carried) {
        let context = Context::default().with(PASSED_TO_SERVICE, [LAMBDA]);
        caller.may("iam:PassRole", &role, &context)?;
    }
    if vpc.is_none_or(VpcConfig::is_none) {
        return Ok(());
    }
    for right in OF_NETWORK {
        let allowed = caller.may(&format!("ec2:{right}"), "*", &Context::default());
        allowed.map_err(|denied| by_ec2(right, &denied))?;
    }
    Ok(())
}

/// As Lambda tells what EC2 has said to it (from memory).
fn by_ec2(right: &str, denied: &Denied) -> Failure {
    Failure::access_denied(format!(
        "Your access has been denied by EC2, please make sure your request credentials have permission \
         to {right}. EC2 Error Code: UnauthorizedOperation. EC2 Error Message: You are not authorized to \
         perform this operation. {denied}"
    ))
}
