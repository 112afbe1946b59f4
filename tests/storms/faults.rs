//! Ways in which a disk fails under a running process: a small file system that is filled to its last byte, a limit on the
//! size of files, and system calls that answer EIO. Needs root, for mount, prlimit and ptrace. Knows no sidecar's insides.
use crate::rig::Rig;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Room for the first segment of the journal and the index.
const SIZE: u64 = 192 << 20;

/// A file system of its own for the data folder, unmounted when it is dropped.
pub(crate) struct Disk {
    place: PathBuf,
}

impl Disk {
    /// Mounts it and moves the data folder there, and `store.min_free` out of the way. `None`, loudly, where that is not
    /// allowed.
    pub(crate) async fn under(rig: &mut Rig) -> Option<Self> {
        let (image, place) = (rig.folder.path().join("image"), rig.folder.path().join("disk"));
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        fs::create_dir(&place).unwrap();
        let made = ran(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        if !made || !ran(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place)) {
            eprintln!(
                "SKIPPED, NOT TESTED: no file system can be mounted here; run the tests as root with loop devices"
            );
            return None;
        }
        let disk = Self { place };
        assert!(rig.stop().await.success());
        let moved = ran(Command::new("mv").arg(rig.folder.path().join("data")).arg(&disk.place));
        assert!(moved, "the data folder cannot be moved");
        let file = rig.folder.path().join("tailhook.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("path = \"data\"", "path = \"disk/data\"");
        fs::write(&file, text.replace("min_free = \"64MiB\"", "min_free = \"1B\"")).unwrap();
        rig.start(&[]);
        rig.ready().await;
        Some(disk)
    }
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }
    /// To the last block, and what the others free meanwhile too.
    pub(crate) fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        let (mut piece, mut len) = (64 << 20, filler.metadata().unwrap().len());
        while piece >= 1024 {
            match fallocate(&filler, FallocateFlags::empty(), len, piece) {
                Ok(()) => len += piece,
                Err(_) => piece /= 2,
            }
        }
        while filler.write_all(&[0; 512]).is_ok() {}
    }
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
    fn freeze(&self, on: bool) -> bool {
        ran(Command::new("fsfreeze").arg(if on { "--freeze" } else { "--unfreeze" }).arg(&self.place))
    }
    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // where it was left hung, nothing could end
            self.freeze(false);
        }
        // lazily: the sidecar may outlive this by a moment
        if !ran(Command::new("umount").arg("--lazy").arg(&self.place)) {
            eprintln!("{} is left mounted", self.place.display());
        }
    }
}

/// Did it work?
pub(crate) fn ran(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No block is free.
    Full,
    /// No file may grow beyond the journal's length now.
    FileSize,
    /// The journal's fdatasync and the cut of what it left answer EIO.
    Sync,
    /// The fsync of the index's tables and of folders answers EIO, and nothing else does.
    Index,
    /// All of it answers EIO.
    Everything,
    /// Whoever writes waits in the kernel until this is over, and cannot even be killed.
    Hung,
}

/// What is possible here.
pub(crate) fn kinds() -> Vec<Kind> {
    if ran(Command::new("strace").arg("-V")) {
        return vec![Kind::Full, Kind::FileSize, Kind::Sync, Kind::Index, Kind::Everything];
    }
    eprintln!("SKIPPED, NOT TESTED: EIO; install strace");
    vec![Kind::Full, Kind::FileSize]
}

/// A fault that is on.
pub(crate) enum Fault<'d> {
    Full(&'d Disk),
    Hung(&'d Disk),
    FileSize(Pid),
    Calls(Child),
}

impl<'d> Fault<'d> {
    /// Begins.
    pub(crate) fn on(kind: Kind, disk: &'d Disk, pid: i32) -> Self {
        let process = Pid::from_raw(pid).unwrap();
        match kind {
            Kind::Full => {
                disk.fill();
                Self::Full(disk)
            }
            Kind::FileSize => {
                limit(process, Some(journal(disk)));
                Self::FileSize(process)
            }
            Kind::Sync => Self::Calls(inject(pid, "fdatasync,ftruncate")),
            Kind::Index => Self::Calls(inject(pid, "fsync")),
            Kind::Everything => Self::Calls(inject(pid, "fdatasync,ftruncate,fsync")),
            Kind::Hung => {
                assert!(disk.freeze(true), "fsfreeze");
                Self::Hung(disk)
            }
        }
    }
    /// Ends.
    pub(crate) fn off(self) {
        match self {
            Self::Full(disk) => disk.free(),
            Self::Hung(disk) => assert!(disk.freeze(false), "fsfreeze"),
            Self::FileSize(process) => limit(process, None),
            Self::Calls(mut tracer) => {
                let tracing = Pid::from_child(&tracer);
                kill_process(tracing, Signal::TERM).unwrap();
                tracer.wait().unwrap();
            }
        }
    }
}

fn limit(process: Pid, bytes: Option<u64>) {
    prlimit(Some(process), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// Bytes of the newest segment.
fn journal(disk: &Disk) -> u64 {
    let files = fs::read_dir(disk.place().join("data")).unwrap().map(Result::unwrap);
    let segments = files.filter(|file| file.file_name().to_string_lossy().starts_with("journal-"));
    segments.map(|file| file.metadata().unwrap().len()).max().unwrap()
}

/// The kernel's answer to these calls is EIO for as long as this tracer lives.
fn inject(pid: i32, calls: &str) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
    strace.arg(format!("--trace={calls}")).arg(format!("--inject={calls}:error=EIO"));
    strace.stdin(Stdio::null()).spawn().expect("strace")
}
