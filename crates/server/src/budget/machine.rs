//! How much memory the process could have at all.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// The kernel's way to say that there is no limit, a little below 2^63, in control groups of version 1.
const UNLIMITED: u64 = 1 << 60;

/// Addresses for the stacks of sixty threads, two megabytes each, and for the allocator's arenas.
const RESERVED_BYTES: u64 = 256 << 20;

/// The least of what bounds this process; `None` if nothing is known to.
pub(super) fn limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let resources = [Resource::As, Resource::Data].into_iter().filter_map(|resource| {
        let bytes = getrlimit(resource).current?;
        // Both count what is reserved and hardly used.
        Some(bytes.saturating_sub(RESERVED_BYTES).max(bytes / 4))
    });
    [control_group(&groups, Path::new("/sys/fs/cgroup")), physical()].into_iter().flatten().chain(resources).min()
}

/// What the machine has.
fn physical() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the process's control group and of those that it lies in. `groups` is `/proc/self/cgroup`: lines of
/// `number:controllers:path`, where version 2 has the number 0 and no controllers.
fn control_group(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (top, file) = if number == "0" && controllers.is_empty() {
            // Beside version 1, version 2 is mounted below it.
            let unified = root.join("unified");
            (if unified.is_dir() { unified } else { root.to_owned() }, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        // In a container the path may be the host's, of which only the end is to be seen here: then its own group is
        // mounted at the top, where the walk ends.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| limit_in(&top.join(group).join(file))).min()
    });
    limits.min()
}

fn limit_in(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "memory.max", "max\n");
        write(root, "pods/memory.max", "4096\n");
        write(root, "pods/one/memory.max", "8192\n");
        assert_eq!(control_group("0::/pods/one\n", root), Some(4096));
        assert_eq!(control_group("0::/\n", root), None, "without limit");

        write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
        write(root, "memory/docker/x/memory.limit_in_bytes", "1000\n");
        assert_eq!(control_group("3:cpu:/\n2:hugetlb,memory:/docker/x\n", root), Some(1000));
        assert_eq!(control_group("2:memory:/elsewhere\n", root), None);
    }

    #[test]
    fn in_a_container_the_group_at_the_top_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(control_group("4:memory:/docker/0123abcd\n", root.path()), Some(512 << 20));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(limit_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
