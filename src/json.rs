//! Is it strict JSON?
