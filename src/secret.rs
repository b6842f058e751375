//! A text that must not be printed. Uses: nothing.

use std::fmt;

/// A password: masked in `Debug`, overwritten when dropped, never printed by this library.
///
/// ```
/// let secret = maypole::Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "***");
/// ```
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into().into_bytes())
    }

    /// A key of bytes that are no text.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// The text itself, for the moment it is needed.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Clone for Secret {
    fn clone(&self) -> Secret {
        Secret(self.0.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0 == other.0
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the store above from being removed as dead.
        std::hint::black_box(&self.0);
    }
}
