//! Which daemon a command speaks to.

use std::path::{Path, PathBuf};

use clap::Args;
use viaduct_lab::{LabName, Layout, layout};

use crate::{commands::run::DEFAULT_RUNTIME_DIR, exit::Failure};

/// Which daemon a command speaks to.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Ask the daemon of this lab
    #[arg(long, value_name = "NAME", conflicts_with = "runtime_dir")]
    pub(crate) lab: Option<LabName>,

    /// Ask the daemon with its sockets there; if neither is given, the one in /run/viaduct or
    /// else that of the only lab
    #[arg(long, env = "VIADUCT_RUNTIME_DIR", value_name = "DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,
}

impl Which {
    /// Its control socket.
    pub(crate) fn socket(&self) -> Result<PathBuf, Failure> {
        match (self.lab()?, &self.runtime_dir) {
            (Some(lab), _) => Ok(Layout::of(&lab).control_socket()),
            (None, Some(directory)) => Ok(directory.join("control.sock")),
            (None, None) => Ok(default_socket()),
        }
    }

    /// The lab whose daemon it is; none if it is no lab's.
    pub(crate) fn lab(&self) -> Result<Option<LabName>, Failure> {
        if self.lab.is_some() || self.runtime_dir.is_some() || default_socket().exists() {
            return Ok(self.lab.clone());
        }
        match layout::names()?.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            _ => Err(viaduct_lab::exec::only_lab().err().map_or(Failure::Told, Failure::from)),
        }
    }
}

/// The control socket of a daemon that was told nothing else.
fn default_socket() -> PathBuf {
    Path::new(DEFAULT_RUNTIME_DIR).join("control.sock")
}
