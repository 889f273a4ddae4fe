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
        let default = Path::new(DEFAULT_RUNTIME_DIR).join("control.sock");
        if let Some(lab) = &self.lab {
            return Ok(Layout::of(lab).control_socket());
        }
        if let Some(directory) = &self.runtime_dir {
            return Ok(directory.join("control.sock"));
        }
        if default.exists() {
            return Ok(default);
        }
        match layout::names()?.as_slice() {
            [] => Ok(default),
            [only] => Ok(Layout::of(only).control_socket()),
            _ => Err(viaduct_lab::exec::only_lab().err().map_or(Failure::Told, Failure::from)),
        }
    }
}
