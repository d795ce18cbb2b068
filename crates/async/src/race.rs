//! Awaits two futures and goes on with the one that is ready first.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Which of the two it was.
#[derive(Debug, PartialEq, Eq)]
pub enum Winner<A, B> {
    /// The first, or both.
    First(A),
    /// The second.
    Second(B),
}

/// Both run in turns within the same task: a wake-up of either polls both. The loser is dropped.
pub async fn race<A: Future, B: Future>(first: A, second: B) -> Winner<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|context| {
        if let Poll::Ready(result) = first.as_mut().poll(context) {
            return Poll::Ready(Winner::First(result));
        }
        second.as_mut().poll(context).map(Winner::Second)
    })
    .await
}
