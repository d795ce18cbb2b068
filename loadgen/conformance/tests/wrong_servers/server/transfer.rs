//! What the server does with a client that is ready: it reads, answers and writes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use nix::poll::PollFlags;
use supervisor::Mode;

use super::Server;
use crate::client::has_hung_up;
use crate::fault::Fault;

impl Server {
    pub fn move_client(&mut self, i: usize, events: PollFlags) {
        let fault = self.flags.fault;
        let client = &mut self.clients[i];
        if fault != Some(Fault::ClosesTheActive) {
            client.moved = Instant::now();
        }
        if fault == Some(Fault::HandlesHangUpBeforeInput) && has_hung_up(&client.stream) {
            client.done = true;
            return;
        }
        if fault == Some(Fault::AbortsWithoutMemory) {
            self.hoard.push(vec![1; self.flags.buffer_size]);
        }
        let moved = if events.contains(PollFlags::POLLOUT) {
            self.write(i)
        } else if fault == Some(Fault::ServesTheGreedyFirst) {
            // As long as this one has something to say.
            while !self.clients[i].input_ended && self.read(i).is_ok() && self.write(i).is_ok() {}
            Ok(())
        } else if matches!(
            fault,
            Some(Fault::BlocksInWrite | Fault::ForgetsAPartialWrite)
        ) {
            // Without asking whether there is room.
            self.read(i).and_then(|()| self.write(i))
        } else {
            self.read(i)
        };
        if moved.is_err() {
            let is_reset = self.clients[i].lingering.is_none() && !self.has(Fault::CountsNoResets);
            self.stats.reset += usize::from(is_reset);
            self.clients[i].done = true;
            if self.has(Fault::EndsWithItsClient) {
                eprintln!("wrong-server: a client failed");
                std::process::exit(1);
            }
        }
    }

    pub fn read(&mut self, i: usize) -> io::Result<()> {
        let flags = &self.flags;
        let client = &mut self.clients[i];
        let mut buffer = Vec::new();
        // Without memory this client is lost, and no other.
        buffer.try_reserve_exact(flags.buffer_size)?;
        client.output.try_reserve(flags.buffer_size)?;
        buffer.resize(flags.buffer_size, 0);
        let n = match client.stream.read(&mut buffer) {
            Ok(n) => n,
            // In a server that is being stopped nothing more is waited for.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.input_ended |= self.deadline.is_some();
                client.done = client.input_ended && client.sent == client.output.len();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.stats.bytes_in += n;
        self.trace.moved("read", client.number, n);
        client.reads += 1;
        let before = client.received;
        client.received += n;
        if n == 0
            && client.reads.is_multiple_of(8)
            && flags.fault == Some(Fault::ForgetsTheEndAtTheLastRead)
        {
            client.disarmed = true;
            return Ok(());
        }
        if n == 0 {
            self.stats.reset += usize::from(flags.fault == Some(Fault::CountsAnEndAsReset));
            client.input_ended = true;
            client.done = client.sent == client.output.len();
            return Ok(());
        }
        if !flags.work.is_zero() {
            let work = flags.work;
            client.answer_at = Instant::now() + work;
            self.workers
                .push(std::thread::spawn(move || std::thread::sleep(work)));
        }
        if !flags.block.is_zero() && flags.fault != Some(Fault::AnswersBeforeItHasBlocked) {
            client.answer_at = Instant::now() + flags.block;
            if flags.fault == Some(Fault::DiesWithoutAThread) {
                let block = flags.block;
                self.workers
                    .push(std::thread::spawn(move || std::thread::sleep(block)));
            }
        }
        match flags.mode {
            Mode::Http => unreachable!("`http` serves it"),
            Mode::Once if client.lingering.is_none() && client.output.is_empty() => {
                client.output.extend_from_slice(b"Hello from server!\n");
            }
            Mode::Once => {}
            Mode::Echo => {
                let whole = flags.fault == Some(Fault::AnswersWithTheWholeBuffer);
                client.output.drain(..client.sent);
                client.sent = 0;
                client
                    .output
                    .extend_from_slice(if whole { &buffer } else { &buffer[..n] });
                match flags.fault {
                    Some(Fault::AnswersTwice) => client.output.extend_from_slice(&buffer[..n]),
                    Some(Fault::EndsAtControlD) if buffer[..n] == [4] => client.done = true,
                    Some(Fault::StopsAfterAThousandReads) if client.reads > 1_000 => {
                        client.output.clear();
                    }
                    Some(Fault::ChangesAByteOfALongStream)
                        if before < 65_536 && client.received >= 65_536 =>
                    {
                        client.output[0] ^= 1;
                    }
                    Some(Fault::LosesAByte) if n >= 1000 => {
                        client.output.remove(999);
                    }
                    Some(Fault::WaitsForANewline) if !buffer[..n].contains(&b'\n') => {
                        client.output.clear();
                    }
                    _ => {}
                }
                client.disarmed |= flags.fault == Some(Fault::NeverRearmsAfterAFullBuffer)
                    && n == flags.buffer_size;
                if flags.fault == Some(Fault::LosesTheTailAtHalfClose)
                    && has_hung_up(&client.stream)
                    && client.output.len() < flags.buffer_size
                {
                    client.done = true;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, i: usize) -> io::Result<()> {
        let fault = self.flags.fault;
        let client = &mut self.clients[i];
        let n = match client.stream.write(&client.output[client.sent..]) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.stats.bytes_out += n;
        self.trace.moved("write", client.number, n);
        client.sent += n;
        if fault == Some(Fault::BlocksInWrite) {
            client.stream.write_all(&client.output[client.sent..])?;
            client.sent = client.output.len();
        }
        if fault == Some(Fault::ForgetsAPartialWrite) {
            client.sent = client.output.len();
        }
        if client.sent < client.output.len() {
            return Ok(());
        }
        if self.flags.mode == Mode::Once {
            client.done = client.input_ended || fault == Some(Fault::ClosesWithUnreadInput);
            client.lingering = Some(Instant::now());
            if !client.done {
                client.stream.shutdown(Shutdown::Write)?;
            }
        } else {
            client.output.clear();
            client.sent = 0;
            client.done = client.input_ended;
        }
        Ok(())
    }
}
