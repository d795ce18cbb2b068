//! Runs tasks: futures that nobody awaits.
//!
//! A future does nothing by itself. The executor polls it, and when it cannot go on it has left a
//! waker where something will happen: in the [`Reactor`], in the [`Timers`], in another task. The
//! waker puts the task back into the run queue, and once that is empty the thread sleeps in the
//! reactor until something wakes.
//!
//! * No wake-up is lost. A task is marked as queued from its wake-up until just before it is polled:
//!   one that comes while it is polled queues it again, and so does one from another thread. Whether
//!   the executor may sleep is decided under the lock that a wake-up takes, and once it has been
//!   decided an eventfd ends the sleep.
//! * A wake-up of a task that has ended does nothing: task numbers are not used again.
//! * A turn polls each runnable task once and then asks the reactor, so that a task which is always
//!   runnable keeps neither the other tasks nor the sockets waiting.
//!
//! Tasks stay on the executor's thread and need not be `Send`; wakers may go anywhere.
//!
//! Sources: `std::task`; Carl Fredrik Samson, "Explained: Futures in Rust", 2020.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt::Arguments;
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::reactor::{Reactor, Watched};
use crate::timer::{Sleep, Timers};

/// A task's number, which is not used again.
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
    _alarm: Watched<Arc<EventFd>>,
    trace: Box<dyn Fn(Arguments)>,
}

/// What tasks ask of the executor they run on; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// Tasks that the executor has not taken over yet.
    spawned: Rc<RefCell<Vec<(TaskNumber, BoxFuture)>>>,
    last_task: Rc<Cell<TaskNumber>>,
    reactor: Rc<Reactor>,
    timers: Rc<Timers>,
}

impl Executor {
    /// An executor without tasks. `trace` is told each wait and each task that is run.
    pub fn new(trace: impl Fn(Arguments) + 'static) -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let alarm = Arc::new(EventFd::from_flags(flags)?);
        let reactor = Rc::new(Reactor::new()?);
        Ok(Self {
            tasks: HashMap::new(),
            run_queue: Arc::new(RunQueue {
                state: Mutex::default(),
                alarm: Arc::clone(&alarm),
            }),
            _alarm: reactor.watch(alarm)?,
            handle: Handle {
                spawned: Rc::default(),
                last_task: Rc::default(),
                reactor,
                timers: Rc::default(),
            },
            trace: Box::new(trace),
        })
    }

    /// For the tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs all tasks until `main`, which becomes one of them, has ended. Those that have not ended
    /// by then are kept, and dropped with the executor.
    pub fn block_on<T: 'static>(
        &mut self,
        main: impl Future<Output = T> + 'static,
    ) -> nix::Result<T> {
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
            // Its first poll: nothing else would wake it.
            waker.wake_by_ref();
            self.tasks.insert(number, Task { future, waker });
        }
    }

    fn run(&mut self, woken: &TaskWaker) {
        let number = woken.number;
        // It may have ended since it was woken.
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        (self.trace)(format_args!("task {number}: runs"));
        // Before the poll: a wake-up that comes during it must queue the task again. Acquires what
        // was written before the wake-ups that were passed over as it was queued already.
        woken.queued.swap(false, AcqRel);
        let mut context = Context::from_waker(&task.waker);
        if task.future.as_mut().poll(&mut context).is_ready() {
            self.tasks.remove(&number);
        }
    }

    /// The one place where this thread sleeps.
    fn wait(&mut self) -> nix::Result<()> {
        let timeout = if !self.handle.spawned.borrow().is_empty() || !self.run_queue.may_sleep() {
            Some(Duration::ZERO)
        } else {
            self.handle.timers.timeout(Instant::now())
        };
        let ready = self.handle.reactor.wait(timeout)?;
        self.run_queue.awake();
        (self.trace)(format_args!("epoll_wait: {ready} ready"));
        self.handle.reactor.wake(ready);
        self.handle.timers.wake_due(Instant::now());
        Ok(())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold handles: those that never ran would keep themselves alive.
        drop(self.handle.spawned.take());
    }
}

impl Handle {
    /// Makes `future` a task of its own, which runs from the next turn on.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskNumber {
        let number = self.last_task.get() + 1;
        self.last_task.set(number);
        self.spawned.borrow_mut().push((number, Box::pin(future)));
        number
    }

    /// Lets tasks await the readiness of `io`; see [`Watched::ready`].
    pub fn watch<T: AsFd>(&self, io: T) -> nix::Result<Watched<T>> {
        self.reactor.watch(io)
    }

    /// Ready once it is `at`, or within a millisecond after.
    pub fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        self.timers.sleep_until(at)
    }
}

/// The tasks that can go on, in the order in which they were woken.
struct RunQueue {
    state: Mutex<RunQueueState>,
    alarm: Arc<EventFd>,
}

#[derive(Default)]
struct RunQueueState {
    runnable: VecDeque<Arc<TaskWaker>>,
    /// The executor has found the queue empty, and nothing but a descriptor will end its sleep.
    asleep: bool,
}

impl RunQueue {
    fn push(&self, task: Arc<TaskWaker>) {
        let mut state = self.lock();
        state.runnable.push_back(task);
        if std::mem::take(&mut state.asleep) {
            // Fails only when nobody has read 2^64 of them. It is not read at all: the reactor is
            // told of each write.
            let _ = self.alarm.write(1);
        }
    }

    fn take(&self) -> VecDeque<Arc<TaskWaker>> {
        std::mem::take(&mut self.lock().runnable)
    }

    /// Whether there is nothing to run; if so, a wake-up will sound the alarm from now on.
    fn may_sleep(&self) -> bool {
        let mut state = self.lock();
        state.asleep = state.runnable.is_empty();
        state.asleep
    }

    fn awake(&self) {
        self.lock().asleep = false;
    }

    fn lock(&self) -> MutexGuard<'_, RunQueueState> {
        // No step of what is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the waker of a task points to. It holds neither the task nor the executor, and may
/// outlive both.
struct TaskWaker {
    number: TaskNumber,
    /// It stands in the run queue, or is about to be polled.
    queued: AtomicBool,
    run_queue: Weak<RunQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // Once is enough, however often it is woken before it runs.
        if !self.queued.swap(true, AcqRel)
            && let Some(run_queue) = self.run_queue.upgrade()
        {
            run_queue.push(self);
        }
    }
}

/// Lets the other tasks run, and then goes on.
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
