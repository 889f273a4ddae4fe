//! What this program was built from.

use std::sync::LazyLock;

use viaduct_daemon::Build;

/// The commit is what `build.rs` has found out.
pub(crate) const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: option_env!("VIADUCT_BUILT_FROM") };

/// The same as text.
static TEXT: LazyLock<String> = LazyLock::new(|| BUILD.to_string());

/// For `--version`.
pub(crate) fn text() -> &'static str {
    &TEXT
}
