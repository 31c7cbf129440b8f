//! What rarely happens, beside what happens all the time.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A future that is polled only after it was woken.
///
/// A task that waits for media and for the end of everything is woken by media a hundred times a second; to ask each
/// time about the end takes the locks of whoever may declare it.
#[derive(Debug)]
pub struct Rarely<F> {
    future: F,
    bell: Arc<Bell>,
    /// What stands in the bell.
    task: Option<Waker>,
    /// Of the bell, for the future.
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> Rarely<F> {
    /// Asks `future` once, and then when it has woken its task.
    pub fn new(future: F) -> Self {
        // The first time it has to be asked.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::default() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future, bell, task: None, waker }
    }
}

impl<F: Future + Unpin> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            this.task = Some(cx.waker().clone());
            // Before the look at `rung`: who rings from here on finds it.
            *this.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        if !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.bell.rung.store(false, Ordering::Release);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicU32};

    use super::*;

    /// Counts how often it woke somebody.
    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_is_asked_again_when_it_was_woken_and_not_before() {
        let asked = AtomicU32::new(0);
        let kept = Mutex::new(None::<Waker>);
        let mut rarely = Rarely::new(poll_fn(|cx| {
            *kept.lock().expect("one thread") = Some(cx.waker().clone());
            if asked.fetch_add(1, Ordering::Relaxed) < 2 { Poll::Pending } else { Poll::Ready(7) }
        }));
        let ring = || kept.lock().expect("one thread").clone().expect("asked once").wake();
        let tasks = [Arc::new(Count::default()), Arc::new(Count::default())];
        let mut poll = |task: usize| {
            let waker = Waker::from(Arc::clone(&tasks[task]));
            Pin::new(&mut rarely).poll(&mut Context::from_waker(&waker))
        };
        assert!((0..5).all(|_| poll(0).is_pending()));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        ring();
        assert_eq!(tasks[0].0.load(Ordering::Relaxed), 1);
        // Another task goes on with it.
        assert!((0..5).all(|_| poll(1).is_pending()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        ring();
        assert_eq!([&tasks[0], &tasks[1]].map(|task| task.0.load(Ordering::Relaxed)), [1, 1]);
        assert_eq!(poll(1), Poll::Ready(7));
    }
}
