//! Documents: accepted, ignored, rejected, and the words for it.
