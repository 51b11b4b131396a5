//! What does a gateway key look like?
