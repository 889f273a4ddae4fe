//! The walk against what AWS does: a test for each fact, named after it, over real topologies.

mod endpoints;
mod explanations;
mod functions;
mod gateways;
mod inventory;
mod middleboxes;
mod network_acls;
mod peering;
mod policy;
mod prefix_lists;
mod routes;
mod security_groups;
mod world;
