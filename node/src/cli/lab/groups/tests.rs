//! Which version of control groups a machine has, by what is mounted, and what each is told.

use super::*;

const FIRST: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
";
const SECOND: &str = "\
proc /proc proc rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate,memory_recursiveprot 0 0
";

fn found(controller: &str, mounts: &str) -> Option<(String, Version)> {
    let Hierarchy { root, version } = Hierarchy::of(controller, mounts)?;
    Some((root.display().to_string(), version))
}

#[test]
fn a_controller_is_where_it_is_mounted() {
    let at = |root: &str, version| Some((root.to_owned(), version));
    assert_eq!(found("cpu", FIRST), at("/sys/fs/cgroup/cpu,cpuacct", Version::First));
    assert_eq!(found("memory", FIRST), at("/sys/fs/cgroup/memory", Version::First));
    // Not the one whose name it begins, and in the second version where the first has it not.
    let lines = FIRST.lines().filter(|line| !line.contains("cpuacct"));
    let without: String = lines.map(|line| format!("{line}\n")).collect();
    assert_eq!(found("cpu", &without), at("/sys/fs/cgroup/unified", Version::Second));
    for controller in ["cpu", "memory"] {
        assert_eq!(found(controller, SECOND), at("/sys/fs/cgroup", Version::Second));
    }
    for nothing in ["", "\n", "cgroup", "cgroup /x cgroup", "x /cpu tmpfs rw,cpu 0 0"] {
        assert_eq!(found("cpu", nothing), None, "{nothing}");
    }
}

#[test]
fn each_version_is_told_the_same_in_its_own_words() {
    let own = |orders: &[(&'static str, &str)]| -> Vec<Order> {
        orders.iter().map(|(file, order)| (*file, (*order).to_owned())).collect()
    };
    for (rivals, first, second) in [(0, "-1", "max 100000"), (3, "25000", "25000 100000")] {
        assert_eq!(
            processor(Version::First, rivals),
            own(&[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", first)])
        );
        assert_eq!(processor(Version::Second, rivals), own(&[("cpu.max", second)]));
    }
    let mib = |mib: u64| (mib << 20).to_string();
    for (taken, held, order) in
        [(0, 100, "max".to_owned()), (16, 100, mib(84)), (500, 100, mib(32))]
    {
        assert_eq!(memory(taken, held << 20), ("memory.high", order), "{taken}");
    }
}
