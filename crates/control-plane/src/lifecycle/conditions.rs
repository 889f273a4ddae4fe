//! What conditions of callers' policies can ask of a request about a function's VPC (LAM-72).

use viaduct_topology::ResourceId;

use super::{Lifecycle, configuration::VpcConfig, names::FunctionName};
use crate::iam::{Context, SECURITY_GROUP_IDS, SUBNET_IDS, VPC_IDS};

impl Lifecycle {
    /// Of a request to create a function with this VPC configuration. Without one, none of the keys
    /// is there, so that `Null` tells (LAM-73).
    #[must_use]
    pub fn context_of_creation(&self, vpc: &VpcConfig) -> Context {
        // A subnet that is not there has no VPC, and its ENI cannot be made.
        let place = vpc.subnets().iter().find_map(|subnet| self.places.vpc_of(subnet));
        Context::default()
            .with(VPC_IDS, place.map(ResourceId::as_str))
            .with(SUBNET_IDS, vpc.subnets().iter().map(ResourceId::as_str))
            .with(SECURITY_GROUP_IDS, vpc.security_groups().iter().map(ResourceId::as_str))
    }

    /// Of a request to change a function's configuration. One that says nothing of the VPC is judged
    /// by where the function is, so that it is not taken for one without a VPC (LAM-76).
    #[must_use]
    pub fn context_of_update(&self, function: &FunctionName, vpc: Option<&VpcConfig>) -> Context {
        let present = || self.functions.get(function).map(|it| &it.latest.configuration.vpc);
        let vpc = vpc.or_else(present);
        vpc.map_or_else(Context::default, |vpc| self.context_of_creation(vpc))
    }
}
