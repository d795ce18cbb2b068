//! Awaits two futures at once, until one of them is ready.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// The result of the future that was ready.
#[derive(Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first was ready. The second may have been ready, too.
    First(A),
    /// Only the second was ready.
    Second(B),
}

/// Polls both futures in the same task until one is ready, and drops the other. When something
/// wakes the task, both are polled.
pub async fn select<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|context| {
        if let Poll::Ready(result) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(result));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
