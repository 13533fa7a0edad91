//! What only an Engine can do wrong.
