//! Resource limits of this process, and of other processes while they run.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use procfs::process::LimitValue;
use rustix::process::{Pid, Rlimit, getrlimit, prlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::helper;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// The highest descriptor number and one.
    Descriptors,
    /// Processes and threads of the user.
    Processes,
    /// Queued signals of the user.
    PendingSignals,
    /// Address space, bytes.
    AddressSpace,
}

impl Resource {
    fn number(self) -> rustix::process::Resource {
        match self {
            Self::Descriptors => rustix::process::Resource::Nofile,
            Self::Processes => rustix::process::Resource::Nproc,
            Self::PendingSignals => rustix::process::Resource::Sigpending,
            Self::AddressSpace => rustix::process::Resource::As,
        }
    }
}

/// A limit that a process is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    resource: Resource,
    soft: u64,
    /// `None` leaves it as it is.
    hard: Option<u64>,
}

impl Limit {
    /// The soft limit only: the process may raise it again.
    pub fn soft(resource: Resource, most: u64) -> Self {
        Self {
            resource,
            soft: most,
            hard: None,
        }
    }

    /// The soft limit and the hard one.
    pub fn hard(resource: Resource, most: u64) -> Self {
        Self {
            resource,
            soft: most,
            hard: Some(most),
        }
    }

    /// Sets it for this process.
    pub(crate) fn set(self) -> io::Result<()> {
        let before = getrlimit(self.resource.number());
        let limit = Rlimit {
            current: Some(self.soft),
            maximum: self.hard.or(before.maximum),
        };
        Ok(setrlimit(self.resource.number(), limit)?)
    }
}

/// Raises the soft limit of descriptors of this process to the hard one, and returns it.
///
/// # Errors
/// When the kernel refuses it.
pub fn raise_descriptors() -> io::Result<usize> {
    let mut limit = getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(rustix::process::Resource::Nofile, limit)?;
    let most = limit.maximum.and_then(|most| most.try_into().ok());
    Ok(most.unwrap_or(usize::MAX))
}

/// Sets the soft limit of a process that runs, and returns what it was; `None` is no limit.
///
/// # Errors
/// When there is no such process, or it is another user's and this process may not act for that user.
pub fn set_soft(pid: i32, resource: Resource, soft: Option<u64>) -> io::Result<Option<u64>> {
    let before = limit_of(pid, resource)?;
    let limit = Rlimit {
        current: soft,
        maximum: before.maximum,
    };
    match set_directly(pid, resource, limit) {
        // In a container the superuser may lack this right, but it may become the owner of the process.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            set_as_its_owner(pid, resource, &limit)?;
        }
        result => result?,
    }
    Ok(before.current)
}

fn limit_of(pid: i32, resource: Resource) -> io::Result<Rlimit> {
    let limits = procfs::process::Process::new(pid)
        .and_then(|process| process.limits())
        .map_err(io::Error::other)?;
    let limit = match resource {
        Resource::Descriptors => limits.max_open_files,
        Resource::Processes => limits.max_processes,
        Resource::PendingSignals => limits.max_pending_signals,
        Resource::AddressSpace => limits.max_address_space,
    };
    let value = |limit| match limit {
        LimitValue::Value(value) => Some(value),
        LimitValue::Unlimited => None,
    };
    Ok(Rlimit {
        current: value(limit.soft_limit),
        maximum: value(limit.hard_limit),
    })
}

fn set_directly(pid: i32, resource: Resource, limit: Rlimit) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    prlimit(Some(pid), resource.number(), limit)?;
    Ok(())
}

/// What the helper sets, which runs as the owner of the process.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    pid: i32,
    resource: Resource,
    soft: Option<u64>,
    hard: Option<u64>,
}

fn set_as_its_owner(pid: i32, resource: Resource, limit: &Rlimit) -> io::Result<()> {
    let owner = std::fs::metadata(format!("/proc/{pid}"))?;
    let request = Request {
        pid,
        resource,
        soft: limit.current,
        hard: limit.maximum,
    };
    let output = helper::command(helper::LIMITER)?
        .arg(serde_json::to_string(&request)?)
        .uid(owner.uid())
        .gid(owner.gid())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(why.trim().to_owned()))
}

/// What the limiter does.
pub(crate) fn set_as_requested(request: &str) -> io::Result<()> {
    let request: Request = serde_json::from_str(request)?;
    let limit = Rlimit {
        current: request.soft,
        maximum: request.hard,
    };
    set_directly(request.pid, request.resource, limit)
}
