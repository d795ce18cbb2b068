//! A process group, seen through /proc: a server and everything that it has forked.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, Stat, all_processes};

/// The process group that a server leads. It contains the server's descendants, also those whose parent has died.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    leader: i32,
}

impl Group {
    /// The group that this process leads.
    pub(crate) fn led_by(pid: u32) -> Self {
        Self { leader: pid as i32 }
    }

    /// The first process.
    pub fn leader(self) -> Pid {
        Pid::from_raw(self.leader)
    }

    /// Signals the first process.
    pub fn signal_leader(self, signal: Signal) {
        // It may have ended.
        let _ = kill(self.leader(), signal);
    }

    /// Signals all processes at once, as a terminal does.
    pub fn signal(self, signal: Signal) {
        let _ = killpg(self.leader(), signal);
    }

    /// Kills one process by a signal that has a number and no name: the first real-time one.
    #[allow(unsafe_code, reason = "nix sends signals with a name only")]
    pub fn kill_by_real_time_signal(pid: Pid) {
        // SAFETY: kill takes no pointer. The process may have ended.
        let _ = unsafe { nix::libc::kill(pid.as_raw(), nix::libc::SIGRTMIN()) };
    }

    /// All processes with their state, those that ended and were not waited for included.
    pub fn processes(self) -> Vec<Stat> {
        let Ok(all) = all_processes() else {
            return Vec::new();
        };
        all.filter_map(|process| process.ok()?.stat().ok())
            .filter(|stat| stat.pgrp == self.leader)
            .collect()
    }

    /// How many of them have not ended.
    pub fn alive(self) -> usize {
        let processes = self.processes().into_iter();
        processes.filter(|stat| stat.state != 'Z').count()
    }

    /// Processes other than the first.
    pub fn children(self) -> Vec<Pid> {
        let pids = self.processes().into_iter().map(|stat| stat.pid);
        pids.filter(|&pid| pid != self.leader)
            .map(Pid::from_raw)
            .collect()
    }

    /// Whether one of them listens at this port.
    pub fn listens_at(self, port: u16) -> bool {
        let tables = [procfs::net::tcp(), procfs::net::tcp6()].into_iter();
        let listeners: Vec<FDTarget> = tables
            .flatten()
            .flatten()
            .filter(|e| e.state == TcpState::Listen && e.local_address.port() == port)
            .map(|entry| FDTarget::Socket(entry.inode))
            .collect();
        self.processes().into_iter().any(|stat| {
            Process::new(stat.pid)
                .and_then(|process| process.fd())
                .is_ok_and(|mut fds| {
                    fds.any(|fd| fd.is_ok_and(|fd| listeners.contains(&fd.target)))
                })
        })
    }
}
