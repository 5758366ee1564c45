//! Named network namespaces, as `ip netns` keeps them: files in /run/netns.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const DIRECTORY: &str = "/run/netns";
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// What a namespace is made with: settings below /proc/sys.
pub(in crate::backend) type Settings = &'static [(&'static str, &'static str)];

/// What the kernel has to do for a slice: forward, take a packet back on the other interface of a rotation, let the agent send
/// echo requests, and have an address of IPv6 when it is given one: while it looks for a second for who else may have it, it
/// does not answer, and whoever gave it knows.
pub(in crate::backend) const FOR_SLICES: Settings = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
];

/// A network namespace that has a name.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Namespace {
    pub(in crate::backend) name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes one, with its settings and nothing in it.
    pub(in crate::backend) fn create(name: &str, settings: Settings) -> io::Result<Self> {
        share_directory()?;
        if !is_there(name) {
            delete(name)?;
        }
        let path = path(name);
        File::create_new(&path)?;
        let made = in_new_thread(|| {
            enter_new()?;
            rustix::mount::mount_bind(OF_THIS_THREAD, &path)?;
            for (setting, value) in settings {
                match fs::write(Path::new("/proc/sys").join(setting), value) {
                    // A kernel without IPv6 has nothing to forward of it.
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && setting.contains("ipv6") => {}
                    done => done?,
                }
            }
            Ok(())
        });
        if let Err(error) = made {
            delete(name)?;
            return Err(error);
        }
        Self::open(name)
    }

    /// One that is there.
    pub(in crate::backend) fn open(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(File::open(path(name))?),
        })
    }

    /// That of the node, which has no name.
    pub(in crate::backend) fn of_node(file: File) -> Self {
        Self {
            name: "of the node".to_owned(),
            file: Arc::new(file),
        }
    }

    /// For who moves an interface here.
    pub(in crate::backend) fn file(&self) -> &File {
        &self.file
    }

    /// Runs something inside, on a thread of its own: sockets that it opens stay here wherever they are used. May spawn tasks
    /// if the caller may.
    pub(in crate::backend) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
        let runtime = tokio::runtime::Handle::try_current().ok();
        in_new_thread(|| {
            let _runtime = runtime.as_ref().map(|runtime| runtime.enter());
            self.enter()?;
            Ok(work())
        })
    }

    /// Lets packets come in at an interface that would leave by another one, as they do while keys are rotated.
    pub(in crate::backend) fn loosen(&self, interface: &str) -> io::Result<()> {
        let setting = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
        self.within(|| fs::write(setting, "2"))?
    }

    /// Moves this thread here, for good.
    pub(in crate::backend) fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}

/// The thread ends with what it has entered.
fn in_new_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned());
        let done = thread.spawn_scoped(scope, work)?.join();
        done.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

fn enter_new() -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "rustix marks it so for flags that are not used here"
    )]
    // SAFETY: unsafe are file descriptor tables that are not shared any more; this thread only leaves its network namespace.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    Ok(())
}

/// Whether there is one of this name. A file alone is none: it is what is left where a mount did not outlive its maker.
pub(in crate::backend) fn is_there(name: &str) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let found = rustix::fs::statfs(path(name));
    found.is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS_MAGIC))
}

/// The names of all there are.
pub(in crate::backend) fn names() -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Takes a name away; the namespace goes with its last user.
pub(in crate::backend) fn delete(name: &str) -> io::Result<()> {
    let path = path(name);
    match unmount(&path, UnmountFlags::DETACH) {
        // Nothing was mounted, or nothing is there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether this process may make namespaces.
pub(in crate::backend) fn check_possible() -> io::Result<()> {
    in_new_thread(enter_new)?;
    share_directory()
}

/// Mounts below the directory show in every mount namespace, as ip-netns(8) has it.
fn share_directory() -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    if mount_change(DIRECTORY, flags).is_ok() {
        return Ok(());
    }
    mount_bind_recursive(DIRECTORY, DIRECTORY)?;
    Ok(mount_change(DIRECTORY, flags)?)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
