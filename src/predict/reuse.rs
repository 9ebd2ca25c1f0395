//! Vectors of what lives as long as a turn, or a run, in memory that lives as long as a thread, or a session.

/// The memory of `old`, for elements that are the same but for how long they live; of others it is new memory.
pub(super) fn reused<A, B>(mut old: Vec<A>) -> Vec<B> {
    old.clear();
    // Collecting what comes out of a vector keeps its memory: here, and in a test that counts.
    old.into_iter().filter_map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_for_elements_of_another_lifetime() {
        let mut kept: Vec<&'static str> = Vec::with_capacity(7);
        for _ in 0..3 {
            let text = "short-lived".to_owned();
            let before = kept.as_ptr();
            let mut used: Vec<&str> = reused(kept);
            used.push(&text);
            kept = reused(used);
            assert!(kept.is_empty());
            assert_eq!((kept.as_ptr(), kept.capacity()), (before, 7));
        }
    }
}
