//! The keys of each object: what the decoder reads, and what the schema describes.

/// A kind of object.
#[derive(Debug)]
pub(super) struct Object<const N: usize> {
    /// What it is called in messages, with its article.
    pub(super) owner: &'static str,
    /// Its keys, in the order in which the decoder takes them.
    pub(super) keys: [&'static str; N],
}

/// Declares the objects once: the constant, the schema's definition, the noun, the keys.
macro_rules! objects {
    ($($object:ident $definition:literal $owner:literal [$($key:literal),* $(,)?];)*) => {
        $(pub(super) const $object: Object<{ [$($key),*].len() }> =
            Object { owner: $owner, keys: [$($key),*] };)*

        /// Every object: its definition in the schema, and its keys.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &[&str])] = &[$(($definition, &[$($key),*])),*];
    };
}

objects! {
    TOPOLOGY "topology" "a topology" [
        "settings",
        "organization",
        "prefix_lists",
        "vpcs",
        "vpc_peering_connections",
        "roles",
        "principals",
        "functions",
        "services",
        "internet",
        "expect",
    ];
    SETTINGS "settings" "the section `settings`" [
        "profile",
        "eni_connections",
        "eni_connections_per_second",
        "source_ports",
        "enis_per_vpc",
        "environment_connections",
        "environment_connections_per_second",
        "environment_bandwidth",
        "nat_gateway_connections_per_destination",
        "nat_gateway_bandwidth",
        "nat_gateway_packets_per_second",
        "fragment_bytes",
        "fragment_datagrams",
        "fragment_timeout",
        "service_vpc_public_ips",
        "connection_tracking",
        "nat",
        "lifecycle",
        "lifecycle_scale",
    ];
    CONNECTION_TRACKING "connection_tracking" "the section `connection_tracking`" [
        "tcp_opening_timeout",
        "tcp_established_timeout",
        "tcp_closing_timeout",
        "udp_timeout",
        "udp_stream_timeout",
        "icmp_timeout",
        "other_timeout",
    ];
    NAT "nat" "the section `nat`" [
        "tcp_opening_timeout",
        "tcp_established_timeout",
        "tcp_closing_timeout",
        "udp_timeout",
        "icmp_timeout",
    ];
    LIFECYCLE "lifecycle" "the section `lifecycle`" ["creation", "deletion", "idle", "shrinking"];
    ORGANIZATION "organization" "the section `organization`" ["accounts"];
    PREFIX_LIST "prefix_list" "a prefix list" ["id", "entries", "max_entries"];
    VPC "vpc" "a VPC" [
        "id",
        "account",
        "cidr_blocks",
        "subnets",
        "route_tables",
        "internet_gateway",
        "nat_gateways",
        "vpc_endpoints",
        "security_groups",
        "network_acls",
        "instances",
    ];
    SUBNET "subnet" "a subnet" [
        "id",
        "cidr_block",
        "availability_zone",
        "route_table",
        "network_acl",
        "shared_with",
        "on_unshare",
    ];
    ROUTE_TABLE "route_table" "a route table" ["id", "main", "routes"];
    ROUTE "route" "a route" ["destination", "target"];
    INTERNET_GATEWAY "internet_gateway" "an internet gateway" ["name", "id", "route_table"];
    NAT_GATEWAY "nat_gateway" "a NAT gateway" [
        "id",
        "subnet",
        "connectivity_type",
        "private_ip",
        "secondary_private_ip_address_count",
        "public_ips",
        "state",
    ];
    VPC_ENDPOINT "vpc_endpoint" "an endpoint" [
        "id",
        "type",
        "service",
        "route_tables",
        "subnets",
        "private_ips",
        "security_groups",
        "private_dns_enabled",
    ];
    SECURITY_GROUP "security_group" "a security group" ["id", "account", "ingress", "egress"];
    INGRESS_RULE "ingress_rule" "an ingress rule" [
        "protocol",
        "ports",
        "icmp_type",
        "icmp_code",
        "from",
    ];
    EGRESS_RULE "egress_rule" "an egress rule" ["protocol", "ports", "icmp_type", "icmp_code", "to"];
    NETWORK_ACL "network_acl" "a network ACL" ["id", "ingress", "egress"];
    ACL_RULE "acl_rule" "a rule of a network ACL" [
        "action",
        "protocol",
        "ports",
        "icmp_type",
        "icmp_code",
        "cidr_block",
    ];
    INSTANCE "instance" "an instance" [
        "id",
        "subnet",
        "private_ip",
        "secondary_private_ips",
        "public_ip",
        "security_groups",
        "source_dest_check",
    ];
    VPC_PEERING_CONNECTION "vpc_peering_connection" "a peering connection" [
        "id",
        "requester",
        "accepter",
    ];
    FUNCTION "function" "a function" [
        "subnets",
        "security_groups",
        "account",
        "environments",
        "role",
    ];
    ROLE "role" "a role" ["account", "policies"];
    PRINCIPAL "principal" "a principal" ["account", "policies"];
    POLICY "policy" "a policy" ["Version", "Id", "Statement"];
    STATEMENT "statement" "a statement" [
        "Sid",
        "Effect",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    SERVICE "service" "a service" ["id", "ip", "prefix_list", "prefix_list_id", "max_entries"];
    INTERNET_HOST "internet_host" "an internet host" ["ip"];
    EXPECTATION "expectation" "an expectation" ["from", "to", "port", "verdict", "because"];
}
