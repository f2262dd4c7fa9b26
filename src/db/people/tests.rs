//! One person, one chat.
