//! The inner side of the jail: `driftless render-jail`, which makes the jail around itself and then starts the tool in it.
//!
//! It is single-threaded. As root it takes new namespaces and then a user id that nothing else has; otherwise it takes them within a
//! user namespace. The tool is the first process of its own pid namespace, so that whatever it has started ends with it. When the other
//! end of stdin goes away, be it that the time is up or that Driftless has ended, the tool is killed.

use super::protocol::{self, Bounds, DONE, FAILED, KILLED, NO_JAIL, Order};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Gid, Pid, PidfdFlags, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use std::ffi::CString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the new root is put together: a folder that is there wherever Linux is, and that nothing is read from any more by then.
const ROOT: &str = "/proc";
/// The copy of the tree, in the jail.
pub(super) const TREE: &str = "/tree";
/// The user and group of the tool where the jail has a user namespace: nobody.
const NOBODY: u32 = 65_534;
/// The first of the user ids that the tool gets under root, one for each process id, so that no two runs share one.
const UIDS: u32 = 0xE000_0000;
/// Where a tool is that lies outside of the system's folders, or needs none of them.
const TOOL: &str = "/tool";
/// What a program that is no static binary needs.
const SYSTEM: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// Files of the copy and of `/tmp`: more inodes than this nobody needs.
const SCRATCH_FILES_MAX: u64 = 10_000;
/// How many files the tool may have open.
const OPEN_FILES_MAX: u64 = 1_024;

/// What could not be done, and why.
struct Trouble(String);

impl Trouble {
    fn of<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Trouble {
        move |error| Trouble(format!("{what}: {error}"))
    }
}

/// Runs one order from stdin to its end. The answer is the exit code; the tool has our stdout and stderr.
#[must_use]
pub fn run() -> u8 {
    let mut stdin = io::stdin().lock();
    let started = protocol::read(&mut stdin).map_err(Trouble::of("the order cannot be read")).and_then(|(order, contents)| {
        let (tree, work) = prepare(&order, &contents)?;
        start(&order, &tree, &work)
    });
    match started.and_then(watch) {
        Ok(code) => code,
        Err(Trouble(why)) => {
            // Nobody reads a closed stderr.
            let _ = writeln!(io::stderr(), "{why}");
            NO_JAIL
        }
    }
}

/// Makes the place to run in. Returns the root of the copy, and the folder for temporary files.
fn prepare(order: &Order, contents: &[Vec<u8>]) -> Result<(PathBuf, PathBuf), Trouble> {
    let (tree, work) = match &order.unconfined {
        Some(root) => (root.join("tree"), root.join("tmp")),
        None => (PathBuf::from(TREE), PathBuf::from("/tmp")),
    };
    if order.unconfined.is_none() {
        // Read while there is a /proc.
        let tasks = order.bounds.tasks;
        let already = if rustix::process::geteuid().is_root() { 0 } else { tasks_of(rustix::process::geteuid()) };
        let is_root = enter()?;
        build(order, contents).map_err(Trouble::of("the new root cannot be made"))?;
        turn().map_err(Trouble::of("the new root cannot be entered"))?;
        drop_privileges(is_root).map_err(Trouble::of("privileges cannot be dropped"))?;
        limit(Resource::Nproc, tasks + already).map_err(Trouble::of("the number of processes cannot be limited"))?;
    } else {
        write_tree(&tree, order, contents).map_err(Trouble::of("the copy of the tree cannot be written"))?;
        make_folder(&work.join("home"), 0o700).map_err(Trouble::of("cannot make a folder"))?;
    }
    limit_all(&order.bounds).map_err(Trouble::of("resources cannot be limited"))?;
    Ok((tree, work))
}

/// Takes new namespaces; true if as root, and not within a user namespace.
fn enter() -> Result<bool, Trouble> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() && unshare(flags).is_ok() {
        return Ok(true);
    }
    unshare(flags | UnshareFlags::NEWUSER).map_err(Trouble::of("no namespaces may be made here"))?;
    let map = |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text);
    // Not there on kernels that do not ask for it.
    let _ = map("setgroups", "deny".to_owned());
    map("uid_map", format!("{NOBODY} {} 1\n", uid.as_raw())).map_err(Trouble::of("the user cannot be mapped"))?;
    map("gid_map", format!("{NOBODY} {} 1\n", gid.as_raw())).map_err(Trouble::of("the group cannot be mapped"))?;
    Ok(false)
}

#[expect(
    deprecated,
    reason = "it is deprecated for UnshareFlags::FILES alone, which is not used here; the other one is not safe to call"
)]
fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(flags)
}

/// Puts the new root together at [`ROOT`].
fn build(order: &Order, contents: &[Vec<u8>]) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = Path::new(ROOT);
    tmpfs(root, 1 << 20, SCRATCH_FILES_MAX, "0755", MountFlags::empty())?;
    if !is_static(&order.tool)? {
        for folder in SYSTEM {
            show_system(Path::new(folder), root)?;
        }
    }
    show(&order.tool, &below(root, &shown_at(&order.tool)))?;
    show_device(Path::new("/dev/null"), root)?;
    let size: u64 = order.files.iter().map(|(_, size)| size.next_multiple_of(4096)).sum();
    let inodes = order.files.iter().map(|(path, _)| path.matches('/').count() as u64 + 1).sum::<u64>();
    let tree = below(root, Path::new(TREE));
    tmpfs(&tree, size + (1 << 20), inodes + 64, "0755", MountFlags::NOEXEC)?;
    write_tree(&tree, order, contents)?;
    remount(&tree, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC)?;
    let work = root.join("tmp");
    tmpfs(&work, order.bounds.scratch_bytes, SCRATCH_FILES_MAX, "1777", MountFlags::NOEXEC)?;
    make_folder(&work.join("home"), 0o777)?;
    fs::set_permissions(work.join("home"), Permissions::from_mode(0o777))
}

/// Makes the new root the only one.
fn turn() -> io::Result<()> {
    rustix::process::chdir(ROOT)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    remount(Path::new("/"), MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV)?;
    Ok(rustix::system::sethostname(b"render")?)
}

/// Where the tool is in the jail.
fn shown_at(tool: &Path) -> PathBuf {
    Path::new(TOOL).join(tool.file_name().unwrap_or_default())
}

/// A file system in memory.
fn tmpfs(at: &Path, bytes: u64, files: u64, mode: &str, flags: MountFlags) -> io::Result<()> {
    make_folder(at, 0o755)?;
    let options = CString::new(format!("size={bytes},nr_inodes={files},mode={mode}"))?;
    let flags = flags | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str()))?)
}

fn remount(at: &Path, flags: MountFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(at, flags | MountFlags::BIND, "")?)
}

/// Shows a file or folder of the host in the jail, read-only.
fn show(source: &Path, target: &Path) -> io::Result<()> {
    if source.is_dir() {
        make_folder(target, 0o755)?;
    } else {
        target.parent().map_or(Ok(()), |parent| make_folder(parent, 0o755))?;
        fs::write(target, "")?;
    }
    rustix::mount::mount_bind(source, target)?;
    remount(target, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV)
}

/// Shows a folder of the system, or the symbolic link that it is by now.
fn show_system(folder: &Path, root: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(meta) if meta.is_symlink() => std::os::unix::fs::symlink(fs::read_link(folder)?, below(root, folder)),
        Ok(_) => show(folder, &below(root, folder)),
        Err(_) => Ok(()),
    }
}

/// Shows a device. It is bound as it is: without devices on it the mount would be of no use.
fn show_device(device: &Path, root: &Path) -> io::Result<()> {
    let target = below(root, device);
    target.parent().map_or(Ok(()), |parent| make_folder(parent, 0o755))?;
    fs::write(&target, "")?;
    Ok(rustix::mount::mount_bind(device, &target)?)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn write_tree(root: &Path, order: &Order, contents: &[Vec<u8>]) -> io::Result<()> {
    make_folder(root, 0o755)?;
    make_folder(&root.join(&order.folder), 0o755)?;
    for ((path, _), bytes) in order.files.iter().zip(contents) {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(io::Error::other(format!("{path} leads out of the tree")));
        }
        let target = root.join(path);
        target.parent().map_or(Ok(()), |parent| make_folder(parent, 0o755))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &target, flags, Mode::from_raw_mode(0o444))?;
        fs::File::from(file).write_all(bytes)?;
    }
    Ok(())
}

/// Whether a program is an ELF binary that asks for no interpreter: it needs nothing but itself.
fn is_static(program: &Path) -> io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let mut head = [0_u8; 4096];
    let mut file = fs::File::open(program)?;
    let mut length = 0;
    while length < head.len() {
        match file.read(&mut head[length..])? {
            0 => break,
            read => length += read,
        }
    }
    let bytes = |at: usize, count: usize| head[..length].get(at..at + count);
    let number = |at, count| bytes(at, count).map(|raw| raw.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)));
    // 64 bits, little-endian; anything else is given the system's folders.
    if bytes(0, 6) != Some(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    let header = (number(32, 8), number(54, 2), number(56, 2));
    let (Some(start), Some(size), Some(count)) = header else { return Ok(false) };
    let kinds = (0..count).map(|index| number(usize::try_from(start + index * size).unwrap_or(usize::MAX - 8), 4));
    Ok(kinds.into_iter().all(|kind| kind.is_some_and(|kind| kind != u64::from(INTERPRETER))))
}

/// Gives up root, or what a user namespace has given, for good.
fn drop_privileges(is_root: bool) -> io::Result<()> {
    if is_root {
        rustix::thread::set_thread_groups(&[])?;
        let own = UIDS + u32::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or_default();
        // A container may know few users; nobody is among them.
        become_user(own).or_else(|_| become_user(NOBODY))?;
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

fn become_user(id: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

fn limit_all(bounds: &Bounds) -> io::Result<()> {
    limit(Resource::Cpu, bounds.cpu_s)?;
    limit(Resource::Data, bounds.memory_bytes)?;
    limit(Resource::Fsize, bounds.scratch_bytes)?;
    limit(Resource::Nofile, OPEN_FILES_MAX)?;
    limit(Resource::Core, 0)
}

fn limit(resource: Resource, max: u64) -> io::Result<()> {
    // Not above what we were given ourselves.
    let max = rustix::process::getrlimit(resource).maximum.map_or(max, |given| given.min(max));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })?)
}

/// The tasks that a user has already: before Linux 5.14 a user namespace does not count its own.
fn tasks_of(user: Uid) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let status = processes.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    let field = |text: &str, name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    status.filter(|text| field(text, "Uid:") == Some(u64::from(user.as_raw()))).filter_map(|text| field(&text, "Threads:")).sum()
}

fn start(order: &Order, tree: &Path, work: &Path) -> Result<Child, Trouble> {
    let tool = if order.unconfined.is_some() { order.tool.clone() } else { shown_at(&order.tool) };
    let mut command = Command::new(tool);
    command.args(&order.args).current_dir(tree.join(&order.folder)).env_clear();
    command.env("HOME", work.join("home")).env("TMPDIR", work).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped());
    let mut child = command.spawn().map_err(Trouble::of(&format!("{} cannot be run", order.tool.display())))?;
    drop(child.stdin.take());
    Ok(child)
}

/// Waits for the tool, or for the other end of stdin to go away.
fn watch(mut child: Child) -> Result<u8, Trouble> {
    let failed = Trouble::of::<Errno>("the tool cannot be watched (Linux 5.3 or newer is needed)");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Trouble("the tool has no pid".to_owned()))?;
    let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(error) => {
            let _ = child.kill();
            return Err(failed(error));
        }
    };
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&handle, PollFlags::IN), PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    while poll(&mut watched, None).is_err_and(|error| error == Errno::INTR) {}
    // Nothing is sent after the order: whatever there is on stdin is its end.
    if watched[0].revents().is_empty() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(Trouble::of("the tool cannot be waited for"))?;
    Ok(match status.code() {
        Some(0) => DONE,
        Some(_) => FAILED,
        None => KILLED,
    })
}
