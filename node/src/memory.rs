//! How much memory this machine has for programs.
//!
//! **Invariant:** where that cannot be read nobody knows it, and no figure is made up. Limits of control groups are not
//! looked at. **Not here:** what is refused where it is too little (whoever asks).

use crate::files;

/// As the kernel tells it (proc_meminfo(5)).
const MEMORY: &str = "/proc/meminfo";
/// What programs can have without others losing theirs.
const AVAILABLE: &str = "MemAvailable:";

/// Bytes that are available now.
pub(crate) fn available_bytes() -> Option<u64> {
    let text = files::read(MEMORY.as_ref()).ok()?;
    available(&String::from_utf8_lossy(&text))
}

fn available(memory: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix(AVAILABLE))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let memory = "MemTotal:       24683120 kB\nMemFree:  15 kB\nMemAvailable:   20531920 kB\n";
        assert_eq!(available(memory), Some(20_531_920 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: many\n"), None);
        assert_eq!(available("MemAvailable: 18446744073709551615 kB\n"), None);
    }
}
