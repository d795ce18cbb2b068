use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use serverkit::session::Interest;

use super::*;
use crate::select::{Either, select};

const NAME: Name = Name::Only("a descriptor");
const READABLE: Interest = Interest {
    read: true,
    write: false,
};

fn executor() -> Executor {
    Executor::new().unwrap()
}

/// Runs `main` to its end, and fails where it sleeps on for much longer than it could need.
fn block_on<T: 'static>(executor: &mut Executor, main: impl Future<Output = T> + 'static) -> T {
    let handle = executor.handle();
    let main = async move { before_long(&handle, main).await };
    executor.block_on(main).unwrap()
}

/// Awaits `future`, and fails where it sleeps on for much longer than it could need.
async fn before_long<T>(executor: &Handle, future: impl Future<Output = T>) -> T {
    let too_late = executor.sleep_until(Instant::now() + Duration::from_secs(20));
    match select(too_late, future).await {
        Either::First(()) => panic!("a wake-up was lost"),
        Either::Second(result) => result,
    }
}

/// Counts how often it is polled and hands out its waker; ends at the poll that finds `done`.
fn probe(
    polls: &Rc<Cell<u32>>,
    waker: &Rc<RefCell<Option<Waker>>>,
    done: &Rc<Cell<bool>>,
) -> impl Future<Output = ()> + use<> {
    let (polls, waker, done) = (Rc::clone(polls), Rc::clone(waker), Rc::clone(done));
    poll_fn(move |context| {
        polls.update(|n| n + 1);
        *waker.borrow_mut() = Some(context.waker().clone());
        if done.get() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
}

/// This many turns of the executor.
async fn turns(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

#[test]
fn the_result_of_main_is_returned() {
    assert_eq!(executor().block_on(async { 42 }).unwrap(), 42);
}

#[test]
fn a_task_runs_once_for_all_wake_ups_before_its_poll() {
    let mut executor = executor();
    let polls = Rc::new(Cell::new(0));
    let waker = Rc::default();
    executor
        .handle()
        .spawn(probe(&polls, &waker, &Rc::default()));
    let count = Rc::clone(&polls);
    let main = async move {
        turns(3).await;
        assert_eq!(count.get(), 1, "polled without a wake-up");
        let waker = waker.borrow().clone().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        waker.wake();
        turns(3).await;
        assert_eq!(count.get(), 2);
    };
    block_on(&mut executor, main);
}

#[test]
fn a_wake_up_during_the_poll_polls_again() {
    let mut executor = executor();
    let mut polls = 0;
    let woken_while_polled = poll_fn(move |context| {
        polls += 1;
        if polls == 5 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        context.waker().wake_by_ref();
        Poll::Pending
    });
    block_on(&mut executor, woken_while_polled);
}

#[test]
fn a_wake_up_from_another_thread_is_not_lost_whenever_it_comes() {
    // The other thread wakes as soon as it has the waker: during the poll, before the executor
    // sleeps, or while it does.
    let (to_thread, wakers) = mpsc::channel::<(Waker, Arc<AtomicBool>)>();
    let waking = thread::spawn(move || {
        for (pauses, (waker, flag)) in wakers.into_iter().enumerate() {
            for _ in 0..pauses % 50 {
                thread::yield_now();
            }
            flag.store(true, std::sync::atomic::Ordering::Release);
            waker.wake();
        }
    });
    let mut executor = executor();
    let handle = executor.handle();
    let main = async move {
        for _ in 0..5_000 {
            let flag = Arc::new(AtomicBool::new(false));
            let mut sent = false;
            let woken = poll_fn(|context| {
                if !std::mem::replace(&mut sent, true) {
                    let waker = context.waker().clone();
                    to_thread.send((waker, Arc::clone(&flag))).unwrap();
                }
                if flag.load(std::sync::atomic::Ordering::Acquire) {
                    return Poll::Ready(());
                }
                Poll::Pending
            });
            before_long(&handle, woken).await;
        }
    };
    block_on(&mut executor, main);
    waking.join().unwrap();
}

#[test]
fn a_wake_up_after_the_end_does_nothing() {
    let mut executor = executor();
    let handle = executor.handle();
    let main = async move {
        let polls = Rc::new(Cell::new(0));
        let old_waker = Rc::default();
        let ended = Rc::new(Cell::new(true));
        handle.spawn(probe(&polls, &old_waker, &ended));
        turns(3).await;
        assert_eq!(polls.get(), 1);
        // A task that could be taken for the old one.
        let others_polls = Rc::new(Cell::new(0));
        handle.spawn(probe(&others_polls, &Rc::default(), &Rc::default()));
        turns(3).await;
        old_waker.take().unwrap().wake();
        turns(3).await;
        assert_eq!((polls.get(), others_polls.get()), (1, 1));
    };
    block_on(&mut executor, main);
}

#[test]
fn a_task_that_ends_in_the_poll_it_was_woken_in_is_not_polled_again() {
    let mut executor = executor();
    let handle = executor.handle();
    let main = async move {
        let mut ended = false;
        handle.spawn(poll_fn(move |context| {
            assert!(!ended, "polled after its end");
            ended = true;
            context.waker().wake_by_ref();
            Poll::Ready(())
        }));
        turns(3).await;
    };
    block_on(&mut executor, main);
}

#[test]
fn a_task_that_has_ended_is_freed_while_its_waker_lives_on() {
    let mut executor = executor();
    let handle = executor.handle();
    let memory = Rc::new(());
    let held = Rc::clone(&memory);
    let waker = Rc::new(RefCell::new(None));
    let done = Rc::new(Cell::new(false));
    let wait = probe(&Rc::default(), &waker, &done);
    let main = async move {
        handle.spawn(async move {
            wait.await;
            drop(held);
        });
        turns(3).await;
        done.set(true);
        waker.borrow().clone().unwrap().wake();
        turns(3).await;
        waker.take()
    };
    let waker = block_on(&mut executor, main);
    assert_eq!(Rc::strong_count(&memory), 1, "its future is not freed");
    assert_eq!(executor.tasks.len(), 0);
    drop(executor);
    waker.unwrap().wake();
}

#[test]
fn the_executor_frees_tasks_that_have_not_ended() {
    let memory = Rc::new(());
    let mut executor = executor();
    let handle = executor.handle();
    // Both hold a handle; the second is spawned too late to run at all.
    let (first, second) = (Rc::clone(&memory), Rc::clone(&memory));
    let (own, others) = (handle.clone(), handle.clone());
    handle.spawn(async move {
        std::future::pending::<()>().await;
        drop((first, own));
    });
    let main = async move {
        turns(2).await;
        others.clone().spawn(async move { drop((second, others)) });
    };
    block_on(&mut executor, main);
    assert_eq!(Rc::strong_count(&memory), 3);
    drop((executor, handle));
    assert_eq!(Rc::strong_count(&memory), 1);
}

#[test]
fn a_task_that_is_always_runnable_starves_neither_tasks_nor_sockets_nor_timers() {
    let mut executor = executor();
    let handle = executor.handle();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let main = async move {
        let own = handle.clone();
        handle.spawn(async {
            loop {
                yield_now().await;
            }
        });
        let other_has_run = Rc::new(Cell::new(false));
        let ran = Rc::clone(&other_has_run);
        handle.spawn(async move {
            turns(3).await;
            theirs.write_all(b"x").unwrap();
            ran.set(true);
            std::future::pending::<()>().await;
        });
        let mut ours = own.register(NAME, ours).unwrap();
        while (&*ours).read(&mut [0]).is_err() {
            ours.ready(READABLE).await;
        }
        own.sleep_until(Instant::now() + Duration::from_millis(2))
            .await;
        assert!(other_has_run.get());
    };
    block_on(&mut executor, main);
}

#[test]
fn tasks_run_in_the_order_in_which_they_were_woken() {
    let mut executor = executor();
    let handle = executor.handle();
    let main = async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in ["a", "b", "c"] {
            let order = Rc::clone(&order);
            handle.spawn(async move {
                for _ in 0..2 {
                    order.borrow_mut().push(name);
                    yield_now().await;
                }
            });
        }
        turns(5).await;
        order.take()
    };
    let order = block_on(&mut executor, main);
    assert_eq!(order, ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn only_a_sleeping_executor_is_woken_by_the_eventfd() {
    let executor = executor();
    let task = || {
        Arc::new(TaskWaker {
            number: 0,
            queued: AtomicBool::new(false),
            run_queue: Arc::downgrade(&executor.run_queue),
        })
    };
    let written = || executor.run_queue.wake_up.read().is_ok();
    Waker::from(task()).wake();
    assert!(!written(), "a system call for nothing");
    assert!(!executor.run_queue.begin_sleep());
    executor.run_queue.take();
    assert!(executor.run_queue.begin_sleep());
    Waker::from(task()).wake();
    assert!(written());
    Waker::from(task()).wake();
    assert!(!written(), "it is awake already");
}
