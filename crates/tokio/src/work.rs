//! What requests demand by `--work` and `--block`, as a user of Tokio would do it.
//!
//! A worker must not block. So what blocks goes to `spawn_blocking`: threads beside the workers, 512
//! at most. The task waits without a thread of its own. Computing stays in the task, as in most programs: to
//! hand over some microseconds of it would cost as much as it saves.

use std::io;
use std::sync::Once;
use std::time::{Duration, Instant};

use serverkit::connection::Connection;
use serverkit::work::Job;
use tokio::task::{JoinHandle, spawn_blocking};

/// If a request has waited this long for a thread, the server prints a warning.
const LONG: Duration = Duration::from_secs(1);

/// What one client's last request waits for.
#[derive(Debug, Default)]
pub struct Work(Option<JoinHandle<()>>);

impl Work {
    /// Answers at most `most` requests, each after what it demands; returns how many. When this future
    /// is dropped, the next call goes on waiting.
    pub async fn answer(&mut self, connection: &mut Connection, most: u32) -> io::Result<u32> {
        let (answered, job) = connection.answer_apart(most);
        if let Some(job) = job {
            job.burn();
            if job.block.is_zero() {
                connection.finish();
            } else {
                let asked = Instant::now();
                self.0 = Some(spawn_blocking(move || {
                    if asked.elapsed() > LONG {
                        complain(&job);
                    }
                    job.sleep();
                }));
            }
        }
        if let Some(blocked) = &mut self.0 {
            blocked.await?;
            self.0 = None;
            connection.finish();
        }
        Ok(answered)
    }
}

/// Prints once that there are too few threads.
fn complain(job: &Job) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        job.context.complain(format_args!(
            "requests that block wait for a thread: there are 512, or no more can be made (ulimit -u)"
        ));
    });
}
