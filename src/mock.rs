//! The stand-in Wegly.
