//! What VMs need here, as `nanoclaw.sh test` puts it there.

use std::path::{Path, PathBuf};

use nanoclaw::container::Runtime;
use nanoclaw::container::microvm::{Microvm, Place, sandbox::Accelerator};

/// The static guest program.
pub fn guest_program() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_nanoclaw")).parent().unwrap().parent().unwrap();
    target.join("release/nanoclaw-guest")
}

/// The user's cache directory.
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    cache.filter(|c| c.is_absolute()).unwrap_or_else(home)
}

/// Where the driver finds things.
pub fn place() -> Place {
    Place {
        program: guest_program(),
        cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("microvm"),
        kernels: vec![cache().join("nanoclaw/kernel"), "/".into()],
    }
}

/// The driver, without the processor's help: that works on every machine. Or what is
/// missing.
pub async fn microvm() -> Result<Microvm, String> {
    let runtime = Microvm::new(place(), Accelerator::Software);
    runtime.identity().await.map_err(|e| e.to_string())?;
    Ok(runtime)
}
