//! The commands, one a file.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod environment_init;
pub(crate) mod explain;
pub(crate) mod fault;
pub(crate) mod get;
pub(crate) mod invoke;
pub(crate) mod lab;
pub(crate) mod lambda_endpoint;
pub(crate) mod man;
pub(crate) mod run;
pub(crate) mod schema;
