//! How much may be under way to a node. Pure.
//!
//! HTTP/2 has a window for each stream, and one for all streams of a connection. Were the second one smaller than what slow readers
//! leave unread, they would hold up everybody else. So the window of the connection is never what limits, and the windows of the streams
//! are so small that together they stay within [`LINK_BYTES`]: few streams are fast over long distances, and many cost no
//! more memory than few.

/// So many bytes that nobody has read yet, at most, are kept for one connection.
pub(super) const LINK_BYTES: u32 = 64 * 1024 * 1024;

/// The window of a connection: what its streams may have, and as much again for the moment in which windows shrink.
pub(super) const LINK_WINDOW: u32 = 2 * LINK_BYTES;

/// The window of a stream where there are few.
pub(super) const STREAM_WINDOW_MAX: u32 = 1024 * 1024;

/// The window of each of `streams` streams: a power of two, so that it seldom changes.
pub(super) fn stream_window(streams: usize) -> u32 {
    let streams = u32::try_from(streams).unwrap_or(u32::MAX).max(1).checked_next_power_of_two().unwrap_or(u32::MAX);
    (LINK_BYTES / streams).clamp(1, STREAM_WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_streams_have_large_windows_and_many_have_small_ones() {
        for (streams, window) in
            [(0, 1 << 20), (1, 1 << 20), (64, 1 << 20), (65, 512 << 10), (1_000, 64 << 10), (4_096, 16 << 10)]
        {
            assert_eq!(stream_window(streams), window, "{streams} streams");
        }
    }

    proptest! {
        #[test]
        fn all_windows_together_stay_within_the_bound(streams in 0_usize..100_000) {
            prop_assert!(streams as u64 * u64::from(stream_window(streams)) <= u64::from(LINK_BYTES));
        }
    }
}
