//! Runs tasks. A task is a future that no other future awaits.
//!
//! A future does nothing by itself: the executor polls it. A future that has to wait leaves a waker
//! with the part that will know when to go on: the [`Reactor`], the [`Timers`] or another task. The
//! waker puts the task back into the run queue. When that is empty, the thread sleeps in the
//! reactor.
//!
//! * No wake-up is lost. A task counts as queued from its wake-up until just before its poll, so a
//!   wake-up during the poll queues it again. Other threads may wake, too: the executor decides
//!   under the lock of the run queue that it will sleep, and from then on a wake-up writes to an
//!   eventfd, which ends the sleep.
//! * A wake-up of a task that has ended does nothing: task numbers are not used again.
//! * In one turn each runnable task is polled once, then the reactor is asked. So a task that is
//!   always runnable keeps neither other tasks nor sockets waiting.
//!
//! Tasks stay on the executor's thread and need not be `Send`. Wakers may go to any thread.
//!
//! Sources: `std::task`; Carl Fredrik Samson, "Explained: Futures in Rust", 2020.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serverkit::trace::{self, Name};

use crate::reactor::{Reactor, Registered};
use crate::timer::{Sleep, Timers};

/// The number of a task. It is not used again.
pub type TaskNumber = u64;

type BoxFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    future: BoxFuture,
    waker: Waker,
}

/// Owns the tasks and runs them on the calling thread.
pub struct Executor {
    tasks: HashMap<TaskNumber, Task>,
    run_queue: Arc<RunQueue>,
    handle: Handle,
    /// Ends the sleep when another thread wakes a task.
    _wake_up: Registered<Arc<EventFd>>,
}

/// What tasks can ask of their executor. It is cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// New tasks that the executor has not taken over yet.
    spawned: Rc<RefCell<Vec<(TaskNumber, BoxFuture)>>>,
    last_task: Rc<Cell<TaskNumber>>,
    reactor: Rc<Reactor>,
    timers: Rc<Timers>,
}

impl Executor {
    /// An executor without tasks.
    pub fn new() -> anyhow::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake_up = EventFd::from_flags(flags).context("eventfd")?;
        let wake_up = Arc::new(wake_up);
        let reactor = Rc::new(Reactor::new()?);
        Ok(Self {
            tasks: HashMap::new(),
            run_queue: Arc::new(RunQueue {
                state: Mutex::default(),
                wake_up: Arc::clone(&wake_up),
            }),
            _wake_up: reactor.register(Name::Only("a wake-up"), wake_up)?,
            handle: Handle {
                spawned: Rc::default(),
                last_task: Rc::default(),
                reactor,
                timers: Rc::default(),
            },
        })
    }

    /// A handle for the tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `main` as a task, and all other tasks beside it, until `main` has ended. Tasks that have
    /// not ended by then are dropped with the executor.
    pub fn block_on<T: 'static>(
        &mut self,
        main: impl Future<Output = T> + 'static,
    ) -> anyhow::Result<T> {
        let result = Rc::new(Cell::new(None));
        let slot = Rc::clone(&result);
        self.handle.spawn(async move { slot.set(Some(main.await)) });
        loop {
            self.run_turn();
            if let Some(result) = result.take() {
                return Ok(result);
            }
            self.wait()?;
        }
    }

    /// Polls each task that is runnable now, once.
    fn run_turn(&mut self) {
        self.adopt_spawned();
        for task in self.run_queue.take() {
            self.run(&task);
        }
    }

    fn adopt_spawned(&mut self) {
        for (number, future) in self.handle.spawned.take() {
            let waker = Arc::new(TaskWaker {
                number,
                queued: AtomicBool::new(false),
                run_queue: Arc::downgrade(&self.run_queue),
            });
            let waker = Waker::from(waker);
            // For its first poll: nothing else would wake it.
            waker.wake_by_ref();
            self.tasks.insert(number, Task { future, waker });
        }
    }

    fn run(&mut self, woken: &TaskWaker) {
        let number = woken.number;
        // It may have ended after it was woken.
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        trace::note(None, || format!("task {number} runs"));
        // Before the poll, so that a wake-up during the poll queues the task again. `Acquire`: the
        // poll must see what was written before each wake-up, also before those that found the task
        // queued already.
        woken.queued.swap(false, AcqRel);
        let mut context = Context::from_waker(&task.waker);
        if task.future.as_mut().poll(&mut context).is_ready() {
            self.tasks.remove(&number);
        }
    }

    /// The one place where this thread sleeps.
    fn wait(&mut self) -> anyhow::Result<()> {
        let timeout = if !self.handle.spawned.borrow().is_empty() || !self.run_queue.begin_sleep() {
            Some(Duration::ZERO)
        } else {
            self.handle.timers.timeout(Instant::now())
        };
        let ready = self.handle.reactor.wait(timeout)?;
        self.run_queue.end_sleep();
        self.handle.reactor.wake(ready);
        self.handle.timers.wake_due(Instant::now());
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // A task may hold a handle. If it never ran, it would keep itself alive.
        drop(self.handle.spawned.take());
    }
}

impl Handle {
    /// Makes `future` a task. It runs from the next turn on.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskNumber {
        let number = self.last_task.get() + 1;
        self.last_task.set(number);
        self.spawned.borrow_mut().push((number, Box::pin(future)));
        number
    }

    /// Lets tasks await the readiness of `io`; see [`Registered::ready`]. The trace calls it by
    /// `name`.
    pub fn register<T: AsFd>(&self, name: Name, io: T) -> anyhow::Result<Registered<T>> {
        self.reactor.register(name, io)
    }

    /// Ready once it is `at`, or within a millisecond after.
    pub fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        self.timers.sleep_until(at)
    }
}

/// The tasks to poll, in the order in which they were woken.
struct RunQueue {
    state: Mutex<RunQueueState>,
    wake_up: Arc<EventFd>,
}

#[derive(Default)]
struct RunQueueState {
    runnable: VecDeque<Arc<TaskWaker>>,
    /// The executor sleeps or is about to: only a descriptor ends its sleep.
    asleep: bool,
}

impl RunQueue {
    fn push(&self, task: Arc<TaskWaker>) {
        let mut state = self.lock();
        state.runnable.push_back(task);
        if std::mem::take(&mut state.asleep) {
            // Each write is reported, so nobody needs to read the counter. It is full, and a write
            // fails, only after 2^64 - 2 wake-ups.
            let _ = self.wake_up.write(1);
        }
    }

    fn take(&self) -> VecDeque<Arc<TaskWaker>> {
        std::mem::take(&mut self.lock().runnable)
    }

    /// True if there is nothing to run. Then each wake-up writes to the eventfd from now on.
    fn begin_sleep(&self) -> bool {
        let mut state = self.lock();
        state.asleep = state.runnable.is_empty();
        state.asleep
    }

    fn end_sleep(&self) {
        self.lock().asleep = false;
    }

    fn lock(&self) -> MutexGuard<'_, RunQueueState> {
        // A panic while the lock is held leaves the data consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of a task. It may outlive the task and the executor, so it owns neither.
struct TaskWaker {
    number: TaskNumber,
    /// It is in the run queue, or about to be polled.
    queued: AtomicBool,
    run_queue: Weak<RunQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // One entry is enough, however often it is woken before it runs.
        if !self.queued.swap(true, AcqRel)
            && let Some(run_queue) = self.run_queue.upgrade()
        {
            run_queue.push(self);
        }
    }
}

/// Lets the other tasks run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
