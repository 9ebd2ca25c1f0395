//! The token that requests must carry: from the environment, or from a file, which may be replaced while vela runs.

use crate::config::ServeSettings;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "VELA_TOKEN";
/// The shortest token: what can be guessed is none.
const TOKEN_CHARS_MIN: usize = 16;
/// How often its file is looked at, while requests come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A hash of a token: comparing hashes says nothing of how much was right.
type Hash = [u8; 32];

/// What is known of the token.
#[derive(Debug)]
struct Known {
    hash: Hash,
    looked_at: Instant,
    /// Why its file could not be read the last time.
    trouble: Option<String>,
}

/// The token.
#[derive(Debug)]
pub struct Token {
    /// Where it stands; `None` where the environment has it.
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

impl Token {
    /// The token of the environment's `variable`, or of the file that `settings` name; `None` where there is neither.
    ///
    /// # Errors
    /// When it cannot be read or is too short.
    pub fn new(settings: &ServeSettings, variable: Option<String>) -> Result<Option<Self>, String> {
        let (hash, file) = match variable.filter(|token| !token.is_empty()) {
            Some(token) => (checked(&token, TOKEN_VARIABLE)?, None),
            None if settings.token_file.as_os_str().is_empty() => return Ok(None),
            None => (read(&settings.token_file)?, Some(settings.token_file.clone())),
        };
        let known = Known { hash, looked_at: Instant::now(), trouble: None };
        Ok(Some(Self { file, known: Mutex::new(known) }))
    }

    /// Whether `given` is the token. A file that was replaced counts within a second, and so does what it held before
    /// no more; one that cannot be read is told in the log, and the token stays.
    pub fn is(&self, given: &str) -> bool {
        let hash = match &self.file {
            Some(file) => self.known.lock().looked(file, LOOK_EVERY),
            None => self.known.lock().hash,
        };
        let given: Hash = Sha256::digest(given.as_bytes()).into();
        given.ct_eq(&hash).into()
    }
}

impl Known {
    /// The token's hash, by `file` where that was looked at longer than `every` ago.
    fn looked(&mut self, file: &Path, every: Duration) -> Hash {
        if self.looked_at.elapsed() < every {
            return self.hash;
        }
        self.looked_at = Instant::now();
        match read(file) {
            Ok(hash) => {
                if hash != self.hash {
                    tracing::warn!(file = %file.display(), "the token was replaced: the one before is refused from now on");
                }
                self.hash = hash;
                self.trouble = None;
            }
            Err(trouble) => {
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!("{trouble}: the token that was read before stays");
                }
                self.trouble = Some(trouble);
            }
        }
        self.hash
    }
}

/// The hash of a token that is long enough; `from` is where it stands.
fn checked(token: &str, from: &str) -> Result<Hash, String> {
    if token.chars().count() < TOKEN_CHARS_MIN {
        return Err(format!(
            "the token of {from} has fewer than {TOKEN_CHARS_MIN} characters: make one with `openssl rand -hex 32`"
        ));
    }
    Ok(Sha256::digest(token.as_bytes()).into())
}

/// The hash of the first line of a file.
fn read(path: &Path) -> Result<Hash, String> {
    let name = format!("serve.token_file = \"{}\"", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(format!("{name} holds no token in its first line"));
    }
    checked(token, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_counts_and_one_that_is_broken_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("0123456789abcdef\nanything\n");
        let settings = ServeSettings { token_file: file.clone(), ..ServeSettings::default() };
        let token = Token::new(&settings, None).unwrap().unwrap();
        let looked = || token.known.lock().looked(&file, Duration::ZERO);
        let first = looked();
        assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdef\n") && !token.is(""));
        write("fedcba9876543210");
        assert_ne!(looked(), first);
        assert!(token.is("fedcba9876543210") && !token.is("0123456789abcdef"));
        for broken in ["", "\nfedcba9876543210", "short"] {
            write(broken);
            looked();
            assert!(token.is("fedcba9876543210") && !token.is(broken), "{broken:?}");
            assert!(token.known.lock().trouble.is_some());
        }
        std::fs::remove_file(&file).unwrap();
        looked();
        assert!(token.is("fedcba9876543210"));
        assert!(token.known.lock().trouble.as_ref().unwrap().contains("cannot be read"));
        assert!(Token::new(&settings, None).unwrap_err().contains("cannot be read"));
        let token = Token::new(&settings, Some("from-the-environment".to_owned())).unwrap().unwrap();
        assert!(token.is("from-the-environment"), "it goes before the file");
    }
}
