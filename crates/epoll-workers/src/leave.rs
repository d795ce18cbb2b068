//! Who has to leave though no event tells so: the idle, and at the end everybody. Nobody is in
//! charge of it: whichever worker comes by does it.

use std::time::{Duration, Instant};

use crate::Server;

impl Server {
    /// Sees to those whose time has come; tells when to do so again.
    pub fn expire(&self) -> nix::Result<Option<Duration>> {
        loop {
            let now = Instant::now();
            let mut clients = self.clients();
            let due = clients.due(now);
            if clients.grace_is_over {
                // Work for a client that outlasts the grace is not waited for.
                self.context.exit();
            }
            self.settle(&mut clients)?;
            if due.is_empty() {
                return Ok(clients.timeout(now));
            }
            drop(clients);
            for client in due {
                let mut place = client.lock();
                if let Some(connection) = place.as_mut() {
                    if connection.is_overdue(now) {
                        self.close(client.number, &mut place)?;
                    } else if let Some(deadline) = connection.deadline() {
                        self.clients().set_deadline(client.number, deadline);
                    }
                }
            }
        }
    }

    /// Takes no more clients, and lets the input of the others end with what has arrived.
    pub fn begin_stop(&self) -> anyhow::Result<()> {
        if self.stop.take()?.is_some() {
            let mut clients = self.clients();
            clients.stop(Instant::now() + self.context.options.grace);
            self.settle(&mut clients)?;
            let all = clients.all();
            drop(clients);
            for client in all {
                if let Some(connection) = client.lock().as_mut() {
                    connection.stop();
                }
                self.step(client.number)?;
            }
        }
        Ok(())
    }

    /// Ends all workers.
    pub fn finish(&self) {
        // It fails where it was done before, very often.
        let _ = self.finished.write(1);
    }
}
