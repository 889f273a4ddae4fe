//! The programs that are measured with, and those that are measured.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::error::Error;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) load: PathBuf,
    pub(crate) viaduct: PathBuf,
    pub(crate) fixed_nat: PathBuf,
}

impl Tools {
    /// Those of the same build: they lie beside this program.
    pub(crate) fn find() -> Result<Self, Error> {
        let this = env::current_exe().map_err(Error::system("find this program"))?;
        let directory = this.parent().unwrap_or(Path::new("."));
        let find = |name: &str| {
            let path = directory.join(name);
            if path.exists() { Ok(path) } else { Err(Error::NoProgram(path)) }
        };
        Ok(Self { load: find("load")?, viaduct: find("viaduct")?, fixed_nat: find("fixed-nat")? })
    }
}

/// Whether a program of the system is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let further = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(further).any(|directory| directory.join(program).is_file())
}
