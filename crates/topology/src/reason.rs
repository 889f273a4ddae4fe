//! Why a packet was refused: one enum for verdicts, explanations, counters and expectations.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Declares the reasons once: variant, code and the sentence that explains it.
macro_rules! reasons {
    ($($variant:ident $code:literal $text:literal;)*) => {
        /// Why a packet was refused.
        ///
        /// Codes that Reachability Analyzer knows carry its names (RA-04..RA-09); the others are
        /// viaduct's own, for what a static analysis never meets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code that users see, such as `ENI_SG_RULES_MISMATCH`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    EniSgRulesMismatch "ENI_SG_RULES_MISMATCH" "None of the interface's security group rules admits the packet.";
    SgHasNoRules "SG_HAS_NO_RULES" "The interface's security groups have no rule at all in this direction.";
    SubnetAclRestriction "SUBNET_ACL_RESTRICTION" "A subnet's network ACL denies the packet.";
    NoRouteToDestination "NO_ROUTE_TO_DESTINATION" "No route of the subnet's route table matches the destination.";
    BadStateRoute "BAD_STATE_ROUTE" "The matching route is a blackhole: its target is gone.";
    NoPossibleDestination "NO_POSSIBLE_DESTINATION" "Nobody holds the destination address.";
    VpcLocalRouteCidrRestriction "VPC_LOCAL_ROUTE_CIDR_RESTRICTION" "The destination is in a range to which a VPC never forwards.";
    EniSourceDestCheckRestriction "ENI_SOURCE_DEST_CHECK_RESTRICTION" "The packet's address is not one of the interface's own, and its source/destination check is on.";
    SgReferencesNotPreserved "SG_REFERENCES_NOT_PRESERVED" "Behind a middlebox a rule that names a security group no longer matches.";
    ProtocolRestriction "PROTOCOL_RESTRICTION" "A component on the path does not carry this protocol.";
    IgwPublicIpAssociationForEgress "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS" "The internet gateway drops packets of an interface without a public address.";
    IgwPrivateIpAssociationForIngress "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS" "The public address belongs to no interface behind the internet gateway.";
    IgwDestinationAddressNotInRfc1918Egress "IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS" "The internet gateway sends nothing to private addresses (RFC 1918).";
    IgwDestinationAddressNotInRfc6598Egress "IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS" "The internet gateway sends nothing to shared addresses (RFC 6598).";
    IgwSourceAddressNotInRfc1918Ingress "IGW_SOURCE_ADDRESS_NOT_IN_RFC1918_INGRESS" "The internet gateway accepts nothing from private addresses (RFC 1918).";
    IgwSourceAddressNotInRfc6598Ingress "IGW_SOURCE_ADDRESS_NOT_IN_RFC6598_INGRESS" "The internet gateway accepts nothing from shared addresses (RFC 6598).";
    GatewayRejectsSpoofedTraffic "GATEWAY_REJECTS_SPOOFED_TRAFFIC" "The gateway drops packets whose source does not belong to the VPC.";
    NgwRequiresSourceInVpc "NGW_REQUIRES_SOURCE_IN_VPC" "The NAT gateway translates only for interfaces of its own VPC.";
    PcxRequiresAddressInVpcCidr "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR" "A peering connection carries only packets from an address of the one VPC to an address of the other.";
    VpceIntraVpcTraffic "VPCE_INTRA_VPC_TRAFFIC" "An endpoint carries only connections that are opened from its VPC.";
    VpceGatewayProtocolRestriction "VPCE_GATEWAY_PROTOCOL_RESTRICTION" "A gateway endpoint carries only TCP and ICMP echo.";
    IngressRtbNoPublicIp "INGRESS_RTB_NO_PUBLIC_IP" "The internet gateway's route leads to an instance without a public address.";
    V2nOneWay "V2N_ONE_WAY" "Nothing in a VPC can open a connection to a function.";
    NatGatewayUnsolicited "NAT_GATEWAY_UNSOLICITED" "No connection through the NAT gateway expects this packet.";
    AsymmetricReturnPath "ASYMMETRIC_RETURN_PATH" "The reply would not come back the way the request went.";
    RoutingLoop "ROUTING_LOOP" "The route leads back to where the packet has been.";
    PortsExhausted "PORTS_EXHAUSTED" "No source port is left for this destination.";
    QuotaExceeded "QUOTA_EXCEEDED" "The interface or the function environment has as many connections as it may, or its fragments have no more room.";
    RateLimited "RATE_LIMITED" "A rate limit is reached.";
    MalformedPacket "MALFORMED_PACKET" "The packet's headers contradict each other or the packet's length.";
    BadOffloadHeader "BAD_OFFLOAD_HEADER" "The virtio-net header asks for something that the packet is not.";
    SpoofedSource "SPOOFED_SOURCE" "The source address is not the sender's own, or is no host's.";
    NoConnection "NO_CONNECTION" "The packet belongs to no connection and cannot open one.";
    FragmentRestriction "FRAGMENT_RESTRICTION" "A NAT gateway or a Hyperplane interface on the path carries only UDP in fragments.";
    ReassemblyFailed "REASSEMBLY_FAILED" "The fragments of a datagram overlap, contradict each other or are too many.";
    ReassemblyTimeout "REASSEMBLY_TIMEOUT" "Not all fragments of a datagram came in time.";
    PacketTooBig "PACKET_TOO_BIG" "The packet is larger than the next hop's MTU, and must not be cut or cannot.";
    TtlExpired "TTL_EXPIRED" "The packet's time to live ran out.";
    ZoneUnavailable "ZONE_UNAVAILABLE" "The availability zone of an interface on the way has failed.";
    SubnetNotShared "SUBNET_NOT_SHARED" "The subnet of a function's interface is no longer shared with the function's account.";
    AttachmentDown "ATTACHMENT_DOWN" "The destination exists, but nothing is attached to it.";
    ServiceNotProvided "SERVICE_NOT_PROVIDED" "The address belongs to a service of the VPC that is not provided.";
    Ipv6NotForwarded "IPV6_NOT_FORWARDED" "IPv6 is not forwarded.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code).ok_or(UnknownReason)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// The text is no reason's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such reason; the codes are listed in docs/reasons.md")]
pub struct UnknownReason;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
        }
        assert_eq!("NO_SUCH_CODE".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn discriminants_index_the_table() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
