//! Answers that are still good.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::answer::Answer;
use crate::admission::keys::Digest;

/// Answers at once: some megabytes. The one that came first goes first.
const ANSWERS_MAX: usize = 10_000;

/// Answers by the digest of their question.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    by_question: HashMap<Digest, (Answer, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Digest>,
}

impl Cache {
    /// The answer, if it is still good.
    pub(super) fn get(&self, question: &Digest, now: Instant) -> Option<Answer> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.by_question.get(question).filter(|(_, until)| *until > now).map(|(answer, _)| answer.clone())
    }

    /// Keeps an answer until then.
    pub(super) fn put(&self, question: Digest, answer: Answer, until: Instant, now: Instant) {
        if until <= now {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.by_question.insert(question, (answer, until)).is_none() {
            answers.order.push_back(question);
        }
        while answers.order.len() > ANSWERS_MAX {
            if let Some(oldest) = answers.order.pop_front() {
                answers.by_question.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moqgate_core::DenyReason;

    use super::*;
    use crate::admission::keys::digest;

    #[test]
    fn answers_end_and_are_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        let answer = || Answer::deny(DenyReason::Forbidden, b"");
        let second = Duration::from_secs(1);
        cache.put(digest("a"), answer(), now + second, now);
        assert!(cache.get(&digest("a"), now).is_some());
        assert!(cache.get(&digest("b"), now).is_none());
        assert!(cache.get(&digest("a"), now + second).is_none());
        cache.put(digest("zero"), answer(), now, now);
        assert!(cache.get(&digest("zero"), now).is_none());
        for number in 0..=ANSWERS_MAX {
            cache.put(digest(&number.to_string()), answer(), now + second, now);
        }
        assert!(cache.get(&digest("0"), now).is_none() && cache.get(&digest("1"), now).is_some());
        assert_eq!(cache.0.lock().unwrap().by_question.len(), ANSWERS_MAX);
    }
}
