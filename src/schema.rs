//! Does a message keep the rules?
